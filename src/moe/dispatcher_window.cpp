#include <cstdint>
#include <utility>

#include "counted_plan.hpp"
#include "expar/compute/rows.hpp"
#include "expar/moe/dispatcher.hpp"
#include "expar/observe/stopwatch.hpp"
#include "node_sums.hpp"
#include "plan_agreement.hpp"
#include "stores_for.hpp"
#include "window_movements.hpp"

namespace expar {
namespace {

struct PoolLease : LentRows::Lease {
    explicit PoolLease(WindowPool::Hold owned) : hold(std::move(owned)) {}
    WindowPool::Hold hold;
};

// What a member's work leaves for its finish.
struct Outcome {
    Matrix rows;  // [T, H]
    Matrix d_weights;
};

template <class Result, class Finish>
class WindowRest : public Moving<Result>::Rest {
public:
    WindowRest(WindowMovements& movements, std::shared_ptr<Movement> movement, double& seconds, Finish finishing)
        : movements_(movements), movement_(std::move(movement)), seconds_(seconds), complete_(std::move(finishing)) {}
    ~WindowRest() override { movements_.abandon(*movement_); }
    bool progress() override {
        const Stopwatch watch(seconds_);
        return movements_.progress(*movement_);
    }
    Result finish() override {
        const Stopwatch watch(seconds_);
        movements_.finish(*movement_);
        return complete_(*movement_);
    }

private:
    WindowMovements& movements_;
    std::shared_ptr<Movement> movement_;
    double& seconds_;
    Finish complete_;
};

class WindowDispatcher : public Dispatcher {
public:
    WindowDispatcher(std::string_view exchange, const Communicator& group, Device& device)
        : exchange_(exchange),
          group_(group.duplicate()),
          topology_(topology_for(exchange, group_)),
          device_(device),
          movements_(group_),
          traffic_(group.size()) {}

    DispatchPlan plan(const Routing& routing, const PlanScope& asked) override {
        PlanScope scope = asked;
        scope.topology = &topology_;
        if (packed_) return packed_->plan(routing, scope);
        {
            const Stopwatch watch(counters_.seconds);
            DispatchPlan plan = counted_plan(routing, scope);
            if (has_room_for(plan, scope)) return plan;
        }
        return packed_->plan(routing, scope);
    }

    Moving<LentRows> start_dispatch(const DispatchPlan& plan, ConstRows x) override {
        if (is_packed(plan)) return packed_->start_dispatch(plan, x);
        const Stopwatch watch(counters_.seconds);
        counters_.rows_delivered += plan.rows_delivered;
        auto movement = movement_of(MovementTerms::Kind::dispatch, plan, x);
        movement->stored_bytes = served_bytes(plan, x);
        movement->work = [this, &plan, x](const MovementBases& bases) {
            const std::int64_t bytes = choice_bytes(plan, x);
            device_.rows().store(x, places(bases.stored, plan, x), stores_for(bytes), device_.stream());
            count_stored(bytes);
        };
        return moving<LentRows>(std::move(movement), [this, &plan, x](Movement& over) {
            return lend(over.stored.again(), plan, x.cols(), x.dtype());
        });
    }

    LentRows lend_outputs(const DispatchPlan& plan, int cols, DType dtype) override {
        if (is_packed(plan)) return packed_->lend_outputs(plan, cols, dtype);
        const Rows shape(nullptr, plan.expert_offsets.back(), cols, dtype);
        if (shape.bytes() > 0)
            if (WindowPool::Hold hold = movements_.pool().reserve(shape.bytes()))
                return lend(std::move(hold), plan, cols, dtype);
        return LentRows(Matrix(device_, dtype, shape.rows(), cols));
    }

    Moving<Matrix> start_combine(const DispatchPlan& plan, ConstRows outputs, ConstRows weights) override {
        if (is_packed(plan)) return packed_->start_combine(plan, outputs, weights);
        const Stopwatch watch(counters_.seconds);
        auto outcome = std::make_shared<Outcome>();
        auto movement = movement_of(MovementTerms::Kind::combine, plan, outputs);
        movement->given = outputs;
        movement->work = [this, &plan, weights, outputs, outcome](const MovementBases& bases) {
            outcome->rows = summed(plan, places(bases.read, plan, outputs), weights);
        };
        return moving<Matrix>(std::move(movement), [outcome](Movement&) { return std::move(outcome->rows); });
    }

    Moving<CombineGradient> start_combine_backward(const DispatchPlan& plan, ConstRows d_y,
                                                   ConstRows outputs) override {
        if (is_packed(plan)) return packed_->start_combine_backward(plan, d_y, outputs);
        const Stopwatch watch(counters_.seconds);
        auto outcome = std::make_shared<Outcome>();
        auto movement = movement_of(MovementTerms::Kind::combine_backward, plan, d_y);
        movement->given = outputs;
        movement->stored_bytes = served_bytes(plan, d_y);
        movement->work = [this, &plan, d_y, outcome](const MovementBases& bases) {
            const std::int64_t bytes = choice_bytes(plan, d_y);
            outcome->d_weights = Matrix(device_, wide(d_y.dtype()), plan.tokens, plan.top_k);
            device_.rows().weighted_sum_backward(d_y,
                                                 {bases.stored, places(bases.read, plan, d_y), plan.choice_weights},
                                                 stores_for(bytes), outcome->d_weights, device_.stream());
            count_stored(bytes + std::int64_t(outcome->d_weights.view().bytes()));
        };
        return moving<CombineGradient>(std::move(movement), [this, &plan, d_y, outcome](Movement& over) {
            return CombineGradient{lend(over.stored.again(), plan, d_y.cols(), d_y.dtype()),
                                   std::move(outcome->d_weights)};
        });
    }

    Moving<DispatchGradient> start_dispatch_backward(const DispatchPlan& plan, ConstRows d_rows,
                                                     ConstRows d_weights) override {
        if (is_packed(plan)) return packed_->start_dispatch_backward(plan, d_rows, d_weights);
        const Stopwatch watch(counters_.seconds);
        auto outcome = std::make_shared<Outcome>();
        auto movement = movement_of(MovementTerms::Kind::dispatch_backward, plan, d_rows);
        movement->given = d_rows;
        movement->work = [this, &plan, d_rows, outcome](const MovementBases& bases) {
            outcome->rows = summed(plan, places(bases.read, plan, d_rows), {});
        };
        return moving<DispatchGradient>(std::move(movement), [this, d_weights, outcome](Movement&) {
            Matrix home(device_, d_weights.dtype(), d_weights.rows(), d_weights.cols());
            device_.copy(d_weights.data(), home.view().data(), d_weights.bytes(), device_.stream());
            return DispatchGradient{std::move(outcome->rows), std::move(home)};
        });
    }

    DispatchCounters counters() const override {
        DispatchCounters sum = counters_;
        sum.bytes_copied += movements_.bytes_copied();
        if (!packed_) return sum;
        const DispatchCounters more = packed_->counters();
        return {sum.rows_delivered + more.rows_delivered, sum.bytes_copied + more.bytes_copied,
                sum.seconds + more.seconds, sum.counts_seconds + more.counts_seconds};
    }
    const Traffic& traffic() const override { return packed_ ? packed_->traffic() : traffic_; }
    std::string note() const override { return note_; }

private:
    static bool is_packed(const DispatchPlan& plan) { return plan.rows_at.empty(); }

    DispatchPlan counted_plan(const Routing& routing, const PlanScope& scope) {
        if (scope.member != group_.rank() || scope.placement->members() != group_.size())
            throw Error(concat("plan of layer ", scope.layer, ": member ", scope.member, " of ",
                               scope.placement->members(), ", expected rank ", group_.rank(), " of ", group_.size()));
        const ChoiceCounts mine = count_choices(routing, scope);
        WindowControl& control = movements_.control();
        if (!control.holds(mine.slots())) movements_.drain();
        control.expect_slots(mine.slots());
        const std::uint32_t number = ++plans_;
        const PlanTerms terms{scope.layer,
                              routing.top_k,
                              int(scope.order),
                              mine.slots(),
                              hash_of_plan(routing.top_k, routing.weights.dtype(), scope),
                              scope.row_bytes};
        {
            const Stopwatch counts_watch(counters_.counts_seconds);
            control.publish(number, terms, movements_.pool().room(), mine.choices);
            wait_for_counts(number, scope.layer);
        }
        std::vector<const int*> choices_of;
        for (int m = 0; m < group_.size(); ++m) {
            const PlanRecord record = control.record(m, number);
            if (!(record.terms == terms))
                throw Error(concat("plan of layer ", scope.layer, ": member ", m, " plans ", record.terms.describe(),
                                   "; expected ", terms.describe(), ", as member ", group_.rank()));
            choices_of.push_back(record.choices);
        }
        DispatchPlan plan = plan_from_counts(mine, choices_of, routing, scope);
        if (plan.order == CombineOrder::node_reduced) list_sums_of_places(plan, scope, routing.weights.device());
        plan.number = number;
        return plan;
    }

    void wait_for_counts(std::uint32_t number, int layer) {
        const auto missing = [&](int m) { return !movements_.control().has_published(m, number); };
        const auto done = [&] {
            for (int m = 0; m < group_.size(); ++m)
                if (missing(m)) return false;
            return true;
        };
        movements_.wait(done, *group_.policy(), {"dispatch counts", layer}, [&] {
            std::string ranks;
            for (int m = 0; m < group_.size(); ++m)
                if (missing(m)) ranks += concat(ranks.empty() ? "rank " : ", rank ", group_.world_rank(m));
            return concat(ranks, " to count choices");
        });
    }

    // Whether there is memory for what a plan moves forward and backward, or will be once the pool has grown. Every
    // member knows the rows and the room of all, so that all decide alike; where it cannot grow, `packed` takes over.
    bool has_room_for(const DispatchPlan& plan, const PlanScope& scope) {
        constexpr std::size_t regions = 4;  // rows, outputs, and the gradients of both
        std::size_t lacking = 0;
        bool all_have = true;
        for (int m = 0; m < group_.size(); ++m) {
            const std::size_t needed = regions * (std::size_t(plan.rows_at[std::size_t(m)]) * scope.row_bytes + 64);
            if (scope.row_bytes == 0 || movements_.control().record(m, plan.number).room >= needed) continue;
            all_have = false;
            if (m == group_.rank()) lacking = needed + needed / 4;
        }
        if (all_have) return true;
        movements_.drain();
        try {
            movements_.pool().grow(lacking);
            return true;
        } catch (const UserError& error) {
            note_ = concat("dispatcher window: ", error.what(), "; packed takes over");
            packed_ = make_packed_dispatcher(exchange_, group_, device_);
            return false;
        }
    }

    static std::shared_ptr<Movement> movement_of(MovementTerms::Kind kind, const DispatchPlan& plan, ConstRows rows) {
        auto movement = std::make_shared<Movement>();
        movement->terms = {kind, plan.layer, plan.number, rows.cols(), rows.dtype()};
        return movement;
    }

    template <class Result, class Finish>
    Moving<Result> moving(std::shared_ptr<Movement> movement, Finish finish) {
        device_.synchronize();  // the others read what the device wrote
        movements_.start(movement);
        return Moving<Result>(std::make_unique<WindowRest<Result, Finish>>(movements_, std::move(movement),
                                                                           counters_.seconds, std::move(finish)));
    }

    LentRows lend(WindowPool::Hold hold, const DispatchPlan& plan, int cols, DType dtype) {
        void* data = hold ? movements_.pool().data(hold) : nullptr;
        const Rows rows(data, plan.expert_offsets.back(), cols, dtype);
        return {rows, std::make_unique<PoolLease>(std::move(hold))};
    }

    static Places places(const std::vector<void*>& bases, const DispatchPlan& plan, ConstRows rows) {
        return {bases, plan.choice_host.view(), plan.choice_row.view(), rows.cols(), rows.dtype()};
    }

    Matrix summed(const DispatchPlan& plan, const Places& places, ConstRows weights) {
        Matrix out(device_, places.dtype, plan.tokens, places.cols);
        if (plan.order == CombineOrder::node_reduced) {
            const std::int64_t besides = sum_by_node(device_, plan, places, weights, out);
            count_stored(besides + std::int64_t(out.view().bytes()));
            return out;
        }
        const auto order =
            plan.order == CombineOrder::exact ? RowOperations::Order::by_choice : RowOperations::Order::by_base;
        const auto bytes = std::int64_t(out.view().bytes());
        device_.rows().weighted_sum(places, weights, {order, stores_for(bytes)}, out, device_.stream());
        count_stored(bytes);
        return out;
    }

    // What this member's choices store, and what is stored here.
    std::int64_t choice_bytes(const DispatchPlan& plan, ConstRows rows) const {
        return std::int64_t(plan.choices) * std::int64_t(rows.row_bytes());
    }
    static std::size_t served_bytes(const DispatchPlan& plan, ConstRows rows) {
        return std::size_t(plan.expert_offsets.back()) * rows.row_bytes();
    }
    void count_stored(std::int64_t bytes) {
        device_.synchronize();  // the others are told next
        counters_.bytes_copied += bytes;
    }

    std::string exchange_;
    Communicator group_;
    Topology topology_;
    Device& device_;
    DispatchCounters counters_;
    WindowMovements movements_;
    Traffic traffic_;
    std::unique_ptr<Dispatcher> packed_;  // once there was too little memory
    std::string note_;
    std::uint32_t plans_ = 0;
};

}  // namespace

std::unique_ptr<Dispatcher> make_window_dispatcher(std::string_view exchange, const Communicator& group,
                                                   Device& device) {
    if (device.memory() != MemoryKind::host)
        throw UserError("dispatcher window: needs a device that computes in the host's memory");
    return std::make_unique<WindowDispatcher>(exchange, group, device);
}

}  // namespace expar
