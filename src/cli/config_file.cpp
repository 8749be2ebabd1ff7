#include "config_file.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>

#include "expar/base/error.hpp"

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

}  // namespace

std::string to_toml(const RunConfig& config) {
    return text_of(config, false);
}

std::string to_full_toml(const RunConfig& config) {
    return text_of(config, true);
}

void apply_toml(std::string_view text, std::string_view source, RunConfig& config) {
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
    std::ifstream file(path, std::ios::binary);
    if (!file || std::filesystem::is_directory(path)) throw UserError(concat(path.string(), ": cannot be read"));
    const std::string text(std::istreambuf_iterator<char>(file), {});
    apply_toml(text, path.string(), config);
}

}  // namespace expar::cli
