#include "routing_file.hpp"

#include "expar/base/error.hpp"
#include "expar/store/isolated.hpp"
#include "expar/store/set_aside.hpp"

namespace expar::cli {
namespace {

namespace fs = std::filesystem;

constexpr int longest_unflushed_rows = 64;
constexpr std::chrono::seconds longest_unflushed_time{10};

// Cuts the file in a process of its own, which a damaged one may crash. Returns what is wrong with the file; throws
// UserError when it is the disk that is at fault.
std::string cut(const fs::path& path, const SeriesLayout& layout, int step) {
    constexpr char damaged = 'd', unwritable = 'w';
    std::string answer;
    try {
        answer = isolated(path, limits_for(path), [&] {
            try {
                return damaged + keep_rows(path, layout, step);
            } catch (const UserError& full) {
                return unwritable + std::string(full.what());
            }
        });
    } catch (const UserError& crash) {
        return crash.what();
    }
    if (answer.starts_with(unwritable)) throw UserError(answer.substr(1));
    return answer.substr(1);
}

// Leaves a file that can be gone on with, or none; says what had to be given up.
std::string prepare(const fs::path& path, const SeriesLayout& layout, int step) {
    std::error_code failed;
    if (!fs::exists(path, failed)) return "";
    const std::string damage = cut(path, layout, step);
    if (damage.empty()) return "";
    return concat(damage, "; set aside as ", set_aside(path).filename().string());
}

template <class Value>
std::span<const Value> one(const Value& value) {
    return {&value, 1};
}

}  // namespace

SeriesLayout routing_layout(const ModelOptions& model) {
    using Type = SeriesLayout::Type;
    std::vector<std::int32_t> layers;
    for (int layer = 0; layer < model.layers; ++layer)
        if (model.is_moe(layer)) layers.push_back(layer);
    const auto count = std::int64_t(layers.size());
    return {.format = "expar-routing-1",
            .attributes = {{"experts", model.experts}, {"top_k", model.top_k}},
            .constants = {{"layer", std::move(layers)}},
            .columns = {{"step", Type::int32, {}},
                        {"tokens", Type::int64, {}},
                        {"loads", Type::int32, {count, model.experts}},
                        {"dropped", Type::int32, {count}},
                        {"entropy", Type::float32, {count}}}};
}

RoutingFile::RoutingFile(const fs::path& path, const ModelOptions& model, int step) {
    const SeriesLayout layout = routing_layout(model);
    notice_ = prepare(path, layout, step);
    series_.emplace(path, layout);
}

void RoutingFile::add(const StepReport& report) {
    std::vector<std::int32_t> loads, dropped;
    std::vector<float> entropy;
    for (const auto& layer : report.routers) {
        loads.insert(loads.end(), layer.choices.begin(), layer.choices.end());
        dropped.push_back(std::int32_t(layer.dropped));
        entropy.push_back(layer.tokens > 0 ? float(layer.entropy / double(layer.tokens)) : 0);
    }
    const std::int32_t step = report.step;
    series_->append({one(step), one(report.tokens), std::span<const std::int32_t>(loads),
                     std::span<const std::int32_t>(dropped), std::span<const float>(entropy)});
    if (series_->unflushed_rows() >= longest_unflushed_rows ||
        std::chrono::steady_clock::now() - flushed_ >= longest_unflushed_time)
        flush();
}

void RoutingFile::flush() {
    series_->flush();
    flushed_ = std::chrono::steady_clock::now();
}

void RoutingFile::close() {
    series_->close();
}

}  // namespace expar::cli
