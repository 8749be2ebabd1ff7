#pragma once

#include <source_location>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace expar {

/// The arguments, written one after the other.
template <class... Parts>
[[nodiscard]] std::string concat(const Parts&... parts) {
    std::ostringstream out;
    (out << ... << parts);
    return out.str();
}

/// `text` as a terminal can show it on one line: control characters and what is not UTF-8 become '?', and of more than
/// 2000 bytes the middle is left out.
[[nodiscard]] std::string one_line(std::string_view text);

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
/// what() is one line without a source location, whatever a message quotes of a file: see one_line(). Every rank must
/// throw it together: the program prints it once, on rank 0, and all ranks return 2.
class UserError : public Error {
public:
    explicit UserError(const std::string& message) : Error(Verbatim{}, one_line(message)) {}
};

}  // namespace expar
