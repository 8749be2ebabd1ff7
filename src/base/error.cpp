#include "expar/base/error.hpp"

#include <string_view>

namespace expar {
namespace {

// The path from the repository's root, which is what a reader can look up.
std::string_view short_path(std::string_view path) {
    for (std::string_view root : {"/src/", "/include/expar/", "/kernels/", "/tests/"})
        if (const auto at = path.rfind(root); at != std::string_view::npos) return path.substr(at + 1);
    return path;
}

}  // namespace

Error::Error(const std::string& message, std::source_location where)
    : std::runtime_error(concat(message, " (", short_path(where.file_name()), ":", where.line(), ")")) {}

}  // namespace expar
