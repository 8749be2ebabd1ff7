#pragma once

#include <mpi.h>

#include <cstddef>
#include <vector>

#include "expar/comm/communicator.hpp"

namespace expar {

/// Memory that the ranks of a node share: every rank owns a part and may read and write all of them through plain
/// pointers.
///
/// Who may touch what when is settled outside, by flags in the memory itself: stores become visible in the order that
/// std::atomic_ref promises. Parts start zeroed, at a multiple of 64 bytes. Construction and destruction are collective
/// over `node`; while an exception unwinds, destruction leaves the memory to the end of the process, since the others
/// may never come.
class Window {
public:
    /// `bytes` of this rank's part; ranks may ask for different sizes. Throws UserError, on all ranks alike, when the
    /// ranks of `node` do not share memory or the node has too little of it.
    Window(const Communicator& node, std::size_t bytes);
    Window(Window&& other) noexcept;
    Window& operator=(Window&& other) noexcept;
    ~Window();

    [[nodiscard]] std::byte* part(int rank) const { return parts_[std::size_t(rank)].data; }
    [[nodiscard]] std::size_t bytes(int rank) const { return parts_[std::size_t(rank)].bytes; }

private:
    struct Part {
        std::byte* data;
        std::size_t bytes;
    };
    void close() noexcept;

    MPI_Win window_ = MPI_WIN_NULL;
    std::vector<Part> parts_;
    std::shared_ptr<const WaitPolicy> policy_;
    int rank_ = 0;        // in MPI_COMM_WORLD
    int exceptions_ = 0;  // that unwound when it was made
};

}  // namespace expar
