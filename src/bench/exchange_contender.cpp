#include "exchange_contender.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <numeric>
#include <utility>

#include "expar/bench/measure_together.hpp"
#include "row_loops.hpp"

namespace expar {
namespace {

int total(const std::vector<int>& counts) {
    return std::accumulate(counts.begin(), counts.end(), 0);
}

// Touched, so that its pages are where its owner is.
std::shared_ptr<std::byte> zeroed(std::size_t bytes) {
    constexpr std::align_val_t page{4096};
    auto* memory = static_cast<std::byte*>(::operator new(std::max<std::size_t>(bytes, 1), page));
    std::memset(memory, 0, bytes);
    return {memory, [](std::byte* old) { ::operator delete(old, page); }};
}

// Byte c of row i of those from one rank to another (the finaliser of SplitMix64).
struct RowPattern {
    RowPattern(int from, int to, int i) {
        key = std::uint64_t(std::uint32_t(from)) << 48 ^ std::uint64_t(std::uint32_t(to)) << 32 ^ std::uint32_t(i);
        key += 0x9E3779B97F4A7C15;
        key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9;
        key = (key ^ key >> 27) * 0x94D049BB133111EB;
        key = (key ^ key >> 31) | 1;
    }
    [[nodiscard]] std::byte operator[](std::size_t c) const { return std::byte(key * (2 * c + 1) >> 56); }

    std::uint64_t key;
};

}  // namespace

int ExchangedRows::sent() const {
    return total(counts.send);
}

int ExchangedRows::received() const {
    return total(counts.recv);
}

ConstRows ExchangeContender::sent(const Slot& slot) const {
    return {slot.send.get(), rows_.sent(), rows_.cols, rows_.dtype};
}

Rows ExchangeContender::received(const Slot& slot) const {
    return {slot.recv.get(), rows_.received(), rows_.cols, rows_.dtype};
}

void ExchangeContender::fill(std::byte* rows) const {
    for (int to = 0; to < world_.size(); ++to)
        for (int i = 0; i < rows_.counts.send[to]; ++i) {
            const RowPattern pattern(world_.rank(), to, i);
            for (std::size_t c = 0; c < rows_.row_bytes(); ++c) *rows++ = pattern[c];
        }
}

void ExchangeContender::prepare(int slots, const Lend& lend, Move move) {
    move_ = std::move(move);
    for (int i = 0; i < slots; ++i) {
        slots_.push_back({lend(std::size_t(rows_.sent()) * rows_.row_bytes()),
                          zeroed(std::size_t(rows_.received()) * rows_.row_bytes())});
        fill(slots_.back().send.get());
    }
}

double ExchangeContender::iterate(int slot) const {
    const Slot& here = slots_[std::size_t(slot)];
    return seconds_together(world_, [&] { move_(sent(here), received(here)); });
}

std::int64_t ExchangeContender::wrong_rows() const {
    const Slot& slot = slots_.front();
    std::memset(slot.recv.get(), 0x5A, std::size_t(rows_.received()) * rows_.row_bytes());
    move_(sent(slot), received(slot));
    std::int64_t wrong = 0;
    const std::byte* row = slot.recv.get();
    for (int from = 0; from < world_.size(); ++from)
        for (int i = 0; i < rows_.counts.recv[from]; ++i, row += rows_.row_bytes()) {
            const RowPattern pattern(from, world_.rank(), i);
            bool same = true;
            for (std::size_t c = 0; c < rows_.row_bytes(); ++c) same = same && row[c] == pattern[c];
            wrong += same ? 0 : 1;
        }
    world_.sum(std::span(&wrong, 1), {"benchmark"});
    return wrong;
}

RowCopyProbe::RowCopyProbe(const Communicator& world, const Topology& topology, const ExchangedRows& rows, int slots)
    : world_(world),
      received_bytes_(std::size_t(rows.received()) * rows.row_bytes()),
      node_(world.split(topology.node_of[world.rank()])),
      recv_(zeroed(received_bytes_ * std::size_t(slots))) {
    // What every rank sends to every other, as all know from the workload, but here it is asked: [R, R].
    const std::vector<int> sends = world.all_gather(std::span<const int>(rows.counts.send), {"benchmark"});
    const auto slot_bytes_of = [&](int rank) {  // room for what other nodes' ranks would have sent, too
        const auto* row = sends.data() + std::size_t(rank) * std::size_t(world.size());
        int received = 0;
        for (int from = 0; from < world.size(); ++from)
            received = std::max(received, sends[std::size_t(from) * std::size_t(world.size()) + std::size_t(rank)]);
        return std::size_t(std::max(std::accumulate(row, row + world.size(), 0), received)) * rows.row_bytes();
    };
    const std::vector<int> members = topology.ranks_of(topology.node_of[world.rank()]);
    const std::size_t own_bytes = slot_bytes_of(world.rank()) * std::size_t(slots);
    window_ = std::make_unique<Window>(node_, own_bytes);
    std::fill_n(window_->part(node_.rank()), own_bytes, std::byte{1});
    for (int from = 0; from < world.size(); ++from) {
        const std::size_t bytes = std::size_t(rows.counts.recv[from]) * rows.row_bytes();
        const auto member = std::ranges::find(members, from);
        const bool here = member != members.end();
        const int reads = here ? from : world.rank();
        const auto* row = sends.data() + std::size_t(from) * std::size_t(world.size());
        const std::size_t first =
            here ? std::size_t(std::accumulate(row, row + world.rank(), 0)) * rows.row_bytes() : 0;
        if (bytes > 0)
            sources_.push_back({window_->part(here ? int(member - members.begin()) : node_.rank()) + first,
                                slot_bytes_of(reads), bytes});
    }
    node_.barrier({"benchmark"});
}

double RowCopyProbe::iterate(int slot, Stores stores) {
    return seconds_together(world_, [&] {
        std::byte* to = recv_.get() + std::size_t(slot) * received_bytes_;
        for (const Source& source : sources_) {
            row_loops().copy_to(source.rows + std::size_t(slot) * source.slot_bytes, std::span(&to, 1), source.bytes,
                                stores);
            to += source.bytes;
        }
        complete_stores();
    });
}

}  // namespace expar
