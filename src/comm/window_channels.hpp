#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "expar/comm/window.hpp"

namespace expar {

/// What a transfer still has to move through channels. Shared with the channels, which count it down.
struct ChannelTransfer {
    int remaining = 0;  ///< pieces, in both directions
};

/// One row of bytes from every rank of a node to every other, in order: what a transfer sends to a rank is a piece.
///
/// A piece that lies in the sender's own part of the window is read by the receiver from there: one copy. Any other
/// passes through a ring in the sender's part: two copies, the second from a cache where that is large enough. Never
/// waits; advance() moves all pieces of all transfers.
class WindowChannels {
public:
    /// Collective. Of this rank's part, `lent_bytes` can be lent.
    WindowChannels(std::shared_ptr<const Communicator> node, std::size_t lent_bytes);

    struct Piece {
        std::byte* data;
        std::size_t bytes;
        int rows;  // for the line that a hang leaves
        std::shared_ptr<ChannelTransfer> transfer;
    };
    void send(int to, Piece piece);
    void receive(int from, Piece piece);
    void advance();
    [[nodiscard]] bool idle() const;
    /// The pieces of `transfer` that have not moved.
    [[nodiscard]] std::string outstanding(const ChannelTransfer& transfer) const;

    /// Memory of this rank's part, given back when the last owner lets go of it, which must be before this object ends;
    /// null when there is not enough left.
    [[nodiscard]] std::shared_ptr<std::byte> lend(std::size_t bytes);

private:
    struct Control;
    struct Entry {
        std::uint64_t bytes;
        std::int64_t offset;  // in the sender's part; -1: comes through the ring
    };
    struct Leaving {
        Piece piece;
        std::uint64_t number = 0;  // of the piece in its channel
        std::size_t written = 0;
        bool posted = false;
    };
    struct Coming {
        Piece piece;
        std::size_t read = 0;
    };
    struct Lent {
        std::vector<std::pair<std::size_t, std::size_t>> taken;  // first byte and end, ascending
    };

    [[nodiscard]] Control& control(int from, int to) const;
    [[nodiscard]] std::byte* ring(int from, int to) const;
    [[nodiscard]] std::int64_t offset_of(const std::byte* data, std::size_t bytes) const;
    void advance_leaving(int to);
    void advance_coming(int from);
    void write(int to, Leaving& leaving);
    void read(int from, Coming& coming);

    std::shared_ptr<const Communicator> node_;
    int ranks_, rank_;
    std::size_t ring_bytes_, lent_bytes_, lent_offset_;
    Window window_;
    std::vector<std::deque<Leaving>> posting_;  // [R] not yet written to the ring, or not yet posted
    std::vector<std::deque<Leaving>> lying_;    // [R] posted where they lie, until they are taken
    std::vector<std::deque<Coming>> coming_;    // [R]
    std::vector<std::uint64_t> numbers_;        // [R] pieces posted to each
    std::shared_ptr<Lent> lent_ = std::make_shared<Lent>();
};

}  // namespace expar
