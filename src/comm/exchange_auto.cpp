#include <algorithm>
#include <set>
#include <utility>

#include "exchange_shape.hpp"
#include "expar/base/names.hpp"
#include "expar/comm/cost_model.hpp"

namespace expar {
namespace {

// Those kinds alone that take the least for some power of two.
CostModel winners_of(CostModel model, bool lent) {
    constexpr double beyond = 1e15;
    std::set<std::string_view> winners;
    for (double bytes = 1; bytes < beyond; bytes *= 2) winners.insert(model.best(bytes, lent).kind);
    std::erase_if(model.costs, [&](const ExchangeCost& cost) { return !winners.contains(cost.exchange()); });
    return model;
}

/// Hands every exchange to the kind that takes the least by the cost model.
///
/// All ranks must choose alike: they do so by counts.busiest, and where that is not known by the largest of all ranks,
/// for which start() waits. Kinds that are not the fastest for any size are not made.
class AutoExchange : public Exchange {
public:
    AutoExchange(const Communicator& comm, const ExchangeOptions& options)
        : Exchange(comm.size()), comm_(comm.duplicate()), lent_(options.lent_bytes > 0) {
        ExchangeOptions own = options;
        if (own.topology.node_of.empty()) own.topology = discover_topology(comm_);
        if (own.costs_file.empty()) own.costs_file = user_costs_file();
        costs_ = winners_of(known_costs(comm_, own), lent_);
        for (const ExchangeKind& kind : exchange_kinds) {
            if (!costs_.knows(kind.name)) continue;
            made_.push_back({kind.name, kind.make(comm_, own)});
            made_.back().exchange->count_in(traffic_);
        }
    }

    Transfer start(ConstRows send, Rows recv, const RowCounts& counts, Occasion occasion) override {
        const ExchangeShape shape = check_exchange(send, recv, counts, comm_);
        last_ = costs_.best(busiest_bytes(shape, counts, occasion), lent_);
        return made(last_->kind).start(send, recv, counts, occasion);
    }

    std::shared_ptr<std::byte> lend(std::size_t bytes) override {
        for (const Made& made : made_)
            if (lent_ && entry_named(exchange_kinds, "exchange", made.kind).shares_memory)
                return made.exchange->lend(bytes);
        return Exchange::lend(bytes);
    }

    [[nodiscard]] std::optional<ExchangeChoice> last_choice() const override { return last_; }

private:
    struct Made {
        std::string_view kind;
        std::unique_ptr<Exchange> exchange;
    };

    [[nodiscard]] double busiest_bytes(const ExchangeShape& shape, const RowCounts& counts, Occasion occasion) const {
        const double row_bytes = double(shape.cols) * double(size_of(shape.dtype));
        if (counts.busiest >= 0) return counts.busiest * row_bytes;
        double bytes = row_bytes * std::max(shape.send_offsets.back() - counts.send[std::size_t(comm_.rank())],
                                            shape.recv_offsets.back() - counts.recv[std::size_t(comm_.rank())]);
        comm_.max(std::span(&bytes, 1), occasion);
        return bytes;
    }

    Exchange& made(std::string_view kind) const { return *std::ranges::find(made_, kind, &Made::kind)->exchange; }

    Communicator comm_;
    bool lent_;
    CostModel costs_;
    std::vector<Made> made_;
    std::optional<ExchangeChoice> last_;
};

}  // namespace

std::unique_ptr<Exchange> make_auto_exchange(const Communicator& comm, const ExchangeOptions& options) {
    return std::make_unique<AutoExchange>(comm, options);
}

}  // namespace expar
