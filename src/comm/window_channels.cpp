#include "window_channels.hpp"

#include <algorithm>
#include <cstring>

#include "row_type.hpp"

namespace expar {
namespace {

constexpr std::size_t line = 64;
constexpr std::uint64_t entries = 16;             // pieces of a channel that are posted and not taken
constexpr std::size_t part_ring_bytes = 4 << 20;  // of all rings of a rank
constexpr std::size_t most_ring_bytes = 256 << 10;
constexpr std::size_t least_ring_bytes = 16 << 10;
constexpr std::size_t chunk_bytes = 32 << 10;  // after which the other side is told

std::uint64_t load(const std::uint64_t& value) {
    return std::atomic_ref(const_cast<std::uint64_t&>(value)).load(std::memory_order_acquire);
}
void store(std::uint64_t& value, std::uint64_t next) {
    std::atomic_ref(value).store(next, std::memory_order_release);
}

std::size_t rounded(std::size_t bytes) {
    return (bytes + line - 1) / line * line;
}

}  // namespace

// Each line has one writer.
struct WindowChannels::Control {
    alignas(line) std::uint64_t posted;   // pieces, by the sender
    std::uint64_t written;                // bytes of the ring
    alignas(line) std::uint64_t taken;    // pieces, by the receiver
    std::uint64_t read;                   // bytes of the ring
    alignas(line) Entry pieces[entries];  // by the sender, before it counts them as posted
};

WindowChannels::WindowChannels(std::shared_ptr<const Communicator> node, std::size_t lent_bytes)
    : node_(std::move(node)),
      ranks_(node_->size()),
      rank_(node_->rank()),
      ring_bytes_(rounded(std::clamp(part_ring_bytes / std::size_t(ranks_), least_ring_bytes, most_ring_bytes))),
      lent_bytes_(rounded(lent_bytes)),
      lent_offset_(std::size_t(ranks_) * (sizeof(Control) + ring_bytes_)),
      window_(*node_, lent_offset_ + lent_bytes_),
      posting_(std::size_t(ranks_)),
      lying_(std::size_t(ranks_)),
      coming_(std::size_t(ranks_)),
      numbers_(std::size_t(ranks_)) {}

WindowChannels::Control& WindowChannels::control(int from, int to) const {
    return *reinterpret_cast<Control*>(window_.part(from) + std::size_t(to) * sizeof(Control));
}

std::byte* WindowChannels::ring(int from, int to) const {
    return window_.part(from) + std::size_t(ranks_) * sizeof(Control) + std::size_t(to) * ring_bytes_;
}

std::int64_t WindowChannels::offset_of(const std::byte* data, std::size_t bytes) const {
    const std::byte* first = window_.part(rank_) + lent_offset_;
    const bool lent = std::less_equal<>()(first, data) && std::less_equal<>()(data + bytes, first + lent_bytes_);
    return lent ? data - window_.part(rank_) : -1;
}

void WindowChannels::send(int to, Piece piece) {
    ++piece.transfer->remaining;
    posting_[to].push_back({std::move(piece), numbers_[to]++});
    advance_leaving(to);
}

void WindowChannels::receive(int from, Piece piece) {
    ++piece.transfer->remaining;
    coming_[from].push_back({std::move(piece)});
}

// From the next rank on, so that no rank is everybody's first peer.
void WindowChannels::advance() {
    for (int step = 1; step < ranks_; ++step) {
        advance_leaving((rank_ + step) % ranks_);
        advance_coming((rank_ - step + ranks_) % ranks_);
    }
}

bool WindowChannels::idle() const {
    const auto empty = [](const auto& pieces) { return pieces.empty(); };
    return std::ranges::all_of(posting_, empty) && std::ranges::all_of(lying_, empty) &&
           std::ranges::all_of(coming_, empty);
}

// Pieces of a channel are posted in order, and written to the ring in order. One that lies where it can be read holds
// up nobody.
void WindowChannels::advance_leaving(int to) {
    auto& posting = posting_[to];
    auto& lying = lying_[to];
    if (posting.empty() && lying.empty()) return;
    Control& channel = control(rank_, to);
    const std::uint64_t taken = load(channel.taken);
    while (!lying.empty() && lying.front().number < taken) {
        --lying.front().piece.transfer->remaining;
        lying.pop_front();
    }
    while (!posting.empty()) {
        Leaving& leaving = posting.front();
        const auto offset = offset_of(leaving.piece.data, leaving.piece.bytes);
        if (!leaving.posted) {
            if (leaving.number - taken >= entries) return;
            channel.pieces[leaving.number % entries] = {leaving.piece.bytes, offset};
            store(channel.posted, leaving.number + 1);
            leaving.posted = true;
        }
        if (offset >= 0) {
            lying.push_back(std::move(leaving));
        } else {
            write(to, leaving);
            if (leaving.written < leaving.piece.bytes) return;
            --leaving.piece.transfer->remaining;
        }
        posting.pop_front();
    }
}

// As much as the ring has room for.
void WindowChannels::write(int to, Leaving& leaving) {
    Control& channel = control(rank_, to);
    std::byte* bytes = ring(rank_, to);
    while (leaving.written < leaving.piece.bytes) {
        const std::uint64_t written = channel.written;
        const std::size_t room = ring_bytes_ - std::size_t(written - load(channel.read));
        const std::size_t at = std::size_t(written % ring_bytes_);
        const std::size_t count =
            std::min({room, ring_bytes_ - at, chunk_bytes, leaving.piece.bytes - leaving.written});
        if (count == 0) return;
        std::memcpy(bytes + at, leaving.piece.data + leaving.written, count);
        leaving.written += count;
        store(channel.written, written + count);
    }
}

void WindowChannels::advance_coming(int from) {
    auto& coming = coming_[from];
    if (coming.empty()) return;
    Control& channel = control(from, rank_);
    while (!coming.empty() && channel.taken < load(channel.posted)) {
        Coming& next = coming.front();
        const Entry entry = channel.pieces[channel.taken % entries];
        if (entry.bytes != next.piece.bytes)
            throw Error(concat("exchange: rank ", node_->world_rank(from), " sends ", entry.bytes, " bytes, rank ",
                               node_->world_rank(rank_), " expects ", next.piece.bytes));
        if (entry.offset >= 0)
            std::memcpy(next.piece.data, window_.part(from) + entry.offset, next.piece.bytes);
        else
            read(from, next);
        if (entry.offset < 0 && next.read < next.piece.bytes) return;
        store(channel.taken, channel.taken + 1);
        --next.piece.transfer->remaining;
        coming.pop_front();
    }
}

void WindowChannels::read(int from, Coming& coming) {
    Control& channel = control(from, rank_);
    const std::byte* bytes = ring(from, rank_);
    while (coming.read < coming.piece.bytes) {
        const std::uint64_t read = channel.read;
        const std::size_t there = std::size_t(load(channel.written) - read);
        const std::size_t at = std::size_t(read % ring_bytes_);
        const std::size_t count = std::min({there, ring_bytes_ - at, chunk_bytes, coming.piece.bytes - coming.read});
        if (count == 0) return;
        std::memcpy(coming.piece.data + coming.read, bytes + at, count);
        coming.read += count;
        store(channel.read, read + count);
    }
}

std::string WindowChannels::outstanding(const ChannelTransfer& transfer) const {
    std::string text;
    const auto add = [&](int peer, const Piece& piece, const char* what) {
        if (piece.transfer.get() == &transfer)
            text += concat(text.empty() ? "" : ", ", "rank ", node_->world_rank(peer), " (", what,
                           rows_text(piece.rows), ")");
    };
    for (int peer = 0; peer < ranks_; ++peer)
        for (const Coming& coming : coming_[peer]) add(peer, coming.piece, "");
    for (int peer = 0; peer < ranks_; ++peer) {
        for (const Leaving& leaving : lying_[peer]) add(peer, leaving.piece, "to take ");
        for (const Leaving& leaving : posting_[peer]) add(peer, leaving.piece, "to take ");
    }
    return text;
}

// The first gap that is large enough.
std::shared_ptr<std::byte> WindowChannels::lend(std::size_t bytes) {
    auto& taken = lent_->taken;
    const std::size_t wanted = std::max(rounded(bytes), line);
    std::size_t first = 0;
    auto place = taken.begin();
    for (; place != taken.end() && place->first - first < wanted; ++place) first = place->second;
    if (first + wanted > lent_bytes_) return nullptr;
    taken.insert(place, {first, first + wanted});
    return {window_.part(rank_) + lent_offset_ + first, [lent = lent_, first](std::byte*) {
                std::erase_if(lent->taken, [first](const auto& part) { return part.first == first; });
            }};
}

}  // namespace expar
