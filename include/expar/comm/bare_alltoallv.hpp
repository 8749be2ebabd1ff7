#pragma once

#include <memory>

#include "expar/comm/exchange.hpp"

namespace expar {

/// One blocking MPI_Alltoallv, as a program without this library calls it: what exchanges are measured beside.
///
/// Waits without a deadline, for as long as MPI does.
class BareAlltoallv {
public:
    /// Collective.
    BareAlltoallv(const Communicator& comm, RowCounts counts, int cols, DType dtype);
    BareAlltoallv(BareAlltoallv&&) noexcept;
    ~BareAlltoallv();

    /// send [sum(counts.send), cols] and recv [sum(counts.recv), cols], contiguous, as of an Exchange. Collective.
    void run(ConstRows send, Rows recv) const;

private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

}  // namespace expar
