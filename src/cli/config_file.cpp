#include "config_file.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "expar/base/error.hpp"
#include "expar/base/read_file.hpp"

namespace expar::cli {
namespace {

// Assigns a TOML value to a field's member; says what was expected when it is of another type.
struct Assign {
    const toml::node& node;

    std::optional<std::string_view> operator()(int* target) const {
        const auto value = node.value_exact<std::int64_t>();
        if (!value || *value < std::numeric_limits<int>::min() || *value > std::numeric_limits<int>::max())
            return "an integer";
        *target = int(*value);
        return std::nullopt;
    }
    std::optional<std::string_view> operator()(std::uint64_t* target) const {
        const auto value = node.value_exact<std::int64_t>();
        if (!value || *value < 0) return "an integer of at least 0";
        *target = std::uint64_t(*value);
        return std::nullopt;
    }
    std::optional<std::string_view> operator()(double* target) const {
        if (!node.is_number()) return "a number";
        *target = *node.value<double>();
        return std::nullopt;
    }
    std::optional<std::string_view> operator()(bool* target) const {
        const auto value = node.value_exact<bool>();
        if (!value) return "true or false";
        *target = *value;
        return std::nullopt;
    }
    std::optional<std::string_view> operator()(std::string* target) const {
        const auto value = node.value_exact<std::string>();
        if (!value) return "a string";
        *target = *value;
        return std::nullopt;
    }
    std::optional<std::string_view> operator()(std::vector<std::string>* target) const {
        target->clear();
        if (const auto one = node.value_exact<std::string>()) {
            target->push_back(*one);
            return std::nullopt;
        }
        if (!node.is_array()) return "a string or a list of strings";
        for (const auto& element : *node.as_array()) {
            const auto value = element.value_exact<std::string>();
            if (!value) return "a string or a list of strings";
            target->push_back(*value);
        }
        return std::nullopt;
    }
};

std::vector<Field> all_fields(RunConfig& config) {
    std::vector<Field> fields;
    for (const auto& group : field_groups(config))
        fields.insert(fields.end(), group.fields.begin(), group.fields.end());
    return fields;
}

[[noreturn]] void fail(std::string_view source, const toml::source_region& where, const std::string& what) {
    throw UserError(concat(source, ":", where.begin.line, ": ", what));
}

std::string first_line(std::string_view text) {
    return std::string(text.substr(0, text.find('\n')));
}

constexpr std::size_t most_bytes = std::size_t{1} << 20;

// Where the strings and comments of TOML end, so that what stands in them is not taken for structure.
std::size_t end_of_quoted(std::string_view text, std::size_t begin) {
    const char quote = text[begin];
    const bool many_lines = text.substr(begin, 3) == std::string(3, quote);
    const std::string end = many_lines ? std::string(3, quote) : std::string(1, quote);
    for (std::size_t at = begin + end.size(); at < text.size(); ++at) {
        if (quote == '"' && text[at] == '\\')
            ++at;
        else if (text.substr(at).starts_with(end)) {
            at += end.size() - 1;
            for (int more = 0; many_lines && more < 2 && text.substr(at + 1, 1) == end.substr(0, 1); ++more) ++at;
            return at;
        } else if (!many_lines && text[at] == '\n')
            return at - 1;
    }
    return text.size();
}

// toml++ parses and destroys tables by recursion, a dotted key being as many tables as it has dots. No key of ours has
// a dot and no value more than a list, so that what is deeper is refused before its parser sees it. So are dates and
// times: it steps over the end of some that are cut.
void expect_flat(std::string_view text, std::string_view source) {
    constexpr int deepest = 8;
    int line = 1, dots = 0, brackets = 0;
    for (std::size_t at = 0; at < text.size(); ++at) {
        const char c = text[at];
        if (c == '"' || c == '\'') {
            const std::size_t end = end_of_quoted(text, at);
            line += int(std::ranges::count(text.substr(at, end - at), '\n'));
            at = end;
            continue;
        }
        if (c == '#') at = std::min(text.size(), text.find('\n', at)) - 1;
        if (c == '[' || c == '{') ++brackets;
        if (c == ']' || c == '}') brackets = std::max(0, brackets - 1);
        dots = c == '.' ? dots + 1 : c == '=' || c == ',' || c == '\n' ? 0 : dots;
        if (dots > deepest || brackets > deepest)
            throw UserError(
                concat(source, ":", line, ": tables or lists in one another, more than ", deepest, " deep"));
        const bool digit = at > 0 && text[at - 1] >= '0' && text[at - 1] <= '9';
        if (c == ':' || (c == '-' && digit))
            throw UserError(concat(source, ":", line, ": a date or time, where numbers, texts and lists are expected"));
        line += c == '\n';
    }
}

}  // namespace

std::string to_toml(const RunConfig& config) {
    RunConfig copy = config;
    std::string text;
    for (const auto& group : field_groups(copy)) {
        text += concat(text.empty() ? "" : "\n", "# ", group.title, "\n");
        for (const auto& field : group.fields)
            if (field.stored) text += concat(field.name, " = ", field.text(), "\n");
    }
    return text;
}

void apply_toml(std::string_view text, std::string_view source, RunConfig& config) {
    if (text.size() > most_bytes)
        throw UserError(concat(source, ": has ", text.size(), " bytes, expected at most ", most_bytes));
    expect_flat(text, source);
    toml::table table;
    try {
        table = toml::parse(text);
    } catch (const toml::parse_error& error) {
        fail(source, error.source(), first_line(error.description()));
    }
    const auto fields = all_fields(config);
    std::vector<std::string> known;
    for (const auto& field : fields) known.emplace_back(field.name);
    for (const auto& [key, node] : table) {
        const std::string name(key.str());
        const auto field = std::ranges::find(fields, std::string_view(name), &Field::name);
        if (field == fields.end())
            fail(source, key.source(), concat("unknown key '", name, "'", suggestion(name, known)));
        if (const auto expected = std::visit(Assign{node}, field->value))
            fail(source, node.source(), concat(name, ": expected ", *expected));
    }
}

void apply_config_file(const std::filesystem::path& path, RunConfig& config) {
    apply_toml(read_file(path, most_bytes), path.string(), config);
}

}  // namespace expar::cli
