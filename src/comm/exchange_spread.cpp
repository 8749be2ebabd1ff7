#include <utility>

#include "exchange_shape.hpp"
#include "row_messages.hpp"
#include "transfer_tags.hpp"

namespace expar {
namespace {

// Rank r serves r + 1, r + 2, … in turn, so that no rank is everybody's first peer.
class SpreadExchange : public Exchange {
public:
    SpreadExchange(const Communicator& comm, const ExchangeOptions& options)
        : Exchange(comm.size()),
          comm_(std::make_shared<const Communicator>(comm.duplicate())),
          options_(options),
          tags_(*comm_, 1) {}

    Transfer start(ConstRows send, Rows recv, const RowCounts& counts, Occasion occasion) override {
        const ExchangeShape shape = check_exchange(send, recv, counts, *comm_);
        const int ranks = comm_->size(), rank = comm_->rank();
        const int tag = tags_.next();

        auto work = std::make_unique<RowMessages>(MessageSetup{.type = types_.of(shape.cols, shape.dtype),
                                                               .comm = comm_,
                                                               .traffic = traffic_,
                                                               .most_open = options_.open_messages,
                                                               .most_bytes = options_.message_bytes,
                                                               .most_open_bytes = options_.open_bytes});
        // Both sides have the order (step, position), as RowMessages asks.
        for (int step = 1; step < ranks; ++step) {
            const int from = (rank - step + ranks) % ranks;
            work->receive(shape.part(recv, shape.recv_offsets, from), from, tag);
        }
        for (int step = 1; step < ranks; ++step) {
            const int to = (rank + step) % ranks;
            work->send(shape.part(send, shape.send_offsets, to), to, tag);
        }
        copy_own_rows(send, recv, shape, rank);
        return {std::move(work), comm_->policy(), occasion, comm_->world_rank(rank)};
    }

private:
    std::shared_ptr<const Communicator> comm_;
    ExchangeOptions options_;
    RowTypeCache types_;
    TransferTags tags_;
};

}  // namespace

std::unique_ptr<Exchange> make_spread_exchange(const Communicator& comm, const ExchangeOptions& options) {
    return std::make_unique<SpreadExchange>(comm, options);
}

}  // namespace expar
