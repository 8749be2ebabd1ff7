#include "gradient_bucket.hpp"

#include <numeric>
#include <utility>

#include "sum_over_hosts.hpp"

namespace expar {
namespace {

constexpr Occasion occasion{"gradient reduction"};

std::size_t count_of(const std::vector<ParameterBlock*>& blocks) {
    return std::accumulate(blocks.begin(), blocks.end(), std::size_t{0},
                           [](std::size_t sum, const ParameterBlock* block) { return sum + block->spec().count(); });
}

}  // namespace

GradientBucket::GradientBucket(Device& device, const Communicator& hosts, std::vector<ParameterBlock*> blocks)
    : device_(device), hosts_(hosts), blocks_(std::move(blocks)), dtype_(blocks_.front()->flat_gradient().dtype()) {
    const std::size_t count = count_of(blocks_);
    rows_ = int((count + row_elements - 1) / row_elements);
    staged_ = blocks_.size() > 1 || count % row_elements != 0;
    for (int host = 0; host < hosts.size(); ++host)
        shard_rows_.push_back(rows_ / hosts.size() + (host < rows_ % hosts.size() ? 1 : 0));
}

Rows GradientBucket::all() {
    if (staged_) return staging_;
    return {blocks_.front()->flat_gradient().data(), rows_, row_elements, dtype_};
}

void GradientBucket::start(Exchange& exchange) {
    if (staged_) pack();
    const int mine = shard_rows_[hosts_.rank()];
    parts_ = Matrix(device_, dtype_, mine * hosts_.size(), row_elements);
    device_.synchronize();
    transfer_ = exchange.start(all(), parts_, {shard_rows_, std::vector<int>(hosts_.size(), mine)}, occasion);
}

void GradientBucket::combine() {
    transfer_.finish();
    const int mine = shard_rows_[hosts_.rank()];
    std::vector<ConstRows> parts;
    for (int host = 0; host < hosts_.size(); ++host) parts.push_back(parts_.view().slice(host * mine, mine));
    const int before = std::accumulate(shard_rows_.begin(), shard_rows_.begin() + hosts_.rank(), 0);
    const Rows sum = all().slice(before, mine);  // its own place, which has been sent
    if (mine > 0) sum_over_hosts(device_, parts, sum);
    device_.synchronize();
    transfer_ = hosts_.start_all_gather(sum, all(), shard_rows_, occasion);
    parts_ = Matrix();
}

void GradientBucket::finish() {
    transfer_.finish();
    if (staged_) unpack();
    staging_ = Matrix();
}

void GradientBucket::pack() {
    staging_ = Matrix(device_, dtype_, rows_, row_elements);
    if (rows_ > 0) {  // what the last row has too much
        const Rows last = staging_.view().slice(rows_ - 1, 1);
        device_.fill_zero(last.data(), last.bytes(), device_.stream());
    }
    auto* to = static_cast<std::byte*>(staging_.view().data());
    for (ParameterBlock* block : blocks_) {
        const Rows gradient = block->flat_gradient();
        device_.copy(gradient.data(), to, gradient.bytes(), device_.stream());
        to += gradient.bytes();
    }
}

void GradientBucket::unpack() {
    const auto* from = static_cast<const std::byte*>(staging_.view().data());
    for (ParameterBlock* block : blocks_) {
        const Rows gradient = block->flat_gradient();
        device_.copy(from, gradient.data(), gradient.bytes(), device_.stream());
        from += gradient.bytes();
    }
}

}  // namespace expar
