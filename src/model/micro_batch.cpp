#include "expar/model/micro_batch.hpp"

#include <algorithm>
#include <numeric>

#include "expar/base/error.hpp"

namespace expar {
namespace {

template <class T>
std::vector<T> part(const std::vector<T>& all, int first, int last) {
    return {all.begin() + first, all.begin() + last};
}

}  // namespace

int MicroBatch::loss_count() const {
    return int(std::ranges::count_if(targets, [](int target) { return target >= 0; }));
}

void MicroBatch::append(std::span<const int> text) {
    if (text.size() < 2) throw Error(concat("batch: a sequence of ", text.size(), " tokens, expected at least 2"));
    tokens.insert(tokens.end(), text.begin(), text.end() - 1);
    targets.insert(targets.end(), text.begin() + 1, text.end());
    const int first = offsets.back();
    offsets.push_back(token_count());
    positions.resize(tokens.size());
    std::iota(positions.begin() + first, positions.end(), 0);
}

MicroBatch MicroBatch::share_of(int rank, int ranks) const {
    const int every = sequence_count() / ranks;
    const int larger = sequence_count() % ranks;  // the first ranks take one more
    const int first = rank * every + std::min(rank, larger);
    const int last = first + every + (rank < larger ? 1 : 0);

    const int start = offsets[first];
    MicroBatch share{.tokens = part(tokens, start, offsets[last]),
                     .targets = part(targets, start, offsets[last]),
                     .positions = part(positions, start, offsets[last]),
                     .offsets = part(offsets, first, last + 1),
                     .first_token = first_token + start};
    for (int& offset : share.offsets) offset -= start;
    return share;
}

}  // namespace expar
