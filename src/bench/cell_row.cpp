#include "cell_row.hpp"

#include <algorithm>
#include <cstdio>

#include "expar/bench/probe.hpp"

namespace expar {
namespace {

constexpr int most_slots = 512;

std::string hex(std::uint64_t number) {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(number));
    return text;
}

}  // namespace

BenchRow row_of_cell(const CellFacts& facts) {
    const DispatchCell& cell = facts.cell;
    BenchRow row;
    row.workload = facts.workload;
    row.seed = facts.seed;
    row.hash = hex(hash_of(facts.routed.all));
    row.tokens = cell.tokens;
    row.hidden = cell.hidden;
    row.top_k = cell.top_k;
    row.experts = cell.experts;
    row.ranks = int(facts.routed.all.size());
    row.nodes = facts.topology.nodes();
    row.dtype = cell.dtype;
    row.warm = cell.warm;
    row.moved = moved_rows(facts.routed, facts.topology);
    row.skew = skew_of(facts.routed);
    return row;
}

int slots_of(bool warm, double bytes, const Topology& topology, const Communicator& world) {
    if (warm) return 1;
    world.sum(std::span(&bytes, 1), {"benchmark"});
    const double of_node = bytes / topology.nodes();
    return of_node > 0 ? int(std::clamp(double(cold_bytes()) / of_node + 1, 1.0, double(most_slots))) : 1;
}

}  // namespace expar
