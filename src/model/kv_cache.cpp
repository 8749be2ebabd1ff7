#include "expar/model/kv_cache.hpp"

namespace expar {

KvCache::KvCache(Device& device, DType dtype, const ModelOptions& options, int capacity) : capacity_(capacity) {
    for (int layer = 0; layer < options.layers; ++layer) {
        keys_.emplace_back(device, dtype, capacity, options.kv_heads * options.head_size);
        values_.emplace_back(device, dtype, capacity, options.kv_heads * options.head_size);
    }
}

void KvCache::check_room(int tokens) const {
    if (length_ + tokens > capacity_)
        throw Error(concat("cache of keys and values: ", tokens, " tokens more than the ", length_,
                           " that it holds, but there is room for ", capacity_));
}

void KvCache::grow(int tokens) {
    check_room(tokens);
    length_ += tokens;
}

}  // namespace expar
