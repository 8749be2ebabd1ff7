#include <array>
#include <cstdio>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <ostream>
#include <vector>

#include "expar/bench/kernel_bench.hpp"
#include "expar/bench/probe.hpp"

namespace expar {
namespace {

constexpr double giga = 1e9;

nlohmann::ordered_json json_of(const KernelRow& row) {
    nlohmann::ordered_json json = {
        {"kernel", row.kernel},
        {"shape", row.shape},
        {"dtype", name_of(row.dtype)},
        {"isa", name_of(row.set)},
        {"threads", row.threads},
        {"seconds", row.seconds.median},
        {"seconds_min", row.seconds.min},
        {"seconds_from", row.within.from},
        {"seconds_to", row.within.to},
        {"repetitions", row.repetitions},
        {"bytes", row.bytes},
        {"flops", row.flops},
        {"bound_seconds", row.bound.seconds()},
        {"bound", row.bound.name()},
        {"bound_violated", row.bound_violated()},
        {"efficiency", row.efficiency()},
        {"best_efficiency", row.best_efficiency()},
        {"max_error", row.max_error},
        {"tolerance", row.tolerance},
        {"passed", row.passed()},
        {"gbytes_per_second", row.bytes / row.seconds.median / giga},
        {"gflops_per_second", row.flops / row.seconds.median / giga},
        {"probed_gbytes_per_second", row.bytes / row.bound.memory_seconds / giga},
        {"probed_gflops_per_second", row.rates.flops_per_second / giga},
    };
    if (row.peer.empty()) return json;
    json["peer"] = row.peer;
    json["peer_seconds"] = row.peer_seconds.median;
    json["peer_seconds_min"] = row.peer_seconds.min;
    json["peer_ratio"] = row.peer_seconds.median / row.seconds.median;
    return json;
}

// Text to the left, numbers to the right, each in a column as wide as its heading says.
void print_line(const std::vector<std::string>& cells, std::ostream& out) {
    constexpr int texts = 4;
    constexpr std::array widths = {30, 34, 9, 12, 9, 7, 8, 9, 8, 6, 6, 9, 6};
    for (std::size_t i = 0; i < widths.size(); ++i)
        out << (i < texts ? std::left : std::right) << std::setw(widths[i]) << (i < cells.size() ? cells[i] : "");
    for (std::size_t i = widths.size(); i < cells.size(); ++i) out << "  " << cells[i];
    out << std::endl;  // each row as soon as it is known
}

template <class... Arguments>
std::string text(const char* format, Arguments... arguments) {
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, format, arguments...);
    return buffer;
}

}  // namespace

void print_heading(std::ostream& out) {
    print_line({"kernel", "shape", "dtype", "isa", "ms", "GB/s", "GFLOP/s", "bound ms", "bound", "of it", "best",
                "error", "peer"},
               out);
}

void print_row(const KernelRow& row, std::ostream& out) {
    std::vector<std::string> cells = {
        row.kernel,
        row.shape,
        std::string(name_of(row.dtype)),
        std::string(name_of(row.set)),
        text("%.3f", 1e3 * row.seconds.median),
        text("%.1f", row.bytes / row.seconds.median / giga),
        text("%.1f", row.flops / row.seconds.median / giga),
        text("%.3f", 1e3 * row.bound.seconds()),
        std::string(row.bound.name()),
        text("%.2f", row.efficiency()),
        text("%.2f", row.best_efficiency()),
        text("%.1e", row.max_error),
        row.peer.empty() ? "" : text("%.2f", row.peer_seconds.median / row.seconds.median)};
    if (!row.peer.empty()) cells.push_back("of " + row.peer);
    if (!row.passed()) cells.push_back(text("WRONG: expected an error of at most %.1e", row.tolerance));
    if (row.bound_violated()) cells.push_back("BOUND VIOLATED: faster than can be");
    print_line(cells, out);
}

std::string to_json(const std::vector<KernelRow>& rows, const DensePeer* peer) {
    nlohmann::ordered_json json = {
        {"machine", cpu_features().model}, {"cold_bytes", cold_bytes()}, {"peer", peer ? peer->name() : "none"}};
    json["rows"] = nlohmann::ordered_json::array();
    for (const KernelRow& row : rows) json["rows"].push_back(json_of(row));
    return json.dump(2) + "\n";
}

}  // namespace expar
