#include "expar/bench/workload.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include "expar/base/error.hpp"
#include "expar/base/random.hpp"

namespace expar {
namespace {

// One step of a hash: every bit of the value reaches every bit of the result (the finaliser of SplitMix64).
std::uint64_t mixed(std::uint64_t hash, std::uint64_t value) {
    hash = (hash ^ value) + 0x9E3779B97F4A7C15;
    hash = (hash ^ hash >> 30) * 0xBF58476D1CE4E5B9;
    hash = (hash ^ hash >> 27) * 0x94D049BB133111EB;
    return hash ^ hash >> 31;
}

}  // namespace

std::vector<RankRouting> Workload::routings(std::uint64_t step) const {
    std::vector<RankRouting> all;
    for (int rank = 0; rank < shape().ranks; ++rank) all.push_back(routing(rank, step));
    return all;
}

std::uint64_t hash_of(std::span<const RankRouting> all) {
    std::uint64_t hash = all.size();
    for (const auto& rank : all) {
        hash = mixed(mixed(hash, std::uint64_t(rank.tokens)), std::uint64_t(rank.top_k));
        for (std::size_t i = 0; i < rank.experts.size(); ++i)
            hash = mixed(hash, std::uint64_t(std::uint32_t(rank.experts[i])) << 32 |
                                   std::bit_cast<std::uint32_t>(rank.weights[i]));
    }
    return hash;
}

Routing to_routing(const RankRouting& routing, Device& device, DType weights) {
    Routing made;
    made.tokens = routing.tokens;
    made.top_k = routing.top_k;
    made.experts = Array<int>(device, routing.experts.size());
    made.kept = Array<int>(device, routing.experts.size());
    made.weights = Matrix(device, weights, routing.tokens, routing.top_k);
    std::ranges::copy(routing.experts, made.experts.host().begin());
    std::ranges::fill(made.kept.host(), 1);
    with_real(weights, [&]<class Real>(Real) {
        for (int t = 0; t < routing.tokens; ++t)
            for (int j = 0; j < routing.top_k; ++j)
                made.weights.view().row<Real>(t)[j] = Real(routing.weights[std::size_t(t) * routing.top_k + j]);
    });
    return made;
}

}  // namespace expar
