#include <deque>
#include <optional>
#include <utility>

#include "carried_rows.hpp"
#include "exchange_shape.hpp"
#include "row_messages.hpp"
#include "transfer_tags.hpp"

namespace expar {
namespace {

// Block i of rank r starts as its rows for rank r + i. Step k moves every block with bit k of i set on by 2^k ranks; at
// the end block i holds the rows that came i ranks far.
class BruckWork : public Transfer::Work {
public:
    struct Setup {
        std::shared_ptr<const Communicator> comm;
        std::shared_ptr<RowTypeCache> types;
        MessageSetup counts, rows;
        int tag;
    };

    BruckWork(Setup setup, const ExchangeShape& shape, ConstRows send, Rows recv)
        : setup_(std::move(setup)),
          ranks_(setup_.comm->size()),
          rank_(setup_.comm->rank()),
          recv_(as_carried(recv)),
          recv_offsets_(shape.recv_offsets),
          width_(std::max(carried_width(send), carried_width(recv))) {
        const ConstRows all = as_carried(send);
        for (int i = 0; i < ranks_; ++i)
            blocks_.push_back(ExchangeShape::part(all, shape.send_offsets, (rank_ + i) % ranks_));
        if (ranks_ > 1) start_step();
    }

    [[nodiscard]] bool has_stages() const override { return ranks_ > 1; }

    bool advance() override {
        while (distance_ < ranks_) {
            Step& step = steps_.back();
            if (!step.receiving_rows && step.coming_counts->advance()) receive_rows(step);
            if (!step.receiving_rows || !step.coming_rows->advance()) break;
            take_blocks(step);
            distance_ *= 2;
            if (distance_ < ranks_) start_step();
        }
        bool sent = true;
        for (Step& step : steps_) sent = step.leaving_counts->advance() && step.leaving_rows->advance() && sent;
        if (!sent || distance_ < ranks_) return false;
        deliver();
        return true;
    }

    [[nodiscard]] std::string outstanding() const override {
        std::string text;
        const auto add = [&text](const std::optional<RowMessages>& messages) {
            const std::string part = messages ? messages->outstanding() : "";
            if (!part.empty()) text += concat(text.empty() ? "" : ", ", part);
        };
        for (const Step& step : steps_) {
            add(step.coming_counts);
            add(step.coming_rows);
            add(step.leaving_counts);
            add(step.leaving_rows);
        }
        return text;
    }

private:
    // What travels is told first: the width of a row, then the rows of each block.
    struct Step {
        std::vector<int> sent_numbers, received_numbers;
        RowStore sent, received;
        Rows arriving;
        std::optional<RowMessages> coming_counts, leaving_counts, coming_rows, leaving_rows;
        bool receiving_rows = false;
    };

    [[nodiscard]] std::vector<int> moving() const {
        std::vector<int> indices;
        for (int i = distance_; i < ranks_; ++i)
            if (i & distance_) indices.push_back(i);
        return indices;
    }
    [[nodiscard]] RowMessages rows_of(int width) const {
        MessageSetup rows = setup_.rows;
        rows.type = setup_.types->of(width, carried_dtype);
        return RowMessages(std::move(rows));
    }

    void start_step() {
        const int to = (rank_ + distance_) % ranks_, from = (rank_ - distance_ + ranks_) % ranks_;
        Step& step = steps_.emplace_back();
        step.sent_numbers = {width_};
        for (const int i : moving()) step.sent_numbers.push_back(blocks_[i].rows());
        step.received_numbers.resize(step.sent_numbers.size());
        step.coming_counts.emplace(setup_.counts).receive(as_rows(step.received_numbers), from, setup_.tag);
        step.leaving_counts.emplace(setup_.counts).send(as_rows(step.sent_numbers), to, setup_.tag);

        const auto counts = std::span<const int>(step.sent_numbers).subspan(1);
        const Rows packed = step.sent.take(row_offsets(counts, "exchange: bruck").back(), width_);
        int at = 0;
        for (const int i : moving()) {
            copy_rows(blocks_[i], packed.slice(at, blocks_[i].rows()));
            at += blocks_[i].rows();
        }
        step.leaving_rows = rows_of(width_);
        step.leaving_rows->send(packed, to, setup_.tag + 1);
    }

    void receive_rows(Step& step) {
        const int from = (rank_ - distance_ + ranks_) % ranks_;
        const int width = step.received_numbers.front();
        if (width > 0 && width_ > 0 && width != width_)
            throw Error(concat("exchange: rank ", setup_.comm->world_rank(from), " has rows of ",
                               width * size_of(carried_dtype), " bytes, this one of ",
                               width_ * size_of(carried_dtype)));
        width_ = std::max(width_, width);
        const auto counts = std::span<const int>(step.received_numbers).subspan(1);
        step.arriving = step.received.take(row_offsets(counts, "exchange: bruck").back(), width_);
        step.coming_rows = rows_of(width_);
        step.coming_rows->receive(step.arriving, from, setup_.tag + 1);
        step.receiving_rows = true;
    }

    void take_blocks(Step& step) {
        int at = 0;
        std::size_t place = 1;
        for (const int i : moving()) {
            const int rows = step.received_numbers[place++];
            blocks_[i] = step.arriving.slice(at, rows);
            at += rows;
        }
    }

    void deliver() {
        if (delivered_) return;
        for (int i = 0; i < ranks_; ++i) {
            const int from = (rank_ - i + ranks_) % ranks_;
            const Rows place = ExchangeShape::part(recv_, recv_offsets_, from);
            if (blocks_[i].rows() != place.rows())
                throw Error(concat("exchange: ", rows_text(blocks_[i].rows()), " came from rank ",
                                   setup_.comm->world_rank(from), ", the counts say ", place.rows()));
            copy_rows(blocks_[i], place);
        }
        delivered_ = true;
    }

    Setup setup_;
    int ranks_, rank_;
    Rows recv_;
    std::vector<int> recv_offsets_;
    int width_;
    std::vector<ConstRows> blocks_;
    std::deque<Step> steps_;
    int distance_ = 1;  // of the step under way
    bool delivered_ = false;
};

/// Bruck's all-to-all in its two-phase form for blocks of any size: in each of log2 R steps a rank tells how many rows
/// come, then sends them, in one message where they are few.
///
/// T = 2 alpha log2 R + beta * (rows that pass: about half of all, log2 R times). For tiny rows. Memory is that of the
/// rows that really pass, not R times the largest block; an uneven load may bring half of all rows to one rank on their
/// way. (Bruck et al., IEEE TPDS 8(11), 1997; Fan et al., "Optimizing the Bruck algorithm for non-uniform all-to-all
/// communication", HPDC 2022.)
class BruckExchange : public Exchange {
public:
    BruckExchange(const Communicator& comm, const ExchangeOptions& options)
        : Exchange(comm.size()),
          comm_(std::make_shared<const Communicator>(comm.duplicate())),
          options_(options),
          types_(std::make_shared<RowTypeCache>()),
          tags_(*comm_, 2) {}

    Transfer start(ConstRows send, Rows recv, const RowCounts& counts, Occasion occasion) override {
        const ExchangeShape shape = check_exchange(send, recv, counts, *comm_);
        BruckWork::Setup setup{.comm = comm_,
                               .types = types_,
                               .counts = {.type = types_->of(1, DType::int32),
                                          .comm = comm_,
                                          .traffic = traffic_,
                                          .carries = MessageSetup::Carries::counts},
                               .rows = {.type = nullptr,
                                        .comm = comm_,
                                        .traffic = traffic_,
                                        .most_open = options_.open_messages,
                                        .most_bytes = options_.message_bytes,
                                        .most_open_bytes = options_.open_bytes},
                               .tag = tags_.next()};
        auto work = std::make_unique<BruckWork>(std::move(setup), shape, send, recv);
        return {std::move(work), comm_->policy(), occasion, comm_->world_rank(comm_->rank())};
    }

private:
    std::shared_ptr<const Communicator> comm_;
    ExchangeOptions options_;
    std::shared_ptr<RowTypeCache> types_;
    TransferTags tags_;
};

}  // namespace

std::unique_ptr<Exchange> make_bruck_exchange(const Communicator& comm, const ExchangeOptions& options) {
    return std::make_unique<BruckExchange>(comm, options);
}

}  // namespace expar
