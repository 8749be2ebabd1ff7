#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "expar/bench/row_places.hpp"
#include "expar/comm/window.hpp"
#include "expar/compute/rows.hpp"

namespace expar {

/// What is exchanged in a cell.
struct ExchangedRows {
    RowCounts counts;
    int cols = 0;
    DType dtype = DType::float32;

    [[nodiscard]] std::size_t row_bytes() const { return std::size_t(cols) * size_of(dtype); }
    [[nodiscard]] int sent() const;
    [[nodiscard]] int received() const;
};

/// Something that moves them, with buffers of its own, which it uses in turn.
class ExchangeContender {
public:
    using Lend = std::function<std::shared_ptr<std::byte>(std::size_t bytes)>;
    using Move = std::function<void(ConstRows send, Rows recv)>;

    ExchangeContender(const Communicator& world, const ExchangedRows& rows) : world_(world), rows_(rows) {}

    void prepare(int slots, const Lend& lend, Move move);
    /// Seconds of this rank. Collective.
    [[nodiscard]] double iterate(int slot) const;
    /// Moves once and returns how many rows of all ranks are not what was sent. Collective.
    [[nodiscard]] std::int64_t wrong_rows() const;

private:
    struct Slot {
        std::shared_ptr<std::byte> send, recv;
    };
    void fill(std::byte* rows) const;
    [[nodiscard]] ConstRows sent(const Slot& slot) const;
    [[nodiscard]] Rows received(const Slot& slot) const;

    const Communicator& world_;
    const ExchangedRows& rows_;
    std::vector<Slot> slots_;
    Move move_;
};

/// The loop that copies every row once: a rank reads what is for it from memory of the others on its node. Rows from
/// other nodes are read from own memory.
class RowCopyProbe {
public:
    /// Collective.
    RowCopyProbe(const Communicator& world, const Topology& topology, const ExchangedRows& rows, int slots);

    /// Seconds of this rank. Collective.
    [[nodiscard]] double iterate(int slot, Stores stores);

private:
    struct Source {
        const std::byte* rows;   // of the first slot
        std::size_t slot_bytes;  // from there to the next slot
        std::size_t bytes;
    };
    const Communicator& world_;
    std::size_t received_bytes_;
    Communicator node_;
    std::unique_ptr<Window> window_;
    std::vector<Source> sources_;
    std::shared_ptr<std::byte> recv_;
};

}  // namespace expar
