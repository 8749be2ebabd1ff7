#include "stage_bound.hpp"

#include <numeric>

namespace expar {
namespace {

double total(const std::vector<int>& counts) {
    return std::accumulate(counts.begin(), counts.end(), 0.0);
}

// Packs a row for each that travels, and gathers a row for each choice served.
Stages outward(const RowNumbers& numbers, bool deduplicated) {
    const double packed = total(deduplicated ? numbers.distinct.send : numbers.choices.send);
    const double read = deduplicated ? numbers.delivered : numbers.served;
    return {2 * packed + read + numbers.served, deduplicated ? Region::dispatch : Region::combine_backward};
}

// Every choice's row goes home and is added there.
Stages home_by_choice(const RowNumbers& numbers) {
    return {2 * total(numbers.choices.recv) + numbers.kept + numbers.tokens, Region::dispatch_backward};
}

// Hosts add, sources add what they get.
Stages home_by_rank(const RowNumbers& numbers) {
    return {double(numbers.served) + numbers.delivered + numbers.spread + numbers.tokens, Region::combine};
}

}  // namespace

bool copies_once(std::string_view dispatcher) {
    return dispatcher == "window";
}

std::optional<Stages> stages_of(std::string_view dispatcher, std::string_view order, Region region,
                                const RowNumbers& numbers) {
    const bool deduplicated = dispatcher == "packed";
    if (!deduplicated && dispatcher != "naive") return std::nullopt;
    const bool home = region == Region::combine || region == Region::dispatch_backward;
    if (home && order == "node_reduced") return std::nullopt;
    switch (region) {
        case Region::dispatch:
        case Region::dispatch_cached:
            return outward(numbers, deduplicated);
        case Region::combine_backward: {
            Stages stages = outward(numbers, deduplicated);
            stages.copied_rows += numbers.served;  // the outputs, for the gradients of the weights
            return stages;
        }
        case Region::combine:
        case Region::dispatch_backward:
            return deduplicated && order == "reduced" ? home_by_rank(numbers) : home_by_choice(numbers);
        case Region::plan:
        case Region::counts:
        case Region::copy:
            break;
    }
    return std::nullopt;
}

}  // namespace expar
