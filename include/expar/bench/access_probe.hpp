#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "expar/bench/row_places.hpp"
#include "expar/comm/topology.hpp"
#include "expar/comm/window.hpp"
#include "expar/compute/rows.hpp"

namespace expar {

/// The four ways in which rows move.
enum class RowMovement { dispatch, combine, combine_backward, dispatch_backward };

/// Bare loops that touch what an algorithm that copies once must touch, row by row in the same order, in memory that
/// the ranks of a node share, and that do nothing else: no plan, no flags, no waiting, no arithmetic worth the name.
/// What they take is what memory allows.
///
/// A choice that is served on another node is served from own memory here. Every call is local; for what ranks do to
/// each other's memory the caller lets them begin together. Of every area nothing is touched by another's calls, so
/// that many areas in turn are cold; there the way back has rows of its own. Where there is one area, it has forward's
/// again, as a pool hands out what was given back last.
class AccessProbe {
public:
    enum class Pass { forward, backward };

    /// Collective over all ranks of `topology`, which is `world`'s.
    AccessProbe(const Communicator& world, const Topology& topology, RowPlaces places, std::size_t row_bytes,
                int areas);

    [[nodiscard]] int areas() const { return areas_; }
    void move(RowMovement movement, int area, Stores stores);
    /// The host reads the rows that it was sent, and writes as many: before combine, and before the backward of
    /// dispatch.
    void serve(int area, Pass pass);
    /// As many bytes as dispatch stores, from here to here, in one piece.
    void copy(int area, Stores stores);

    /// Of an area: this rank's tokens, what combine and the backward of dispatch make of them, and what it serves.
    [[nodiscard]] std::span<std::byte> tokens(int area, Pass pass) const;
    [[nodiscard]] std::span<const std::byte> combined(int area, Pass pass) const;
    [[nodiscard]] std::span<const std::byte> served(int area, Pass pass) const;

    /// Read and written by a rank in that movement.
    [[nodiscard]] std::int64_t bytes(RowMovement movement) const;
    [[nodiscard]] std::int64_t copy_bytes() const { return std::int64_t(2 * served_bytes_); }

private:
    struct Free {
        void operator()(std::byte* memory) const;
    };
    [[nodiscard]] std::size_t area_bytes(std::size_t part_bytes) const { return std::size_t(parts_) * part_bytes; }
    [[nodiscard]] std::size_t offset(int area, int part, std::size_t part_bytes) const;
    [[nodiscard]] std::byte* sources(int area, int part) const;
    [[nodiscard]] std::byte* hosted(int area, int part) const;
    [[nodiscard]] std::byte* place(int area, int part, std::size_t choice) const;
    void gather_places(int area, int part, int token, std::vector<std::byte*>& places) const;

    RowPlaces places_;
    std::size_t row_bytes_, served_bytes_;
    int areas_, parts_;  // parts of an area
    int kept_ = 0;
    Communicator node_;
    int own_;  // place in node_
    std::unique_ptr<Window> window_;
    std::vector<int> member_;                // [T, k] in node_
    std::unique_ptr<std::byte, Free> here_;  // rows of tokens
};

}  // namespace expar
