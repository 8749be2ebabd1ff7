#include <algorithm>
#include <map>
#include <utility>

#include "exchange_shape.hpp"
#include "row_type.hpp"

namespace expar {
namespace {

constexpr std::size_t message_bytes = 256 * 1024;

class SpreadWork : public Transfer::Work {
public:
    explicit SpreadWork(std::shared_ptr<const RowType> type) : type_(std::move(type)) {}

    void receive(Rows rows, int from, int tag, const Communicator& comm) {
        MPI_Request* request = add(comm.world_rank(from), rows.rows(), true);
        check_mpi(MPI_Irecv(rows.data(), rows.rows(), type_->mpi(), from, tag, comm.mpi(), request), "MPI_Irecv");
    }
    void send(ConstRows rows, int to, int tag, const Communicator& comm) {
        MPI_Request* request = add(comm.world_rank(to), rows.rows(), false);
        check_mpi(MPI_Isend(rows.data(), rows.rows(), type_->mpi(), to, tag, comm.mpi(), request), "MPI_Isend");
    }

    std::span<MPI_Request> requests() override { return requests_; }
    [[nodiscard]] std::string outstanding() const override {
        std::map<int, std::int64_t> coming, leaving;  // rows by peer
        for (std::size_t i = 0; i < requests_.size(); ++i)
            if (requests_[i] != MPI_REQUEST_NULL)
                (messages_[i].incoming ? coming : leaving)[messages_[i].peer] += messages_[i].rows;
        std::string text;
        for (const auto& [peer, rows] : coming)
            text += concat(text.empty() ? "" : ", ", "rank ", peer, " (", rows_text(rows), ")");
        for (const auto& [peer, rows] : leaving)
            text += concat(text.empty() ? "" : ", ", "rank ", peer, " (to take ", rows_text(rows), ")");
        return text;
    }

private:
    struct Message {
        int peer;  // in MPI_COMM_WORLD
        int rows;
        bool incoming;
    };

    MPI_Request* add(int peer, int rows, bool incoming) {
        messages_.push_back({peer, rows, incoming});
        return &requests_.emplace_back(MPI_REQUEST_NULL);
    }

    std::shared_ptr<const RowType> type_;
    std::vector<MPI_Request> requests_;
    std::vector<Message> messages_;
};

// The first rows of `left`, at most `limit`, which it loses.
template <class View>
View cut(View& left, int limit) {
    const int rows = std::min(limit, left.rows());
    const View message = left.slice(0, rows);
    left = left.slice(rows, left.rows() - rows);
    return message;
}

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
        const int limit = int(std::max<std::size_t>(message_bytes / std::max<std::size_t>(row_bytes, 1), 1));
        const int ranks = comm_.size();
        const int tag = tag_;
        tag_ = tag_ == highest_tag_ ? 0 : tag_ + 1;

        auto work = std::make_unique<SpreadWork>(types_.of(shape.cols, shape.dtype));
        for (int step = 1; step < ranks; ++step) {
            const int from = (comm_.rank() - step + ranks) % ranks;
            for (Rows left = shape.part(recv, shape.recv_offsets, from); left.rows() > 0;)
                work->receive(cut(left, limit), from, tag, comm_);
        }
        for (int step = 1; step < ranks; ++step) {
            const int to = (comm_.rank() + step) % ranks;
            for (ConstRows left = shape.part(send, shape.send_offsets, to); left.rows() > 0;) {
                const ConstRows message = cut(left, limit);
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
