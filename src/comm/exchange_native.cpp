#include <utility>

#include "drive_mpi.hpp"
#include "exchange_shape.hpp"
#include "row_type.hpp"

namespace expar {
namespace {

// MPI reads the counts until the exchange is done.
class NativeWork : public Transfer::Work {
public:
    NativeWork(ExchangeShape shape, RowCounts counts, std::shared_ptr<const RowType> type)
        : shape_(std::move(shape)), counts_(std::move(counts)), type_(std::move(type)) {}

    void start(ConstRows send, Rows recv, MPI_Comm comm) {
        check_mpi(
            MPI_Ialltoallv(send.data(), counts_.send.data(), shape_.send_offsets.data(), type_->mpi(), recv.data(),
                           counts_.recv.data(), shape_.recv_offsets.data(), type_->mpi(), comm, &request_),
            "MPI_Ialltoallv");
    }

    bool advance() override { return test(request_); }
    [[nodiscard]] std::string outstanding() const override {
        return concat("all-to-all of ", rows_text(shape_.recv_offsets.back()), " in, ",
                      grouped(shape_.send_offsets.back()), " out; peers unknown");
    }

private:
    ExchangeShape shape_;
    RowCounts counts_;
    std::shared_ptr<const RowType> type_;
    MPI_Request request_ = MPI_REQUEST_NULL;
};

class NativeExchange : public Exchange {
public:
    explicit NativeExchange(const Communicator& comm) : Exchange(comm.size()), comm_(comm.duplicate()) {}

    Transfer start(ConstRows send, Rows recv, const RowCounts& counts, Occasion occasion) override {
        ExchangeShape shape = check_exchange(send, recv, counts, comm_);
        const std::size_t row_bytes = shape.row_bytes();
        auto type = types_.of(shape.cols, shape.dtype);

        copy_own_rows(send, recv, shape, comm_.rank());
        RowCounts travelling = counts;
        travelling.send[comm_.rank()] = 0;
        travelling.recv[comm_.rank()] = 0;
        for (int peer = 0; peer < comm_.size(); ++peer)
            if (travelling.send[peer] > 0) traffic_->count(peer, travelling.send[peer], row_bytes);

        auto work = std::make_unique<NativeWork>(std::move(shape), std::move(travelling), std::move(type));
        work->start(send, recv, comm_.mpi());
        return {std::move(work), comm_.policy(), occasion, comm_.world_rank(comm_.rank())};
    }

private:
    Communicator comm_;
    RowTypeCache types_;
};

}  // namespace

std::unique_ptr<Exchange> make_native_exchange(const Communicator& comm, const ExchangeOptions&) {
    return std::make_unique<NativeExchange>(comm);
}

}  // namespace expar
