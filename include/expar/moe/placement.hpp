#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "expar/base/error.hpp"

namespace expar {

/// Which slots of an EP group host which experts, for every layer. A value.
///
/// Any map that hosts every expert is legal: the number of experts need not be divisible by that of members, members
/// may hold different numbers, an expert may have copies on several members. Every EP group follows the same placement.
class Placement {
public:
    Placement() = default;
    /// slots[layer][member]: the global expert in each slot of that member, in any order.
    /// Throws UserError, naming layer, member and expert, when an expert is hosted nowhere, twice on a member, or
    /// unknown.
    Placement(int experts, std::vector<std::vector<std::vector<int>>> slots);

    [[nodiscard]] int layers() const { return int(slots_.size()); }
    [[nodiscard]] int experts() const { return experts_; }
    [[nodiscard]] int members() const { return slots_.empty() ? 0 : int(slots_.front().size()); }

    /// The experts on a member, by slot.
    [[nodiscard]] std::span<const int> experts_on(int layer, int member) const { return slots_[layer][member]; }
    /// The members that host an expert, ascending; at least one.
    [[nodiscard]] std::span<const int> hosts_of(int layer, int expert) const { return hosts_[layer][expert]; }
    /// Which copy serves a token: spreads global tokens over the hosts.
    [[nodiscard]] int host_for(int layer, int expert, std::int64_t global_token) const {
        const auto hosts = hosts_of(layer, expert);
        return hosts[std::size_t(global_token) % hosts.size()];
    }

private:
    int experts_ = 0;
    std::vector<std::vector<std::vector<int>>> slots_;
    std::vector<std::vector<std::vector<int>>> hosts_;
};

/// Consecutive runs of floor or ceil of experts / members, the larger ones first.
[[nodiscard]] Placement linear_placement(int layers, int experts, int members);

/// The same sizes, the experts shuffled in each layer by the seed.
[[nodiscard]] Placement shuffled_placement(int layers, int experts, int members, std::uint64_t seed);

}  // namespace expar
