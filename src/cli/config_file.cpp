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

std::string text_of(RunConfig config, bool whole) {
    std::string text;
    for (const auto& group : field_groups(config)) {
        text += concat(text.empty() ? "" : "\n", "# ", group.title, "\n");
        for (const auto& field : group.fields)
            if (whole || field.lifetime != Lifetime::command) text += concat(field.name, " = ", field.text(), "\n");
    }
    return text;
}

constexpr std::size_t most_bytes = std::size_t{1} << 20;

// The last byte of a text in quotes, or before the end of its line.
std::size_t end_of_quoted(std::string_view text, std::size_t begin) {
    std::size_t at = begin + 1;
    for (; at < text.size() && text[at] != '\n'; ++at) {
        if (text[at] == text[begin]) return at;
        if (text[begin] == '"' && text[at] == '\\' && text.substr(at + 1, 1) != "\n") ++at;
    }
    return at - 1;
}

// Whether no key or value of ours, nor what is between them, has this character outside of texts in quotes.
bool is_foreign(std::string_view text, std::size_t at, bool value) {
    const char c = text[at];
    const char before = at > 0 ? text[at - 1] : '\n';
    const bool quote = c == '"' || c == '\'';
    if (quote && text.substr(at, 3) == std::string(3, c)) return true;  // a text of several lines
    if (quote || c == '[')                                              // within a word, or the name of a table
        return (c == '[' && !value) ||
               std::string_view(value ? " \t\r\n=,[" : " \t\r\n.\xBF").find(before) == std::string_view::npos;
    if (c == '-' && before >= '0' && before <= '9') return true;  // a date
    return c == ':' || c == '{' || c == '}' || (c == '=' && value) ||
           ((c < ' ' || c > '~') && c != '\t' && c != '\r' && c != '\n');
}

// toml++ parses and destroys tables by recursion, a dotted key being as many tables as it has dots, and it relies on
// what it has not checked in dates that are cut, in headers of tables and behind letters that are not ASCII. None of
// these is a key or value of ours, nor is a text of several lines: they are refused before its parser sees them.
void expect_flat(std::string_view text, std::string_view source) {
    constexpr int deepest = 8;
    int line = 1, dots = 0, brackets = 0;
    bool value = false;  // behind the '='
    for (std::size_t at = text.starts_with("\xEF\xBB\xBF") ? 3 : 0; at < text.size(); ++at) {
        const char c = text[at];
        brackets = std::max(0, brackets + (c == '[') - (c == ']'));
        dots = c == '.' ? dots + 1 : c == '=' || c == ',' || c == '\n' ? 0 : dots;
        if (is_foreign(text, at, value) || dots > deepest || brackets > deepest)
            throw UserError(concat(source, ":", line, ": expected KEY = VALUE, a number, true, false, a text of one ",
                                   "line in quotes, or a list of these"));
        value = (value || c == '=') && (c != '\n' || brackets > 0);
        line += c == '\n';
        if (c == '"' || c == '\'') at = end_of_quoted(text, at);
        if (c == '#') at = std::min(text.size(), text.find('\n', at)) - 1;
    }
}

}  // namespace

std::string to_toml(const RunConfig& config) {
    return text_of(config, false);
}

std::string to_full_toml(const RunConfig& config) {
    return text_of(config, true);
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
