#include <memory>
#include <utility>

#include "expar/comm/staged_transfers.hpp"
#include "packed_dispatcher.hpp"

namespace expar {
namespace {

/// As packed, but a row crosses to a node once, to a member there that forwards it to those that serve its choices;
/// under node_reduced that member also adds up what they made of it, so that one row crosses back.
///
/// Rows of one node's members go straight, as do, home, those of the orders that leave all sums to the source. Where
/// all members are on one node, this is packed.
class HierarchicalDispatcher : public PackedDispatcher {
public:
    HierarchicalDispatcher(std::string_view exchange, const Communicator& group, Device& device)
        : PackedDispatcher(exchange, group, device, Delivery::once_per_node),
          second_(make_exchange(exchange, group_)),
          staged_(group_) {}

    const Traffic& traffic() const override {
        both_ = exchange_->traffic();
        return both_ += second_->traffic();
    }

protected:
    Shipment ship_out(const DispatchPlan& plan, ConstRows x, Occasion occasion) override {
        const Forwarding& forwarding = plan.forwarding;
        if (forwarding.empty()) return PackedDispatcher::ship_out(plan, x, occasion);
        const int first = total(forwarding.first.recv), second = total(forwarding.second.recv);
        auto sent = std::make_shared<Matrix>(gathered(x, plan.sent_tokens));
        auto received = std::make_shared<Matrix>(device_, x.dtype(), first + second, x.cols());
        const Rows brought = received->view().slice(0, first), passed_on = received->view().slice(first, second);
        Transfer stage = send(*exchange_, {*sent, brought, forwarding.first}, {sent, received}, occasion);
        const auto forward = [this, &forwarding, occasion, brought, passed_on, received] {
            auto forwarded = std::make_shared<Matrix>(gathered(ConstRows(brought), forwarding.forwarded));
            return send(*second_, {*forwarded, passed_on, forwarding.second}, {forwarded, received}, occasion);
        };
        return {sent, received, staged_.join(std::move(stage), forward, occasion)};
    }

    // What is shipped, in the end, are sums of nodes: own ones lie first.
    Shipment ship_partials(const DispatchPlan& plan, Matrix partials, Occasion occasion) override {
        const Forwarding& forwarding = plan.forwarding;
        if (forwarding.empty() || plan.order != CombineOrder::node_reduced)
            return PackedDispatcher::ship_partials(plan, std::move(partials), occasion);
        const auto matrix = [&](int rows) {
            return std::make_shared<Matrix>(device_, partials.dtype(), rows, partials.cols());
        };
        auto brought = matrix(total(forwarding.partials.recv)), received = matrix(total(forwarding.sums.recv));
        auto made = std::make_shared<Matrix>(std::move(partials)), sums = std::make_shared<Matrix>();
        const int kept = forwarding.kept_partials;
        const ConstRows to_others = made->view().slice(kept, made->rows() - kept);
        Transfer stage = send(*exchange_, {to_others, *brought, forwarding.partials}, {made, brought}, occasion);
        const auto send_sums = [this, &plan, occasion, made, brought, received, sums, kept] {
            const NodeSums& nodes = plan.node_sums;
            const Stacked terms(made->view().slice(0, kept), *brought);
            *sums = summed(terms, nodes.partials, {}, int(nodes.partials.size()) / plan.top_k);
            const ConstRows to_sources = sums->view().slice(nodes.own, sums->rows() - nodes.own);
            return send(*second_, {to_sources, *received, plan.forwarding.sums}, {sums, received}, occasion);
        };
        return {sums, received, staged_.join(std::move(stage), send_sums, occasion)};
    }

    Matrix sum_of_nodes(const DispatchPlan& plan, const Shipment& home) override {
        if (plan.forwarding.empty()) return PackedDispatcher::sum_of_nodes(plan, home);
        const ConstRows own = home.sent->view().slice(0, plan.node_sums.own);
        return summed(Stacked(own, *home.received), plan.node_sums.returns, {}, plan.tokens);
    }

private:
    std::unique_ptr<Exchange> second_;
    StagedTransfers staged_;
    mutable Traffic both_;
};

}  // namespace

std::unique_ptr<Dispatcher> make_hierarchical_dispatcher(std::string_view exchange, const Communicator& group,
                                                         Device& device) {
    return std::make_unique<HierarchicalDispatcher>(exchange, group, device);
}

}  // namespace expar
