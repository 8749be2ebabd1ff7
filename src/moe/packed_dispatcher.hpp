#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <numeric>
#include <string_view>
#include <utility>
#include <vector>

#include "expar/compute/rows.hpp"
#include "expar/moe/dispatcher.hpp"

namespace expar {

inline int total(const std::vector<int>& counts) {
    return std::accumulate(counts.begin(), counts.end(), 0);
}
inline RowCounts reversed(const RowCounts& counts) {
    return {counts.recv, counts.send, counts.busiest};
}

/// Packs rows, has an exchange move them, and unpacks them. How rows get out, and how sums of nodes get home, may be
/// changed.
class PackedDispatcher : public Dispatcher {
public:
    PackedDispatcher(std::string_view exchange, const Communicator& group, Device& device, Delivery delivery);

    DispatchPlan plan(const Routing& routing, const PlanScope& asked) override;
    Moving<LentRows> start_dispatch(const DispatchPlan& plan, ConstRows x) override;
    LentRows lend_outputs(const DispatchPlan& plan, int cols, DType dtype) override;
    Moving<Matrix> start_combine(const DispatchPlan& plan, ConstRows outputs, ConstRows weights) override;
    Moving<CombineGradient> start_combine_backward(const DispatchPlan& plan, ConstRows d_y, ConstRows outputs) override;
    Moving<DispatchGradient> start_dispatch_backward(const DispatchPlan& plan, ConstRows d_rows,
                                                     ConstRows d_weights) override;
    DispatchCounters counters() const override { return counters_; }
    const Traffic& traffic() const override { return exchange_->traffic(); }

protected:
    /// Rows on the wire. Both buffers are shared with the transfer: one that timed out keeps them from the device's
    /// pool.
    struct Shipment {
        std::shared_ptr<Matrix> sent, received;
        Transfer transfer;
    };

    /// The rows of tokens to the members that serve them; what was received is as the plan's expert rows expect it.
    [[nodiscard]] virtual Shipment ship_out(const DispatchPlan& plan, ConstRows x, Occasion occasion);
    /// Sums of a token's choices on a member, [D, cols], to its source. Under node_reduced only sums of nodes need get
    /// there: what sum_of_nodes() then takes.
    [[nodiscard]] virtual Shipment ship_partials(const DispatchPlan& plan, Matrix partials, Occasion occasion);
    /// [T, cols]
    [[nodiscard]] virtual Matrix sum_of_nodes(const DispatchPlan& plan, const Shipment& home);

    /// What MPI sends next had better stay in the caches.
    enum class ReadNext { at_once, later };
    [[nodiscard]] Matrix gathered(Stacked in, const Array<int>& index, ReadNext read = ReadNext::at_once);
    /// weighted_sum of the rows at `index` [rows, k]. No weights: 1.
    [[nodiscard]] Matrix summed(Stacked in, const Array<int>& index, ConstRows weights, int rows);
    /// What an exchange moves.
    struct Cargo {
        ConstRows out;
        Rows in;
        const RowCounts& counts;
    };
    /// `kept`: the matrices in which it lies.
    [[nodiscard]] Transfer send(Exchange& exchange, const Cargo& cargo,
                                std::initializer_list<std::shared_ptr<Matrix>> kept, Occasion occasion);
    void count_copied(ConstRows rows) { counters_.bytes_copied += std::int64_t(rows.bytes()); }

    Communicator group_;
    Topology topology_;
    std::unique_ptr<Exchange> exchange_;
    Device& device_;

private:
    using Shipments = std::vector<Shipment>;
    template <class Result, class Finish>
    struct Rest;
    template <class Result, class Finish>
    Moving<Result> moving(Shipments shipments, Finish finish);

    [[nodiscard]] Shipment ship(Matrix packed, const RowCounts& counts, Occasion occasion);
    /// Sends rows of `owner`, which may be a part of it.
    [[nodiscard]] Shipment ship_part(Matrix owner, ConstRows packed, const RowCounts& counts, Occasion occasion);
    [[nodiscard]] Shipment ship_home(const DispatchPlan& plan, ConstRows outputs, ConstRows weights_at_host,
                                     Occasion occasion);
    [[nodiscard]] Matrix sum_home(const DispatchPlan& plan, ConstRows outputs, const Shipment& home,
                                  ConstRows weights_at_source);
    [[nodiscard]] bool returns_choices(const DispatchPlan& plan) const;
    [[nodiscard]] Matrix summed_by_member(const DispatchPlan& plan, ConstRows outputs, Rows received,
                                          ConstRows weights);
    static Shipments several(Shipment first) {
        Shipments shipments;
        shipments.push_back(std::move(first));
        return shipments;
    }

    Delivery delivery_;
    DispatchCounters counters_;
};

}  // namespace expar
