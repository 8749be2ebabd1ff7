#include "expar/comm/bare_alltoallv.hpp"

#include <utility>

#include "row_type.hpp"

namespace expar {

struct BareAlltoallv::Parts {
    Parts(const Communicator& group, RowCounts rows, int cols, DType dtype)
        : comm(group.duplicate()),
          counts(std::move(rows)),
          send_offsets(row_offsets(counts.send, "send")),
          recv_offsets(row_offsets(counts.recv, "recv")),
          type(cols, dtype) {}

    Communicator comm;
    RowCounts counts;
    std::vector<int> send_offsets, recv_offsets;
    RowType type;
};

BareAlltoallv::BareAlltoallv(const Communicator& comm, RowCounts counts, int cols, DType dtype)
    : parts_(std::make_unique<Parts>(comm, std::move(counts), cols, dtype)) {}
BareAlltoallv::BareAlltoallv(BareAlltoallv&&) noexcept = default;
BareAlltoallv::~BareAlltoallv() = default;

void BareAlltoallv::run(ConstRows send, Rows recv) const {
    const auto expect_rows = [](int rows, int expected) {
        if (rows != expected) throw Error(concat("MPI_Alltoallv: ", rows, " rows, the counts need ", expected));
    };
    expect_rows(send.rows(), parts_->send_offsets.back());
    expect_rows(recv.rows(), parts_->recv_offsets.back());
    check_mpi(MPI_Alltoallv(send.data(), parts_->counts.send.data(), parts_->send_offsets.data(), parts_->type.mpi(),
                            recv.data(), parts_->counts.recv.data(), parts_->recv_offsets.data(), parts_->type.mpi(),
                            parts_->comm.mpi()),
              "MPI_Alltoallv");
}

}  // namespace expar
