#include "expar/base/read_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "expar/base/error.hpp"

namespace expar {

std::string read_file(const std::filesystem::path& path, std::size_t most_bytes) {
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    std::error_code failed;
    const auto size = std::filesystem::file_size(path, failed);  // of a regular file
    const std::uintmax_t expected = failed ? 0 : size;
    // One more than is expected, so that the end shows without growing.
    std::string text(std::size_t(std::min<std::uintmax_t>(expected, most_bytes)) + 1, '\0');
    std::size_t bytes = 0;
    while (file && bytes <= most_bytes) {
        if (bytes == text.size()) text.resize(std::min(most_bytes + 1, std::max<std::size_t>(4096, 2 * bytes)));
        file.read(text.data() + bytes, std::streamsize(text.size() - bytes));
        bytes += std::size_t(file.gcount());
    }
    if (!file.is_open() || file.bad())
        throw UserError(concat(path.string(), ": cannot be read: ", std::strerror(errno)));
    if (bytes > most_bytes) throw UserError(concat(path.string(), ": has more than ", most_bytes, " bytes"));
    text.resize(bytes);
    return text;
}

}  // namespace expar
