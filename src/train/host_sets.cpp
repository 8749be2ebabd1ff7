#include "expar/train/host_sets.hpp"

#include <algorithm>
#include <numeric>

namespace expar {

HostSets::HostSets(const Placement& placement, const Layout& layout) {
    sets_.emplace_back(layout.ranks());
    std::iota(sets_[0].begin(), sets_[0].end(), 0);
    expert_set_.resize(placement.layers());
    for (int layer = 0; layer < placement.layers(); ++layer) {
        for (int expert = 0; expert < placement.experts(); ++expert) {
            std::vector<int> ranks;
            for (int group = 0; group < layout.dp(); ++group)
                for (const int member : placement.hosts_of(layer, expert))
                    ranks.push_back(layout.rank_of(group, member));
            const auto same = std::ranges::find(sets_, ranks);
            expert_set_[layer].push_back(int(same - sets_.begin()));
            if (same == sets_.end()) sets_.push_back(std::move(ranks));
        }
    }
}

int HostSets::set_of(const BlockSpec& spec) const {
    return spec.role == Role::expert ? expert_set_.at(spec.layer).at(spec.expert) : 0;
}

std::vector<std::vector<int>> HostSets::rounds() const {
    std::vector<std::vector<int>> rounds;
    std::vector<std::vector<bool>> taken;  // [rounds][ranks]
    for (int set = 0; set < count(); ++set) {
        if (ranks(set).size() < 2) continue;
        std::size_t round = 0;
        while (round < rounds.size() && std::ranges::any_of(ranks(set), [&](int r) { return taken[round][r]; }))
            ++round;
        if (round == rounds.size()) {
            rounds.emplace_back();
            taken.emplace_back(ranks(0).size());
        }
        rounds[round].push_back(set);
        for (const int rank : ranks(set)) taken[round][rank] = true;
    }
    return rounds;
}

}  // namespace expar
