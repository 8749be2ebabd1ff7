#include "gradient_bucket.hpp"

#include <numeric>
#include <utility>

#include "expar/comm/start_messages.hpp"
#include "sum_over_hosts.hpp"

namespace expar {
namespace {

constexpr Occasion occasion{"gradient reduction"};

// Below the 64 KiB up to which a message leaves over TCP without asking its receiver: the system then moves it while
// both ranks compute. A larger one waits for each of them to call MPI, several times.
constexpr std::size_t message_bytes = std::size_t(48) << 10;

std::size_t count_of(const std::vector<ParameterBlock*>& blocks) {
    return std::accumulate(blocks.begin(), blocks.end(), std::size_t{0},
                           [](std::size_t sum, const ParameterBlock* block) { return sum + block->spec().count(); });
}

// The other hosts, from the next one on, so that no rank is everybody's first.
std::vector<int> others(const Communicator& hosts) {
    std::vector<int> list;
    for (int step = 1; step < hosts.size(); ++step) list.push_back((hosts.rank() + step) % hosts.size());
    return list;
}

// The same elements, for operations that take rows by the piece.
template <class View>
View in_one_row(View rows) {
    return {rows.data(), 1, rows.rows() * rows.cols(), rows.dtype()};
}

}  // namespace

GradientBucket::GradientBucket(Device& device, const GradientHosts& hosts, std::vector<ParameterBlock*> blocks)
    : device_(device), hosts_(hosts), blocks_(std::move(blocks)), dtype_(blocks_.front()->flat_value().dtype()) {
    const std::size_t count = count_of(blocks_);
    rows_ = int((count + row_elements - 1) / row_elements);
    staged_ = blocks_.size() > 1 || count % row_elements != 0;
    const int size = hosts.parts.size();
    for (int host = 0; host < size; ++host) shard_rows_.push_back(rows_ / size + (host < rows_ % size ? 1 : 0));
}

Rows GradientBucket::all() {
    if (staged_) return staging_;
    return {blocks_.front()->flat_gradient().data(), rows_, row_elements, dtype_};
}

Rows GradientBucket::shard(int host) {
    return all().slice(std::accumulate(shard_rows_.begin(), shard_rows_.begin() + host, 0), shard_rows_[host]);
}

Rows GradientBucket::part(int host) {
    const int me = hosts_.parts.rank();
    if (host == me) return shard(me);
    return parts_.view().slice((host < me ? host : host - 1) * shard_rows_[me], shard_rows_[me]);
}

// This rank's own part stays where it is.
void GradientBucket::start() {
    if (staged_) pack();
    parts_ = Matrix(device_, dtype_, shard_rows_[hosts_.parts.rank()] * (hosts_.parts.size() - 1), row_elements);
    std::vector<RowsFrom> from;
    std::vector<RowsTo> to;
    for (const int host : others(hosts_.parts)) {
        from.push_back({host, part(host)});
        to.push_back({host, shard(host)});
    }
    device_.synchronize();
    transfer_ = start_messages(hosts_.parts, from, to, message_bytes, occasion);
}

void GradientBucket::combine() {
    transfer_.finish();
    const Rows sum = shard(hosts_.parts.rank());
    std::vector<ConstRows> parts;
    for (int host = 0; host < hosts_.parts.size(); ++host) parts.push_back(in_one_row(part(host)));
    if (sum.rows() > 0) sum_over_hosts(device_, parts, in_one_row(sum));
    device_.synchronize();
    parts_ = Matrix();
    std::vector<RowsFrom> from;
    std::vector<RowsTo> to;
    for (const int host : others(hosts_.sums)) {
        from.push_back({host, shard(host)});
        to.push_back({host, sum});
    }
    transfer_ = start_messages(hosts_.sums, from, to, message_bytes, occasion);
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
