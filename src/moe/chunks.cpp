#include "expar/moe/chunks.hpp"

#include <algorithm>
#include <ranges>
#include <utility>

namespace expar {

int first_token_of(int chunk, int chunks, int tokens) {
    return int(std::int64_t{chunk} * tokens / chunks);
}

Routing part_of(const Routing& routing, int first, int tokens) {
    Device& device = routing.weights.device();
    const auto begin = std::size_t(first) * std::size_t(routing.top_k);
    const auto choices = std::size_t(tokens) * std::size_t(routing.top_k);
    const auto part = [&](const Array<int>& all) {
        Array<int> some(device, choices);
        if (choices > 0)
            device.copy(all.view().subspan(begin, choices).data(), some.view().data(), choices * sizeof(int),
                        device.stream());
        return some;
    };
    Matrix weights(device, routing.weights.dtype(), tokens, routing.top_k);
    const ConstRows from = routing.weights.view().slice(first, tokens);
    if (choices > 0) device.copy(from.data(), weights.view().data(), from.bytes(), device.stream());
    return {tokens, routing.top_k, part(routing.experts), std::move(weights), part(routing.kept)};
}

JoinedRows join_rows(std::span<const DispatchPlan* const> plans, Device& device) {
    JoinedRows joined;
    for (const DispatchPlan* plan : plans) joined.places.emplace_back(device, std::size_t(plan->expert_offsets.back()));
    const std::size_t experts = plans.front()->expert_offsets.size() - 1;
    const std::size_t members = experts == 0 ? 0 : plans.front()->served_for.size() / experts;
    std::vector<std::size_t> done(plans.size());  // rows of each plan
    int next = 0;
    joined.offsets.push_back(next);
    for (std::size_t expert = 0; expert < experts; ++expert) {
        for (std::size_t member = 0; member < members; ++member)
            for (std::size_t p = 0; p < plans.size(); ++p) {
                const auto rows = std::size_t(plans[p]->served_for[expert * members + member]);
                std::ranges::iota_view numbers(next, next + int(rows));
                std::ranges::copy(numbers, joined.places[p].host().subspan(done[p], rows).begin());
                done[p] += rows;
                next += int(rows);
            }
        joined.offsets.push_back(next);
    }
    return joined;
}

}  // namespace expar
