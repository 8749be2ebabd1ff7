#include <algorithm>
#include <numeric>

#include "expar/base/error.hpp"
#include "inspection.hpp"
#include "progress.hpp"

namespace expar::cli {
namespace {

constexpr std::int64_t recent_steps = 100;
constexpr int named_experts = 3;  // the hottest, and as many of the coldest

std::int64_t rows_of(const Hdf5File& file, const std::string& name, const Hdf5File::Shape& row) {
    const auto shape = file.shape(name);
    if (shape.size() != row.size() + 1 || !std::equal(row.begin(), row.end(), shape.begin() + 1))
        throw UserError(concat(file.path().string(), ": ", name, " is ", describe(shape), ", expected a row of ",
                               describe(row), " for every step"));
    return shape[0];
}

// Sums over rows [first, first + count) of a dataset.
std::vector<double> sums_of(const Hdf5File& file, const std::string& name, std::int64_t first, std::int64_t count) {
    const auto shape = file.shape(name);
    const std::size_t row = count_of(shape) / std::size_t(std::max<std::int64_t>(1, shape[0]));
    std::vector<double> sums(row, 0.0);
    std::vector<float> values(row);
    for (std::int64_t step = first; step < first + count; ++step) {
        file.read_slices(name, step, values);
        std::ranges::transform(sums, values, sums.begin(), [](double sum, float value) { return sum + double(value); });
    }
    return sums;
}

Json ratios_of(const std::vector<int>& experts, std::span<const double> loads, double mean) {
    Json ratios = Json::array();
    for (const int expert : experts)
        ratios.push_back({{"expert", expert}, {"load_over_mean", mean > 0 ? loads[std::size_t(expert)] / mean : 0}});
    return ratios;
}

Json layer_facts(int layer, std::span<const double> loads, double dropped, double entropy) {
    std::vector<int> order(loads.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, [&](int a, int b) { return loads[std::size_t(a)] > loads[std::size_t(b)]; });
    const double total = std::accumulate(loads.begin(), loads.end(), 0.0), mean = total / double(loads.size());
    const auto shown = std::min<std::ptrdiff_t>(named_experts, std::ssize(order));
    return {{"layer", layer},
            {"load_max_over_mean", mean > 0 ? loads[std::size_t(order.front())] / mean : 0},
            {"hottest", ratios_of({order.begin(), order.begin() + shown}, loads, mean)},
            {"coldest", ratios_of({order.rbegin(), order.rbegin() + shown}, loads, mean)},
            {"dropped_share", total > 0 ? dropped / total : 0},
            {"entropy", entropy}};
}

std::string experts_text(const Json& experts) {
    std::string text;
    for (const auto& one : experts)
        text += concat(text.empty() ? "" : ", ", one.at("expert").get<int>(), " (",
                       number_text(one.at("load_over_mean")), ")");
    return text;
}

}  // namespace

Json routing_facts(const Hdf5File& file) {
    const auto layers = file.shape("layer");
    if (layers.size() != 1 || layers[0] < 1 || layers[0] > 1 << 20)
        throw UserError(concat(file.path().string(), ": layer is ", describe(layers), ", expected [layers]"));
    const std::int64_t experts = file.integer_attribute("", "experts");
    if (experts < 1 || experts > 1 << 24)
        throw UserError(concat(file.path().string(), ": says ", experts, " experts, expected 1 or more"));
    // Columns grow one after the other: a step counts once all have it.
    const std::int64_t rows =
        std::min({rows_of(file, "step", {}), rows_of(file, "tokens", {}), rows_of(file, "dropped", layers),
                  rows_of(file, "entropy", layers), rows_of(file, "loads", {layers[0], experts})});
    Json facts = {{"kind", "routing"},
                  {"file", file.path().string()},
                  {"bytes", std::filesystem::file_size(file.path())},
                  {"experts", experts},
                  {"top_k", file.integer_attribute("", "top_k")},
                  {"steps", rows},
                  {"layers", Json::array()}};
    if (rows == 0) return facts;
    const auto step = [&](std::int64_t row) { return std::int64_t(sums_of(file, "step", row, 1).front()); };
    const std::int64_t recent = std::min(rows, recent_steps), first = rows - recent;
    facts["first_step"] = step(0);
    facts["last_step"] = step(rows - 1);
    facts["recent_steps"] = recent;
    std::vector<std::int32_t> numbers(static_cast<std::size_t>(layers[0]));
    file.read("layer", numbers);
    const auto loads = sums_of(file, "loads", first, recent), dropped = sums_of(file, "dropped", first, recent);
    const auto entropy = sums_of(file, "entropy", first, recent);
    for (std::size_t n = 0; n < numbers.size(); ++n)
        facts["layers"].push_back(layer_facts(numbers[n], std::span(loads).subspan(n * experts, std::size_t(experts)),
                                              dropped[n], entropy[n] / double(recent)));
    return facts;
}

std::string routing_text(const Json& facts) {
    const auto number = [&](const char* key) { return with_commas(facts.at(key).get<std::int64_t>()); };
    std::string text = entry("routing", facts.at("file"));
    text += entry("size", size_text(facts.at("bytes")));
    text += entry("experts", concat(number("experts"), ", top ", number("top_k")));
    if (facts.at("layers").empty()) return text + entry("steps", "none yet");
    text += entry("steps", concat(number("steps"), ": ", number("first_step"), " to ", number("last_step")));
    text += concat("\n  of the last ", number("recent_steps"),
                   " steps; an expert's load is in parts of its layer's mean\n");
    std::vector<std::vector<std::string>> rows = {
        {"layer", "max load", "hottest experts", "coldest experts", "dropped", "router entropy"}};
    for (const auto& layer : facts.at("layers"))
        rows.push_back({std::to_string(layer.at("layer").get<int>()), number_text(layer.at("load_max_over_mean")),
                        experts_text(layer.at("hottest")), experts_text(layer.at("coldest")),
                        concat(number_text(100 * layer.at("dropped_share").get<double>()), " %"),
                        concat(number_text(layer.at("entropy")), " nats")});
    return text + table(rows, "rrllrr");
}

}  // namespace expar::cli
