#include <exception>
#include <utility>

#include "drive_mpi.hpp"
#include "exchange_shape.hpp"
#include "window_channels.hpp"

namespace expar {
namespace {

// The channels live as long as the exchange, which waits for its transfers; afterwards nothing remains here.
class WindowWork : public Transfer::Work {
public:
    WindowWork(WindowChannels* channels, std::shared_ptr<ChannelTransfer> transfer)
        : channels_(channels), transfer_(std::move(transfer)) {}

    [[nodiscard]] bool has_stages() const override { return transfer_->remaining > 0; }
    bool advance() override {
        if (transfer_->remaining == 0) return true;
        channels_->advance();
        if (transfer_->remaining == 0) return true;
        if (++looks_ % looks_between == 0) drive_mpi();  // peers may wait for messages of this rank
        return false;
    }
    [[nodiscard]] std::string outstanding() const override { return channels_->outstanding(*transfer_); }

private:
    static constexpr unsigned looks_between = 32;

    WindowChannels* channels_;
    std::shared_ptr<ChannelTransfer> transfer_;
    unsigned looks_ = 0;
};

/// Rows pass through memory that the ranks of one node share, without MPI: one copy from memory that this exchange has
/// lent, else two, through a ring small enough for a cache.
///
/// T = flags of the peers + gamma * max(bytes in) from lent memory, 2 gamma * max(bytes in, bytes out) else.
class WindowExchange : public Exchange {
public:
    WindowExchange(const Communicator& comm, const ExchangeOptions& options)
        : Exchange(comm.size()),
          comm_(std::make_shared<const Communicator>(comm.duplicate())),
          channels_(std::make_unique<WindowChannels>(comm_, options.lent_bytes)),
          exceptions_(std::uncaught_exceptions()) {}

    // Transfers still open end here, since peers read from this rank's memory. Where something went wrong they never
    // may: the memory is left to the end of the process.
    ~WindowExchange() override {
        if (std::uncaught_exceptions() > exceptions_ || !drained()) (void)channels_.release();
    }

    Transfer start(ConstRows send, Rows recv, const RowCounts& counts, Occasion occasion) override {
        const ExchangeShape shape = check_exchange(send, recv, counts, *comm_);
        const int ranks = comm_->size(), rank = comm_->rank();
        const auto transfer = std::make_shared<ChannelTransfer>();
        for (int step = 1; step < ranks; ++step) {
            const int to = (rank + step) % ranks, from = (rank - step + ranks) % ranks;
            const Rows in = shape.part(recv, shape.recv_offsets, from);
            if (in.bytes() > 0)
                channels_->receive(from, {static_cast<std::byte*>(in.data()), in.bytes(), in.rows(), transfer});
            const ConstRows out = shape.part(send, shape.send_offsets, to);
            if (out.bytes() == 0) continue;
            traffic_->count(to, out.rows(), out.row_bytes());
            auto* bytes = static_cast<std::byte*>(const_cast<void*>(out.data()));  // only read
            channels_->send(to, {bytes, out.bytes(), out.rows(), transfer});
        }
        copy_own_rows(send, recv, shape, rank);
        return {std::make_unique<WindowWork>(channels_.get(), transfer), comm_->policy(), occasion,
                comm_->world_rank(rank)};
    }

    std::shared_ptr<std::byte> lend(std::size_t bytes) override {
        auto lent = channels_->lend(bytes);
        return lent ? lent : Exchange::lend(bytes);
    }

private:
    [[nodiscard]] bool drained() noexcept {
        try {
            const auto done = [this] {
                channels_->advance();
                return channels_->idle();
            };
            if (done()) return true;
            wait_until(done, *comm_->policy(), {"end of exchanges"}, comm_->world_rank(comm_->rank()),
                       [] { return "open transfers"; });
            return true;
        } catch (...) {  // NOLINT: a destructor has nobody to tell
            return false;
        }
    }

    std::shared_ptr<const Communicator> comm_;
    std::unique_ptr<WindowChannels> channels_;
    int exceptions_;
};

}  // namespace

std::unique_ptr<Exchange> make_window_exchange(const Communicator& comm, const ExchangeOptions& options) {
    return std::make_unique<WindowExchange>(comm, options);
}

}  // namespace expar
