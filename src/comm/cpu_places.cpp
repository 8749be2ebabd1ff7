#include "expar/comm/cpu_places.hpp"

#include <algorithm>
#include <array>

namespace expar {
namespace {

// A CPU for every thread of every rank, out of what may_use says, or nothing.
template <class MayUse>
std::vector<std::vector<int>> take_in_turn(std::size_t ranks, int threads, MayUse may_use) {
    std::vector<std::vector<int>> cpus_of(ranks);
    std::vector<int> taken;
    for (std::size_t rank = 0; rank < ranks; ++rank)
        for (const int cpu : may_use(rank)) {
            if (int(cpus_of[rank].size()) == threads) break;
            if (std::ranges::find(taken, cpu) != taken.end()) continue;
            taken.push_back(cpu);
            cpus_of[rank].push_back(cpu);
        }
    const bool enough =
        std::ranges::all_of(cpus_of, [threads](const auto& cpus) { return int(cpus.size()) == threads; });
    return enough ? cpus_of : std::vector<std::vector<int>>();
}

std::size_t cpus_of_all(std::span<const Launch> ranks) {
    std::vector<int> all;
    for (const auto& rank : ranks) all.insert(all.end(), rank.cpus.begin(), rank.cpus.end());
    std::ranges::sort(all);
    return std::size_t(std::ranges::unique(all).begin() - all.begin());
}

}  // namespace

bool starts_ranks(std::string_view program) {
    constexpr std::array<std::string_view, 6> names = {"mpirun", "mpiexec", "orterun", "prterun", "orted", "prted"};
    return std::ranges::find(names, program.substr(0, program.find('.'))) != names.end();
}

CpuPlan plan_cpus(std::span<const Launch> ranks, std::span<const int> node, int threads) {
    const auto all_bound = [&](auto accepted) {
        return std::ranges::all_of(ranks, [&](const Launch& rank) { return accepted(rank.bound); });
    };
    auto own = take_in_turn(ranks.size(), threads, [&](std::size_t rank) { return std::span(ranks[rank].cpus); });
    if (!own.empty()) {
        const bool filled = ranks.size() * std::size_t(threads) == cpus_of_all(ranks);
        if (filled || all_bound([](Launch::Bound bound) { return bound != Launch::Bound::no; }))
            return {CpuPlan::Outcome::pinned, std::move(own)};
        return {};
    }
    if (all_bound([](Launch::Bound bound) { return bound == Launch::Bound::by_default; }))
        if (auto wider = take_in_turn(ranks.size(), threads, [&](std::size_t) { return node; }); !wider.empty())
            return {CpuPlan::Outcome::widened, std::move(wider)};
    return {CpuPlan::Outcome::crowded, {}};
}

std::string text_of_cpus(std::span<const int> cpus) {
    std::string text;
    for (std::size_t i = 0; i < cpus.size(); ++i) {
        std::size_t last = i;
        while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) ++last;
        text += concat(text.empty() ? "" : ",", cpus[i], last > i ? concat("-", cpus[last]) : "");
        i = last;
    }
    return text;
}

}  // namespace expar
