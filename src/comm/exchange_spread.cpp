#include <utility>

#include "exchange_shape.hpp"
#include "row_messages.hpp"

namespace expar {
namespace {

constexpr std::size_t message_bytes = 256 * 1024;

// Rank r serves r + 1, r + 2, … in turn, so that no rank is everybody's first peer.
class SpreadExchange : public Exchange {
public:
    explicit SpreadExchange(const Communicator& comm) : Exchange(comm.size()), comm_(comm.duplicate()) {
        int* value = nullptr;
        int found = 0;
        check_mpi(MPI_Comm_get_attr(comm_.mpi(), MPI_TAG_UB, &value, &found), "MPI_Comm_get_attr");
        if (found) highest_tag_ = *value;
    }

    Transfer start(ConstRows send, Rows recv, const RowCounts& counts, Occasion occasion) override {
        const ExchangeShape shape = check_exchange(send, recv, counts, comm_);
        const std::size_t row_bytes = shape.row_bytes();
        const int ranks = comm_.size();
        const int tag = tag_;
        tag_ = tag_ == highest_tag_ ? 0 : tag_ + 1;

        auto work = std::make_unique<RowMessages>(types_.of(shape.cols, shape.dtype));
        for (int step = 1; step < ranks; ++step) {
            const int from = (comm_.rank() - step + ranks) % ranks;
            for (Rows left = shape.part(recv, shape.recv_offsets, from); left.rows() > 0;)
                work->receive(take_message(left, message_bytes), from, tag, comm_);
        }
        for (int step = 1; step < ranks; ++step) {
            const int to = (comm_.rank() + step) % ranks;
            for (ConstRows left = shape.part(send, shape.send_offsets, to); left.rows() > 0;) {
                const ConstRows message = take_message(left, message_bytes);
                work->send(message, to, tag, comm_);
                traffic_.count(to, message.rows(), row_bytes);
            }
        }
        copy_own_rows(send, recv, shape, comm_.rank());
        return {std::move(work), comm_.policy(), occasion, comm_.world_rank(comm_.rank())};
    }

private:
    Communicator comm_;
    RowTypeCache types_;
    int highest_tag_ = 32767;  // what MPI promises at least
    int tag_ = 0;              // of the next transfer: transfers start in the same order on all ranks
};

}  // namespace

std::unique_ptr<Exchange> make_spread_exchange(const Communicator& comm) {
    return std::make_unique<SpreadExchange>(comm);
}

}  // namespace expar
