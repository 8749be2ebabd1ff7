#include <algorithm>
#include <functional>
#include <utility>

#include "expar/observe/stopwatch.hpp"
#include "forwarding.hpp"
#include "node_sums.hpp"
#include "packed_dispatcher.hpp"
#include "plan_agreement.hpp"
#include "stores_for.hpp"

namespace expar {

namespace {

std::vector<int> to_other_nodes(std::vector<int> rows, const PlanScope& scope) {
    for (int m = 0; m < int(rows.size()); ++m)
        if (scope.node_of(m) == scope.node_of(scope.member)) rows[std::size_t(m)] = 0;
    return rows;
}

int largest(const std::vector<Announcement>& announced, int Announcement::*count) {
    return std::invoke(count, *std::ranges::max_element(announced, {}, count));
}

// What all members know: how many rows are the most that one of them sends. About as many are forwarded.
void set_busiest(DispatchPlan& plan, const std::vector<Announcement>& announced) {
    Forwarding& forwarding = plan.forwarding;
    for (RowCounts* counts :
         {&plan.rows, &forwarding.first, &forwarding.second, &forwarding.partials, &forwarding.sums})
        counts->busiest = largest(announced, &Announcement::all_rows);
    plan.returns.busiest = largest(announced, &Announcement::all_choices);
}

}  // namespace

template <class Result, class Finish>
struct PackedDispatcher::Rest : Moving<Result>::Rest {
    Rest(Shipments on_the_way, DispatchCounters& counters, Finish finishing)
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

template <class Result, class Finish>
Moving<Result> PackedDispatcher::moving(Shipments shipments, Finish finish) {
    return Moving<Result>(std::make_unique<Rest<Result, Finish>>(std::move(shipments), counters_, std::move(finish)));
}

PackedDispatcher::PackedDispatcher(std::string_view exchange, const Communicator& group, Device& device,
                                   Delivery delivery)
    : group_(group.duplicate()),
      topology_(topology_for(exchange, group_)),
      exchange_(make_exchange(exchange, group_)),
      device_(device),
      delivery_(delivery == Delivery::once_per_node && topology_.nodes() == 1 ? Delivery::once_per_member : delivery) {}

DispatchPlan PackedDispatcher::plan(const Routing& routing, const PlanScope& asked) {
    const Stopwatch watch(counters_.seconds);
    PlanScope scope = asked;
    scope.topology = &topology_;
    if (scope.member != group_.rank() || scope.placement->members() != group_.size())
        throw Error(concat("plan of layer ", scope.layer, ": member ", scope.member, " of ", scope.placement->members(),
                           ", expected rank ", group_.rank(), " of ", group_.size()));
    SourcePlan source = plan_source(routing, scope, delivery_);
    auto rows_to_others = source.rows_to;
    rows_to_others[scope.member] = 0;
    const auto plan_hash = hash_of_plan(routing.top_k, routing.weights.dtype(), scope);
    std::vector<Announcement> announced;
    Shipment headers, served;
    std::vector<int> rows_from, carried_from;
    {
        const Stopwatch counts_watch(counters_.counts_seconds);
        announced = unsealed(group_.all_to_all(sealed(source, scope, plan_hash), {"dispatch counts", scope.layer}),
                             scope, plan_hash);
        for (const Announcement& announcement : announced) {
            rows_from.push_back(announcement.rows);
            carried_from.push_back(announcement.carried);
        }
        const int most_rows = largest(announced, &Announcement::all_rows);
        headers =
            ship(std::move(source.headers), {rows_to_others, rows_from, most_rows}, {"dispatch headers", scope.layer});
        if (delivery_ == Delivery::once_per_node)
            served =
                ship(std::move(source.carried.served),
                     {to_other_nodes(source.carried.rows_to, scope), to_other_nodes(carried_from, scope), most_rows},
                     {"dispatch headers", scope.layer});
        headers.transfer.finish();
        served.transfer.finish();
    }
    CarriedRows carried = std::move(source.carried);
    DispatchPlan plan =
        complete_plan(std::move(source), std::move(rows_from), *headers.received, routing.weights.dtype(), scope);
    expect_announced(announced, plan);
    if (delivery_ == Delivery::once_per_node)
        add_forwarding(plan, std::move(carried), {std::move(carried_from), *served.received}, scope);
    set_busiest(plan, announced);
    return plan;
}

Moving<LentRows> PackedDispatcher::start_dispatch(const DispatchPlan& plan, ConstRows x) {
    const Stopwatch watch(counters_.seconds);
    counters_.rows_delivered += plan.rows_delivered;
    auto shipment = ship_out(plan, x, {"dispatch", plan.layer});
    return moving<LentRows>(several(std::move(shipment)), [this, &plan, x](Shipments& arrived) {
        return LentRows(gathered(Stacked(x, *arrived[0].received), plan.expert_rows, ReadNext::later));
    });
}

LentRows PackedDispatcher::lend_outputs(const DispatchPlan& plan, int cols, DType dtype) {
    return LentRows(Matrix(device_, dtype, plan.expert_offsets.back(), cols));
}

Moving<Matrix> PackedDispatcher::start_combine(const DispatchPlan& plan, ConstRows outputs, ConstRows weights) {
    const Stopwatch watch(counters_.seconds);
    auto shipment = ship_home(plan, outputs, plan.partial_weights, {"combine", plan.layer});
    return moving<Matrix>(several(std::move(shipment)), [this, &plan, outputs, weights](Shipments& arrived) {
        return sum_home(plan, outputs, arrived[0], weights);
    });
}

Moving<CombineGradient> PackedDispatcher::start_combine_backward(const DispatchPlan& plan, ConstRows d_y,
                                                                 ConstRows outputs) {
    const Stopwatch watch(counters_.seconds);
    auto shipment = ship_out(plan, d_y, {"combine backward", plan.layer});
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

Moving<DispatchGradient> PackedDispatcher::start_dispatch_backward(const DispatchPlan& plan, ConstRows d_rows,
                                                                   ConstRows d_weights) {
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

PackedDispatcher::Shipment PackedDispatcher::ship_out(const DispatchPlan& plan, ConstRows x, Occasion occasion) {
    return ship(gathered(x, plan.sent_tokens), plan.rows, occasion);
}

// Sends every choice's row home, or one sum for each row that was delivered.
PackedDispatcher::Shipment PackedDispatcher::ship_home(const DispatchPlan& plan, ConstRows outputs,
                                                       ConstRows weights_at_host, Occasion occasion) {
    if (returns_choices(plan)) return ship(gathered(outputs, plan.returned), plan.returns, occasion);
    return ship_partials(plan, summed(outputs, plan.partial_choices, weights_at_host, plan.rows_here), occasion);
}

// Own sums lie first and stay where they are.
PackedDispatcher::Shipment PackedDispatcher::ship_partials(const DispatchPlan& plan, Matrix partials,
                                                           Occasion occasion) {
    const ConstRows to_others = partials.view().slice(plan.own_rows, plan.rows_here - plan.own_rows);
    return ship_part(std::move(partials), to_others, reversed(plan.rows), occasion);
}

// [T, cols]: each token's rows added in the plan's order. No weights: 1.
Matrix PackedDispatcher::sum_home(const DispatchPlan& plan, ConstRows outputs, const Shipment& home,
                                  ConstRows weights_at_source) {
    if (plan.order == CombineOrder::exact)
        return summed(Stacked(outputs, *home.received), plan.choice_returns, weights_at_source, plan.tokens);
    if (returns_choices(plan)) return summed_by_member(plan, outputs, *home.received, weights_at_source);
    if (plan.order == CombineOrder::node_reduced) return sum_of_nodes(plan, home);
    const ConstRows own = home.sent->view().slice(0, plan.own_rows);
    return summed(Stacked(own, *home.received), plan.partial_returns, {}, plan.tokens);
}

Matrix PackedDispatcher::sum_of_nodes(const DispatchPlan& plan, const Shipment& home) {
    const ConstRows own = home.sent->view().slice(0, plan.own_rows);
    const Matrix sums = summed(Stacked(own, *home.received), plan.node_sums.partials, {}, plan.node_sums.own);
    return summed(sums.view(), plan.node_sums.returns, {}, plan.tokens);
}

// Under other orders, too, where no rank has a token's choices in one row.
bool PackedDispatcher::returns_choices(const DispatchPlan& plan) const {
    return plan.order == CombineOrder::exact || delivery_ == Delivery::once_per_choice;
}

// What the hosts would have added before they sent, added here.
Matrix PackedDispatcher::summed_by_member(const DispatchPlan& plan, ConstRows outputs, Rows received,
                                          ConstRows weights) {
    std::vector<void*> bases(std::size_t(group_.size()), received.data());
    bases[std::size_t(plan.member)] = const_cast<void*>(outputs.data());  // NOLINT: sums only read
    const Places places{bases, plan.choice_host.view(), plan.choice_row.view(), outputs.cols(), outputs.dtype()};
    Matrix out(device_, outputs.dtype(), plan.tokens, outputs.cols());
    if (plan.order == CombineOrder::node_reduced)
        counters_.bytes_copied += sum_by_node(device_, plan, places, weights, out);
    else
        device_.rows().weighted_sum(places, weights, {.order = RowOperations::Order::by_base}, out, device_.stream());
    count_copied(out);
    return out;
}

Matrix PackedDispatcher::gathered(Stacked in, const Array<int>& index, ReadNext read) {
    Matrix out(device_, in.first.dtype(), int(index.size()), in.first.cols());
    const auto stores = read == ReadNext::later ? stores_for(std::int64_t(out.view().bytes())) : Stores::ordinary;
    device_.rows().gather(in, index.view(), out, stores, device_.stream());
    count_copied(out);
    return out;
}

Matrix PackedDispatcher::summed(Stacked in, const Array<int>& index, ConstRows weights, int rows) {
    Matrix out(device_, in.first.dtype(), rows, in.first.cols());
    device_.rows().weighted_sum(in, index.view(), weights, out, device_.stream());
    count_copied(out);
    return out;
}

PackedDispatcher::Shipment PackedDispatcher::ship(Matrix packed, const RowCounts& counts, Occasion occasion) {
    const ConstRows all = packed.view();
    return ship_part(std::move(packed), all, counts, occasion);
}

PackedDispatcher::Shipment PackedDispatcher::ship_part(Matrix owner, ConstRows packed, const RowCounts& counts,
                                                       Occasion occasion) {
    Shipment shipment;
    shipment.sent = std::make_shared<Matrix>(std::move(owner));
    shipment.received = std::make_shared<Matrix>(device_, packed.dtype(), total(counts.recv), packed.cols());
    shipment.transfer =
        send(*exchange_, {packed, *shipment.received, counts}, {shipment.sent, shipment.received}, occasion);
    return shipment;
}

Transfer PackedDispatcher::send(Exchange& exchange, const Cargo& cargo,
                                std::initializer_list<std::shared_ptr<Matrix>> kept, Occasion occasion) {
    device_.synchronize();  // MPI reads what the device wrote
    count_copied(cargo.out);
    Transfer transfer = exchange.start(cargo.out, cargo.in, cargo.counts, occasion);
    for (const auto& matrix : kept) transfer.keep(matrix);
    return transfer;
}

std::unique_ptr<Dispatcher> make_packed_dispatcher(std::string_view exchange, const Communicator& group,
                                                   Device& device) {
    return std::make_unique<PackedDispatcher>(exchange, group, device, Delivery::once_per_member);
}

std::unique_ptr<Dispatcher> make_naive_dispatcher(std::string_view exchange, const Communicator& group,
                                                  Device& device) {
    return std::make_unique<PackedDispatcher>(exchange, group, device, Delivery::once_per_choice);
}

}  // namespace expar
