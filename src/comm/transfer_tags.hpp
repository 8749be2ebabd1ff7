#pragma once

#include "expar/comm/communicator.hpp"

namespace expar {

/// Tags that tell the transfers of one communicator apart: they start in the same order on all ranks. A tag comes back
/// when all have been used.
class TransferTags {
public:
    /// `each` tags for every transfer.
    TransferTags(const Communicator& comm, int each) : each_(each) {
        int* value = nullptr;
        int found = 0;
        check_mpi(MPI_Comm_get_attr(comm.mpi(), MPI_TAG_UB, &value, &found), "MPI_Comm_get_attr");
        if (found) highest_ = *value;
        if (each > highest_) throw Error(concat("exchange: needs ", each, " tags, MPI has ", highest_));
    }
    /// The first of the next transfer's.
    [[nodiscard]] int next() {
        const int first = next_;
        next_ = next_ > highest_ - 2 * each_ + 1 ? 0 : next_ + each_;
        return first;
    }

private:
    int each_;
    int highest_ = 32767;  // what MPI promises at least
    int next_ = 0;
};

}  // namespace expar
