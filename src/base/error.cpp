#include "expar/base/error.hpp"

#include <algorithm>
#include <string_view>

namespace expar {
namespace {

// The path from the repository's root, which is what a reader can look up.
std::string_view short_path(std::string_view path) {
    for (std::string_view root : {"/src/", "/include/expar/", "/kernels/", "/tests/"})
        if (const auto at = path.rfind(root); at != std::string_view::npos) return path.substr(at + 1);
    return path;
}

// Bytes of the character at the start of `text`, which is not empty; 0 when it is a control character or not UTF-8.
std::size_t printable_bytes(std::string_view text) {
    const auto byte = [&text](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
    const unsigned first = byte(0);
    if (first < 0x80) return first >= 0x20 && first != 0x7F;
    const std::size_t bytes = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    for (std::size_t i = 1; i < bytes; ++i)
        if ((byte(i) & 0xC0) != 0x80) return 0;
    const unsigned second = byte(1);
    const bool control = first == 0xC2 && second < 0xA0;  // of Latin-1
    const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
    const bool surrogate = first == 0xED && second >= 0xA0;
    const bool beyond = first == 0xF4 && second >= 0x90;
    if (control || overlong || surrogate || beyond) return 0;
    return bytes;
}

}  // namespace

std::string one_line(std::string_view text) {
    constexpr std::size_t most_bytes = 2000;
    if (text.size() > most_bytes) {
        const auto begin = text.substr(0, most_bytes / 2), end = text.substr(text.size() - most_bytes / 2 + 3);
        return one_line(concat(begin, "...", end));
    }
    std::string line;
    while (!text.empty()) {
        const std::size_t bytes = printable_bytes(text);
        line += bytes == 0 ? std::string_view("?") : text.substr(0, bytes);
        text.remove_prefix(std::max<std::size_t>(1, bytes));
    }
    return line;
}

Error::Error(const std::string& message, std::source_location where)
    : std::runtime_error(concat(message, " (", short_path(where.file_name()), ":", where.line(), ")")) {}

}  // namespace expar
