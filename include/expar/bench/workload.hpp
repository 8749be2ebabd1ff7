#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "expar/base/dtype.hpp"
#include "expar/comm/communicator.hpp"
#include "expar/moe/routing.hpp"

namespace expar {

/// How much there is to route.
struct WorkloadShape {
    int ranks = 1;
    int tokens = 0;  ///< of a rank, in the mean over ranks
    int experts = 1;
    int top_k = 1;
};

/// What the tokens of one rank chose, without a device: T tokens, k choices of different experts each.
struct RankRouting {
    int tokens = 0;
    int top_k = 0;
    std::vector<int> experts;    ///< [T, k]
    std::vector<float> weights;  ///< [T, k], sixteenths in (0, 1] that descend over j, so that sums of them are exact

    [[nodiscard]] std::span<const int> experts_of(int token) const {
        return std::span(experts).subspan(std::size_t(token) * top_k, top_k);
    }
};

/// A named way to choose experts. All of it depends on the name, the shape, the seed and the step alone: any rank can
/// make every rank's routing. Ranks that are singled out host what linear_placement() gives them.
class Workload {
public:
    virtual ~Workload() = default;

    [[nodiscard]] virtual const std::string& name() const = 0;
    [[nodiscard]] virtual const WorkloadShape& shape() const = 0;
    [[nodiscard]] virtual RankRouting routing(int rank, std::uint64_t step) const = 0;

    /// Of every rank.
    [[nodiscard]] std::vector<RankRouting> routings(std::uint64_t step) const;
};

/// One line for each workload that make_workload() knows: how it is asked for, and what it is.
struct WorkloadKind {
    std::string form;  ///< "zipf:A"
    std::string summary;
};
[[nodiscard]] std::vector<WorkloadKind> workload_kinds();

/// "uniform", "zipf:1.2", …, or an id of Megatron's proposal for a benchmark of imbalance, "W0" … "W7". Throws
/// UserError, which lists the known ones, or says which shape it needs. Local; reads the file of "matrix:FILE".
[[nodiscard]] std::unique_ptr<Workload> make_workload(const std::string& spec, const WorkloadShape& shape,
                                                      std::uint64_t seed);
/// The same on all ranks of `world`, whose rank 0 reads the file. Collective.
[[nodiscard]] std::unique_ptr<Workload> make_workload(const std::string& spec, const WorkloadShape& shape,
                                                      std::uint64_t seed, const Communicator& world);

/// Tells routings apart: of tokens, experts and weights of all ranks.
[[nodiscard]] std::uint64_t hash_of(std::span<const RankRouting> all);

/// Nothing is dropped. `weights`: float32, or float64 for rows of that type.
[[nodiscard]] Routing to_routing(const RankRouting& routing, Device& device, DType weights = DType::float32);

}  // namespace expar
