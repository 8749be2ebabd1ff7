#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "expar/base/error.hpp"

namespace expar {

/// The id, when there is such an expert; where() begins the message when there is not.
template <class Where>
[[nodiscard]] std::uint16_t checked_id(std::int64_t id, int experts, Where&& where) {
    if (id < 0 || id >= experts) throw UserError(concat(where(), ": expert ", id, ", expected one of ", experts));
    return std::uint16_t(id);
}

/// All of `word` as a number. `where` begins the message when it is none.
[[nodiscard]] inline std::int64_t whole_number_of(std::string_view word, const std::string& where) {
    std::int64_t value = 0;
    const auto parsed = std::from_chars(word.data(), word.data() + word.size(), value);
    if (parsed.ec != std::errc() || parsed.ptr != word.data() + word.size())
        throw UserError(concat(where, ": '", word, "', expected a whole number"));
    return value;
}

/// What the tokens of a file are called that says nothing of it.
[[nodiscard]] inline std::string dataset_of(const std::string& file_name) {
    return std::filesystem::path(file_name).filename().string();
}

/// Calls work(number, line) for each line of a text, numbered from 1, without what ends it; empty ones are left out.
template <class Work>
void for_each_line(std::string_view text, Work&& work) {
    for (int number = 1; !text.empty(); ++number) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (!line.empty()) work(number, line);
    }
}

}  // namespace expar
