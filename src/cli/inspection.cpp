#include "inspection.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "config_file.hpp"
#include "expar/base/error.hpp"
#include "expar/model/parameters.hpp"
#include "progress.hpp"

namespace expar::cli {
namespace {

// Characters of UTF-8 text, which are fewer than its bytes.
std::size_t width_of(const std::string& text) {
    return std::size_t(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string spaces(std::size_t wanted, std::size_t used) {
    return std::string(wanted > used ? wanted - used : 0, ' ');
}

}  // namespace

std::string table(const std::vector<std::vector<std::string>>& rows, std::string_view sides) {
    std::vector<std::size_t> widths;
    for (const auto& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
    }
    std::string text;
    for (const auto& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            const std::string fill = spaces(widths[i], width_of(row[i]));
            const bool left = sides[std::min(i, sides.size() - 1)] == 'l';
            line += left ? concat("  ", row[i], fill) : concat("  ", fill, row[i]);
        }
        line.erase(line.find_last_not_of(' ') + 1);
        text += concat(line, "\n");
    }
    return text;
}

std::string entry(const std::string& what, const std::string& value) {
    return concat(what, spaces(15, what.size()), value, "\n");
}

std::string size_text(std::uint64_t bytes) {
    constexpr const char* units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = double(bytes);
    int unit = 0;
    for (; value >= 1024 && unit < 4; ++unit) value /= 1024;
    char text[32];
    std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return text;
}

std::string number_text(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.3g", value);
    return text;
}

std::string ranges_text(const std::vector<int>& numbers) {
    std::string text;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        std::size_t last = i;
        while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
        text += concat(text.empty() ? "" : ", ", numbers[i], last > i ? concat("-", numbers[last]) : "");
        i = last;
    }
    return text.empty() ? "none" : text;
}

std::string shape_text(const Json& shape) {
    return describe(shape.get<Hdf5File::Shape>());
}

std::string printable(std::string text) {
    std::ranges::replace_if(
        text, [](char c) { return c < ' ' || c > '~'; }, '?');
    return text;
}

std::string kind_of(const std::string& name) {
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    std::string kind;
    for (std::size_t i = 0; i < name.size(); ++i) {
        const bool begins = i == 0 || name[i - 1] == '.' || name[i - 1] == '/' || name[i - 1] == '-';
        std::size_t end = i;
        while (end < name.size() && digit(name[end])) ++end;
        if (!begins || end == i || (end < name.size() && name[end] != '.' && name[end] != '/')) {
            kind += name[i];
            continue;
        }
        kind += '*';
        i = end - 1;
    }
    return kind;
}

Json config_facts(const std::string& toml, const std::string& source) {
    RunConfig config;
    try {
        apply_toml(toml, source, config);
        config.model = config.model.resolved();
        const auto parameters = count_parameters(config.model);
        const auto& [model, train] = std::tie(config.model, config.train);
        return {{"parameters_total", parameters.total},
                {"parameters_active", parameters.active},
                {"layers", model.layers},
                {"hidden", model.hidden},
                {"heads", model.heads},
                {"experts", model.experts},
                {"top_k", model.top_k},
                {"intermediate", model.intermediate},
                {"router", model.router},
                {"capacity_factor", model.capacity_factor},
                {"batch", train.batch},
                {"accumulation", train.accumulation},
                {"sequence", train.sequence},
                {"optimizer", train.optimizer},
                {"learning_rate", train.learning_rate},
                {"steps", train.steps},
                {"schedule_steps", train.schedule_steps},
                {"ep", train.ep},
                {"seed", train.seed},
                {"text", config.run.text}};
    } catch (const UserError&) {
        return nullptr;
    }
}

std::string config_text(const Json& facts) {
    if (facts.is_null()) return entry("configuration", "not one that this version reads");
    const auto number = [&](const char* key) { return with_commas(facts.at(key).get<std::int64_t>()); };
    const double capacity = facts.at("capacity_factor");
    std::string text = entry("model", concat(number("parameters_total"), " parameters, ", number("parameters_active"),
                                             " of them active: ", number("layers"), " layers, hidden ",
                                             number("hidden"), ", heads ", number("heads")));
    text += entry("", concat(number("experts"), " experts of width ", number("intermediate"), ", top ", number("top_k"),
                             ", router ", facts.at("router").get<std::string>(),
                             capacity > 0 ? concat(", capacity ", number_text(capacity)) : ", dropless"));
    text += entry("training", concat(number("batch"), " x ", number("accumulation"), " sequences of ",
                                     number("sequence"), " a step, ", facts.at("optimizer").get<std::string>(),
                                     ", learning rate ", number_text(facts.at("learning_rate")), ", schedule of ",
                                     number("schedule_steps"), " steps, seed ", number("seed")));
    return text;
}

}  // namespace expar::cli
