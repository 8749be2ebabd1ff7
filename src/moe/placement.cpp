#include "expar/moe/placement.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "expar/base/random.hpp"

namespace expar {
namespace {

// Cuts each layer's order of experts into consecutive runs, one per member.
Placement cut(const std::vector<std::vector<int>>& orders, int experts, int members) {
    std::vector<std::vector<std::vector<int>>> slots;
    for (const auto& order : orders) {
        auto& layer = slots.emplace_back();
        auto next = order.begin();
        for (int member = 0; member < members; ++member) {
            const int size = experts / members + (member < experts % members);
            layer.emplace_back(next, next + size);
            next += size;
        }
    }
    return Placement(experts, std::move(slots));
}

std::vector<int> ascending(int experts) {
    std::vector<int> order(experts);
    std::iota(order.begin(), order.end(), 0);
    return order;
}

}  // namespace

Placement::Placement(int experts, std::vector<std::vector<std::vector<int>>> slots)
    : experts_(experts), slots_(std::move(slots)) {
    for (int layer = 0; layer < layers(); ++layer) {
        if (int(slots_[layer].size()) != members())
            throw UserError(
                concat("placement: layer ", layer, " has ", slots_[layer].size(), " members, layer 0 has ", members()));
        auto& hosts = hosts_.emplace_back(experts);
        for (int member = 0; member < members(); ++member)
            for (const int expert : slots_[layer][member]) {
                const auto refuse = [&](const std::string& why) {
                    throw UserError(
                        concat("placement: layer ", layer, ", member ", member, ": expert ", expert, " is ", why));
                };
                if (expert < 0 || expert >= experts) refuse(concat("not one of ", experts));
                if (!hosts[expert].empty() && hosts[expert].back() == member) refuse("there twice");
                hosts[expert].push_back(member);
            }
        for (int expert = 0; expert < experts; ++expert)
            if (hosts[expert].empty())
                throw UserError(concat("placement: layer ", layer, ": expert ", expert, " is hosted nowhere"));
    }
}

Placement linear_placement(int layers, int experts, int members) {
    return cut(std::vector(layers, ascending(experts)), experts, members);
}

Placement shuffled_placement(int layers, int experts, int members, std::uint64_t seed) {
    std::vector<std::vector<int>> orders;
    for (int layer = 0; layer < layers; ++layer) {
        auto& order = orders.emplace_back(ascending(experts));
        const RandomField random(seed, Purpose::placement, std::uint32_t(layer));
        for (int i = experts - 1; i > 0; --i) std::swap(order[i], order[random.below(std::uint64_t(i) + 1, i)]);
    }
    return cut(orders, experts, members);
}

}  // namespace expar
