#pragma once

#include <source_location>
#include <sstream>
#include <stdexcept>
#include <string>

namespace expar {

/// The arguments, written one after the other.
template <class... Parts>
[[nodiscard]] std::string concat(const Parts&... parts) {
    std::ostringstream out;
    (out << ... << parts);
    return out.str();
}

/// Base of every error thrown here. what() reads "<what went wrong> (<file>:<line>)".
class Error : public std::runtime_error {
public:
    explicit Error(const std::string& message, std::source_location where = std::source_location::current());

protected:
    struct Verbatim {};
    Error(Verbatim, const std::string& message) : std::runtime_error(message) {}
};

/// A mistake of the user, in arguments, configuration or files, or a failure that every rank has seen alike.
///
/// what() is one line without a source location. Every rank must throw it together: the program prints it once, on
/// rank 0, and all ranks return 2.
class UserError : public Error {
public:
    explicit UserError(const std::string& message) : Error(Verbatim{}, message) {}
};

}  // namespace expar
