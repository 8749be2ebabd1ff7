#include "expar/bench/exchange_bench.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "cell_row.hpp"
#include "exchange_contender.hpp"
#include "expar/bench/measure_together.hpp"
#include "expar/comm/bare_alltoallv.hpp"
#include "expar/comm/cost_model.hpp"
#include "expar/train/train_options.hpp"
#include "link_bytes.hpp"

namespace expar {
namespace {

// What one rank handed to MPI, or to its peers, in one exchange.
struct Sent {
    std::int64_t intra = 0, inter = 0, link_sent = 0, link_received = 0;  // the last two by the kernel, of the node
};

// An exchange, or where there is none MPI_Alltoallv, and what was found out about it.
struct Kind {
    std::string asked, made;
    std::unique_ptr<Exchange> exchange;
    std::unique_ptr<ExchangeContender> contender;
    Sent sent{};
    std::int64_t wrong = 0;
};

class Bench {
public:
    Bench(const DispatchCell& cell, const Workload& workload, const ExchangeBenchOptions& options,
          const Communicator& world)
        : cell_(cell),
          workload_(workload.name()),
          options_(options),
          world_(world),
          all_(workload.routings(options.step)),
          placement_(linear_placement(1, cell.experts, world.size())),
          rows_{row_numbers(routed(), world.rank()).distinct, cell.hidden, row_dtype(cell.dtype)},
          bare_(world, rows_.counts, rows_.cols, rows_.dtype) {}

    std::vector<BenchRow> run() {
        const double turn_bytes = double(rows_.row_bytes()) * (rows_.sent() + rows_.received());
        const double contenders = double(options_.exchanges.size()) + 2;  // MPI_Alltoallv and the probe
        slots_ = slots_of(cell_.warm, turn_bytes * contenders, options_.topology, world_);
        costs_ = known_costs(world_, {.costs_file = user_costs_file(), .topology = options_.topology});
        for (const std::string& exchange : options_.exchanges) add(exchange);
        add_bare();
        RowCopyProbe probe(world_, options_.topology, rows_, slots_);
        for (Kind& kind : kinds_) check(kind);
        const auto times = measure(probe);
        for (Kind& kind : kinds_) check(kind);
        return rows_of(times);
    }

private:
    [[nodiscard]] RoutedLayer routed() const { return {all_, &placement_, 0}; }

    // A window is asked for what its buffers take, with room for each to begin at a line of a cache.
    [[nodiscard]] std::string made_as(const std::string& asked) const {
        if (asked != "window" && asked != "auto") return asked;
        constexpr std::size_t line = 64;
        double bytes = double((std::size_t(rows_.sent()) * rows_.row_bytes() + line) * std::size_t(slots_));
        world_.max(std::span(&bytes, 1), {"benchmark"});
        return concat(asked, ":lent=", std::size_t(bytes) + line);
    }

    void add(const std::string& asked) {
        Kind& kind = kinds_.emplace_back();
        kind.asked = asked;
        kind.made = made_as(asked);
        kind.exchange = options_.make_exchange(kind.made, world_);
        kind.contender = std::make_unique<ExchangeContender>(world_, rows_);
        Exchange& exchange = *kind.exchange;
        kind.contender->prepare(
            slots_, [&exchange](std::size_t bytes) { return exchange.lend(bytes); },
            [&exchange, this](ConstRows send, Rows recv) {
                exchange.start(send, recv, rows_.counts, {"benchmark"}).finish();
            });
    }

    void add_bare() {
        Kind& kind = kinds_.emplace_back();
        kind.asked = kind.made = "MPI_Alltoallv";
        kind.contender = std::make_unique<ExchangeContender>(world_, rows_);
        lender_ = make_exchange("native", world_);  // lends ordinary memory
        kind.contender->prepare(
            slots_, [this](std::size_t bytes) { return lender_->lend(bytes); },
            [this](ConstRows send, Rows recv) { bare_.run(send, recv); });
    }

    // MPI_Alltoallv is handed the rows themselves.
    [[nodiscard]] Sent sent_by(const Kind& kind) const {
        Sent sent;
        for (int peer = 0; peer < world_.size(); ++peer) {
            const bool near = options_.topology.node_of[peer] == options_.topology.node_of[world_.rank()];
            const std::int64_t bytes = kind.exchange
                                           ? kind.exchange->traffic().bytes_to[peer]
                                           : std::int64_t(rows_.counts.send[peer]) * std::int64_t(rows_.row_bytes());
            (near ? sent.intra : sent.inter) += bytes;
        }
        const LinkBytes link = link_bytes(options_.link.interface);
        sent.link_sent = link.sent;
        sent.link_received = link.received;
        return sent;
    }

    void check(Kind& kind) {
        world_.barrier({"benchmark"});
        const Sent before = sent_by(kind);
        kind.wrong = std::max(kind.wrong, kind.contender->wrong_rows());
        world_.barrier({"benchmark"});  // what others have sent is counted
        const Sent after = sent_by(kind);
        kind.sent.link_sent = after.link_sent - before.link_sent;
        kind.sent.link_received = after.link_received - before.link_received;
        kind.sent.intra = kind.exchange ? after.intra - before.intra : after.intra;
        kind.sent.inter = kind.exchange ? after.inter - before.inter : after.inter;
    }

    // The probe with either kind of stores, then the kinds.
    [[nodiscard]] std::vector<std::vector<double>> measure(RowCopyProbe& probe) const {
        std::vector<Turn> turns;
        for (const Stores stores : {Stores::ordinary, Stores::past_caches})
            turns.push_back({1, [&probe, stores, slots = slots_, slot = 0](std::span<double> seconds) mutable {
                                 seconds[0] = probe.iterate(slot++ % slots, stores);
                             }});
        for (const Kind& kind : kinds_)
            turns.push_back(
                {1, [contender = kind.contender.get(), slots = slots_, slot = 0](std::span<double> seconds) mutable {
                     seconds[0] = contender->iterate(slot++ % slots);
                 }});
        return measure_together(turns, {.patience = options_.patience, .warm_up = slots_ + 2, .seed = options_.seed},
                                world_);
    }

    [[nodiscard]] static std::optional<ExchangeChoice> choice_of(const Kind& kind) {
        return kind.exchange ? kind.exchange->last_choice() : std::nullopt;
    }

    // By the costs that `auto` goes by, of exchanges without options of their own.
    [[nodiscard]] std::optional<double> predicted(const Kind& kind) const {
        if (const auto choice = choice_of(kind)) return choice->predicted_seconds;
        const double bytes = double(rows_.counts.busiest) * double(rows_.row_bytes());
        return costs_.seconds(kind.asked == "window" ? "window lent" : kind.asked, bytes);
    }

    void add_bound(BenchRow& row, std::span<const std::vector<double>> probes) const {
        if (row.moved->total.y1 == 0) return;  // nothing travels
        for (const std::vector<double>& seconds : probes) {
            const double median = spread_of(seconds).median;
            if (row.bound_seconds && *row.bound_seconds <= median) continue;
            row.bound_seconds = median;
            row.bound_low_seconds = median_within(seconds).from;
        }
        if (options_.link.bytes_per_second <= 0) return;
        const double link = double(row.moved->busiest.x1) * double(rows_.row_bytes()) / options_.link.bytes_per_second;
        row.bound_seconds = std::max(*row.bound_seconds, link);
        row.bound_low_seconds = std::max(*row.bound_low_seconds, link);
    }

    [[nodiscard]] std::vector<BenchRow> rows_of(std::span<const std::vector<double>> times) const {
        BenchRow common = row_of_cell({cell_, workload_, options_.seed, routed(), options_.topology});
        common.phase = "dispatch";
        common.cached_plan = true;
        common.rows_delivered = common.moved->total.y1;
        common.logical_bytes = common.moved->busiest.y1 * std::int64_t(rows_.row_bytes());
        common.alltoallv_seconds = spread_of(times.back()).median;
        add_bound(common, times.first(2));
        std::vector<BenchRow> rows;
        for (std::size_t i = 0; i < kinds_.size(); ++i) {
            const Kind& kind = kinds_[i];
            BenchRow& row = rows.emplace_back(common);
            row.exchange = kind.asked;
            row.chosen = kind.made;
            row.predicted_seconds = predicted(kind);
            if (const auto choice = choice_of(kind)) row.chosen = choice->kind;
            row.time = summary_of(times[i + 2]);
            row.wrong_rows = kind.wrong;
            std::int64_t all = kind.sent.intra + kind.sent.inter;
            std::array<double, 3> largest{double(kind.sent.intra), double(kind.sent.inter),
                                          double(std::max(kind.sent.link_sent, kind.sent.link_received))};
            world_.sum(std::span(&all, 1), {"benchmark"});
            world_.max(largest, {"benchmark"});
            row.bytes_copied = all;
            row.wire_bytes_intra = std::int64_t(largest[0]);
            row.wire_bytes_inter = std::int64_t(largest[1]);
            if (!options_.link.interface.empty()) row.kernel_link_bytes = std::int64_t(largest[2]);
        }
        return rows;
    }

    const DispatchCell& cell_;
    std::string workload_;
    const ExchangeBenchOptions& options_;
    const Communicator& world_;
    std::vector<RankRouting> all_;
    Placement placement_;
    ExchangedRows rows_;
    BareAlltoallv bare_;
    CostModel costs_;
    int slots_ = 1;
    std::unique_ptr<Exchange> lender_;
    std::vector<Kind> kinds_;  // contenders end before the exchanges that lend them memory
};

}  // namespace

std::vector<BenchRow> bench_exchange(const DispatchCell& cell, const Workload& workload,
                                     const ExchangeBenchOptions& options, const Communicator& world) {
    return Bench(cell, workload, options, world).run();
}

}  // namespace expar
