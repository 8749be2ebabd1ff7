#include <algorithm>
#include <functional>
#include <numeric>

#include "expar/compute/rows.hpp"
#include "expar/moe/dispatcher.hpp"
#include "expar/observe/stopwatch.hpp"
#include "plan_agreement.hpp"
#include "stores_for.hpp"

namespace expar {
namespace {

int total(const std::vector<int>& counts) {
    return std::accumulate(counts.begin(), counts.end(), 0);
}

RowCounts reversed(const RowCounts& counts) {
    return {counts.recv, counts.send, counts.busiest};
}

int largest(const std::vector<Announcement>& announced, int Announcement::*count) {
    return std::invoke(count, *std::ranges::max_element(announced, {}, count));
}

// Rows on the wire. Both buffers are shared with the transfer: one that timed out keeps them from the device's pool.
struct Shipment {
    std::shared_ptr<Matrix> sent, received;
    Transfer transfer;
};
using Shipments = std::vector<Shipment>;

template <class Result, class Finish>
struct PackedRest : Moving<Result>::Rest {
    PackedRest(Shipments on_the_way, DispatchCounters& counters, Finish finishing)
        : shipments(std::move(on_the_way)), counted(counters), complete(std::move(finishing)) {}
    bool progress() override {
        const Stopwatch watch(counted.seconds);
        bool done = true;
        for (auto& shipment : shipments) done = shipment.transfer.progress() && done;
        return done;
    }
    Result finish() override {
        const Stopwatch watch(counted.seconds);
        for (auto& shipment : shipments) shipment.transfer.finish();
        return complete(shipments);
    }
    Shipments shipments;
    DispatchCounters& counted;
    Finish complete;
};

class PackedDispatcher : public Dispatcher {
public:
    PackedDispatcher(std::string_view exchange, const Communicator& group, Device& device, Delivery delivery)
        : group_(group.duplicate()), exchange_(make_exchange(exchange, group_)), device_(device), delivery_(delivery) {}

    DispatchPlan plan(const Routing& routing, const PlanScope& scope) override {
        const Stopwatch watch(counters_.seconds);
        if (scope.member != group_.rank() || scope.placement->members() != group_.size())
            throw Error(concat("plan of layer ", scope.layer, ": member ", scope.member, " of ",
                               scope.placement->members(), ", expected rank ", group_.rank(), " of ", group_.size()));
        SourcePlan source = plan_source(routing, scope, delivery_);
        auto rows_to_others = source.rows_to;
        rows_to_others[scope.member] = 0;
        const auto plan_hash = hash_of_plan(routing.top_k, routing.weights.dtype(), scope);
        std::vector<Announcement> announced;
        Shipment headers;
        std::vector<int> rows_from;
        {
            const Stopwatch counts_watch(counters_.counts_seconds);
            announced = unsealed(group_.all_to_all(sealed(source, scope, plan_hash), {"dispatch counts", scope.layer}),
                                 scope, plan_hash);
            for (const Announcement& announcement : announced) rows_from.push_back(announcement.rows);
            headers = ship(std::move(source.headers),
                           {rows_to_others, rows_from, largest(announced, &Announcement::all_rows)},
                           {"dispatch headers", scope.layer});
            headers.transfer.finish();
        }
        DispatchPlan plan =
            complete_plan(std::move(source), std::move(rows_from), *headers.received, routing.weights.dtype(), scope);
        expect_announced(announced, plan);
        plan.rows.busiest = largest(announced, &Announcement::all_rows);
        plan.returns.busiest = largest(announced, &Announcement::all_choices);
        return plan;
    }

    Moving<LentRows> start_dispatch(const DispatchPlan& plan, ConstRows x) override {
        const Stopwatch watch(counters_.seconds);
        counters_.rows_delivered += plan.rows_delivered;
        auto shipment = ship(gathered(x, plan.sent_tokens), plan.rows, {"dispatch", plan.layer});
        return moving<LentRows>(several(std::move(shipment)), [this, &plan, x](Shipments& arrived) {
            return LentRows(gathered(Stacked(x, *arrived[0].received), plan.expert_rows, ReadNext::later));
        });
    }

    LentRows lend_outputs(const DispatchPlan& plan, int cols, DType dtype) override {
        return LentRows(Matrix(device_, dtype, plan.expert_offsets.back(), cols));
    }

    Moving<Matrix> start_combine(const DispatchPlan& plan, ConstRows outputs, ConstRows weights) override {
        const Stopwatch watch(counters_.seconds);
        auto shipment = ship_home(plan, outputs, plan.partial_weights, {"combine", plan.layer});
        return moving<Matrix>(several(std::move(shipment)), [this, &plan, outputs, weights](Shipments& arrived) {
            return sum_home(plan, outputs, arrived[0], weights);
        });
    }

    Moving<CombineGradient> start_combine_backward(const DispatchPlan& plan, ConstRows d_y,
                                                   ConstRows outputs) override {
        const Stopwatch watch(counters_.seconds);
        auto shipment = ship(gathered(d_y, plan.sent_tokens), plan.rows, {"combine backward", plan.layer});
        return moving<CombineGradient>(several(std::move(shipment)), [this, &plan, d_y, outputs](Shipments& arrived) {
            const Stacked in(d_y, *arrived[0].received);
            Matrix d_outputs(device_, d_y.dtype(), outputs.rows(), d_y.cols());
            Matrix d_weights(device_, wide(d_y.dtype()), outputs.rows(), 1);
            device_.rows().weighted_sum_backward(in, plan.expert_rows.view(), {outputs, plan.expert_weights}, d_outputs,
                                                 d_weights, device_.stream());
            count_copied(d_outputs);
            count_copied(d_weights);
            return CombineGradient{LentRows(std::move(d_outputs)), std::move(d_weights)};
        });
    }

    Moving<DispatchGradient> start_dispatch_backward(const DispatchPlan& plan, ConstRows d_rows,
                                                     ConstRows d_weights) override {
        const Stopwatch watch(counters_.seconds);
        auto shipments = several(ship_home(plan, d_rows, {}, {"dispatch backward", plan.layer}));
        shipments.push_back(ship(gathered(d_weights, plan.returned), plan.returns, {"weight gradients", plan.layer}));
        return moving<DispatchGradient>(std::move(shipments), [this, &plan, d_rows, d_weights](Shipments& arrived) {
            Matrix by_choice(device_, d_weights.dtype(), plan.tokens, plan.top_k);
            const Rows flat(by_choice.view().data(), plan.tokens * plan.top_k, 1, by_choice.dtype());
            device_.rows().gather(Stacked(d_weights, *arrived[1].received), plan.choice_returns.view(), flat,
                                  device_.stream());
            count_copied(by_choice);
            return DispatchGradient{sum_home(plan, d_rows, arrived[0], {}), std::move(by_choice)};
        });
    }

    DispatchCounters counters() const override { return counters_; }
    const Traffic& traffic() const override { return exchange_->traffic(); }

private:
    // Sends every choice's row home, or, under `reduced`, one sum for each row that was delivered: own sums lie first
    // and stay where they are.
    Shipment ship_home(const DispatchPlan& plan, ConstRows outputs, ConstRows weights_at_host, Occasion occasion) {
        if (returns_choices(plan)) return ship(gathered(outputs, plan.returned), plan.returns, occasion);
        Matrix partials = summed(outputs, plan.partial_choices, weights_at_host, plan.rows_here);
        const Rows to_others = partials.view().slice(plan.own_rows, plan.rows_here - plan.own_rows);
        return ship_part(std::move(partials), to_others, reversed(plan.rows), occasion);
    }

    // [T, cols]: each token's rows added in the plan's order. No weights: 1.
    Matrix sum_home(const DispatchPlan& plan, ConstRows outputs, const Shipment& home, ConstRows weights_at_source) {
        if (plan.order == CombineOrder::exact)
            return summed(Stacked(outputs, *home.received), plan.choice_returns, weights_at_source, plan.tokens);
        if (returns_choices(plan)) return summed_by_member(plan, outputs, *home.received, weights_at_source);
        const ConstRows own = home.sent->view().slice(0, plan.own_rows);
        return summed(Stacked(own, *home.received), plan.partial_returns, {}, plan.tokens);
    }

    // Under `reduced`, too, where no rank has a token's choices in one row.
    [[nodiscard]] bool returns_choices(const DispatchPlan& plan) const {
        return plan.order == CombineOrder::exact || delivery_ == Delivery::once_per_choice;
    }

    // What the hosts would have added before they sent, added here.
    Matrix summed_by_member(const DispatchPlan& plan, ConstRows outputs, Rows received, ConstRows weights) {
        Matrix out(device_, outputs.dtype(), plan.tokens, outputs.cols());
        std::vector<void*> bases(std::size_t(group_.size()), received.data());
        bases[std::size_t(plan.member)] = const_cast<void*>(outputs.data());  // NOLINT: sums only read
        device_.rows().weighted_sum(
            Places{bases, plan.choice_host.view(), plan.choice_row.view(), outputs.cols(), outputs.dtype()}, weights,
            {.order = RowOperations::Order::by_base}, out, device_.stream());
        count_copied(out);
        return out;
    }

    // What MPI sends next had better stay in the caches.
    enum class ReadNext { at_once, later };
    Matrix gathered(Stacked in, const Array<int>& index, ReadNext read = ReadNext::at_once) {
        Matrix out(device_, in.first.dtype(), int(index.size()), in.first.cols());
        const auto stores = read == ReadNext::later ? stores_for(std::int64_t(out.view().bytes())) : Stores::ordinary;
        device_.rows().gather(in, index.view(), out, stores, device_.stream());
        count_copied(out);
        return out;
    }

    Matrix summed(Stacked in, const Array<int>& index, ConstRows weights, int rows) {
        Matrix out(device_, in.first.dtype(), rows, in.first.cols());
        device_.rows().weighted_sum(in, index.view(), weights, out, device_.stream());
        count_copied(out);
        return out;
    }

    Shipment ship(Matrix packed, const RowCounts& counts, Occasion occasion) {
        const ConstRows all = packed.view();
        return ship_part(std::move(packed), all, counts, occasion);
    }

    // Sends rows of `owner`, which may be a part of it.
    Shipment ship_part(Matrix owner, ConstRows packed, const RowCounts& counts, Occasion occasion) {
        device_.synchronize();  // MPI reads what the device wrote
        Shipment shipment;
        shipment.sent = std::make_shared<Matrix>(std::move(owner));
        shipment.received = std::make_shared<Matrix>(device_, packed.dtype(), total(counts.recv), packed.cols());
        count_copied(packed);
        shipment.transfer = exchange_->start(packed, *shipment.received, counts, occasion);
        shipment.transfer.keep(shipment.sent);
        shipment.transfer.keep(shipment.received);
        return shipment;
    }

    void count_copied(ConstRows rows) { counters_.bytes_copied += std::int64_t(rows.bytes()); }

    static Shipments several(Shipment first) {
        Shipments shipments;
        shipments.push_back(std::move(first));
        return shipments;
    }

    template <class Result, class Finish>
    Moving<Result> moving(Shipments shipments, Finish finish) {
        return Moving<Result>(
            std::make_unique<PackedRest<Result, Finish>>(std::move(shipments), counters_, std::move(finish)));
    }

    Communicator group_;
    std::unique_ptr<Exchange> exchange_;
    Device& device_;
    Delivery delivery_;
    DispatchCounters counters_;
};

}  // namespace

std::unique_ptr<Dispatcher> make_packed_dispatcher(std::string_view exchange, const Communicator& group,
                                                   Device& device) {
    return std::make_unique<PackedDispatcher>(exchange, group, device, Delivery::once_per_member);
}

std::unique_ptr<Dispatcher> make_naive_dispatcher(std::string_view exchange, const Communicator& group,
                                                  Device& device) {
    return std::make_unique<PackedDispatcher>(exchange, group, device, Delivery::once_per_choice);
}

}  // namespace expar
