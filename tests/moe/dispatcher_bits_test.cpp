#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "expar/moe/dispatcher.hpp"
#include "support/devices.hpp"
#include "support/random_routing.hpp"
#include "support/random_rows.hpp"

namespace expar {
namespace {

struct Shape {
    int tokens, experts, top_k, hidden;  // tokens of all ranks
    DType dtype;
    bool copies = false;  ///< experts are hosted twice
};

struct Outcome {
    Matrix rows, y, d_outputs, d_x, d_weights;
};

// Every expert on two members where there are several, in an order that differs by member.
Placement with_copies(int experts, int members) {
    std::vector<std::vector<int>> slots(static_cast<std::size_t>(members));
    for (int e = 0; e < experts; ++e) {
        slots[std::size_t(e % members)].insert(slots[std::size_t(e % members)].begin(), e);
        if (members > 1) slots[std::size_t((e + 1) % members)].push_back(e);
    }
    return {experts, {slots}};
}

class DispatcherBitsTest : public testing::TestWithParam<std::string> {
protected:
    Communicator world{MPI_COMM_WORLD};
    std::unique_ptr<Device> device = make_device_named(GetParam());

    [[nodiscard]] Matrix copy_of(ConstRows rows) {
        Matrix copy(*device, rows.dtype(), rows.rows(), rows.cols());
        device->copy(rows.data(), copy.view().data(), rows.bytes(), device->stream());
        return copy;
    }

    // Some choices without an expert, some without a place, and experts that half of the tokens choose.
    [[nodiscard]] Routing routing_of(const Shape& shape, int tokens, int first) {
        Routing routing = random_routing(*device, wide(shape.dtype), tokens, shape.top_k, shape.experts, first);
        for (std::size_t i = 0; i < routing.experts.size(); ++i) {
            if (i % 11 == 3) routing.experts.host()[i] = -1;
            if (i % 7 == 5) routing.kept.host()[i] = 0;
        }
        return routing;
    }

    [[nodiscard]] Placement placement_of(const Shape& shape) const {
        return shape.copies ? with_copies(shape.experts, world.size())
                            : shuffled_placement(1, shape.experts, world.size(), 5);
    }

    struct Run {
        int first, count;
    };
    [[nodiscard]] Run own_tokens(const Shape& shape) const {
        const std::vector<int> first = unequal_runs(shape.tokens, world.size());
        return {first[world.rank()], first[world.rank() + 1] - first[world.rank()]};
    }

    [[nodiscard]] Matrix tokens_of(const Shape& shape, std::uint64_t seed) {
        const Run own = own_tokens(shape);
        Matrix rows(*device, shape.dtype, own.count, shape.hidden);
        const RandomField field(seed, Purpose::test);
        for_each_element(rows, [&]<class Element>(Element& element, int r, int c) {
            element = rounded<Element>(float(field.normal(std::uint64_t(own.first + r) << 32 | std::uint64_t(c))));
        });
        return rows;
    }

    // What combine must give, without any list: a token's choices in the groups of the order.
    [[nodiscard]] Matrix expected_sum(const Shape& shape, CombineOrder order, int ranks_per_node) {
        const Run own = own_tokens(shape);
        const Placement placement = placement_of(shape);
        const Routing routing = routing_of(shape, own.count, own.first);
        const Matrix x = tokens_of(shape, 1);
        Matrix y(*device, shape.dtype, own.count, shape.hidden);
        for_each_element(y, [&]<class Element>(Element& element, int t, int c) {
            using Real = Wide<Element>;
            const auto sum_of = [&](int host) {  // of its choices, or of all: -1
                Real sum = 0;
                for (int j = 0; j < shape.top_k; ++j) {
                    const int expert = routing.experts_of(t)[std::size_t(j)];
                    if (expert < 0 || !routing.is_kept(t, j)) continue;
                    if (host >= 0 && placement.host_for(0, expert, own.first + t) != host) continue;
                    const auto output = rounded<Element>(double(x.view().row<Element>(t)[c]) * (1 + expert) / 8);
                    sum = std::fma(routing.weights.view().row<Real>(t)[j], Real(output), sum);
                }
                return sum;
            };
            const int together = order == CombineOrder::node_reduced ? ranks_per_node : world.size();
            Real all = 0;
            for (int first = 0; first < world.size(); first += together) {
                Real group = 0;
                for (int host = first; host < std::min(first + together, world.size()); ++host)
                    group += Real(rounded<Element>(sum_of(host)));
                all += Real(rounded<Element>(group));
            }
            element = rounded<Element>(order == CombineOrder::exact ? sum_of(-1) : all);
        });
        return y;
    }

    // Forward and backward; the "experts" multiply rows by a number of their own, exactly.
    [[nodiscard]] Outcome run(const std::string& kind, const std::string& exchange, const Shape& shape,
                              CombineOrder order) {
        const auto [own_first, own] = own_tokens(shape);
        const Placement placement = placement_of(shape);
        const PlanScope scope{&placement, 0, world.rank(), order, own_first};
        const Routing routing = routing_of(shape, own, own_first);
        const Matrix x = tokens_of(shape, 1), d_y = tokens_of(shape, 2);

        const auto dispatcher = make_dispatcher(kind, exchange, world, *device);
        const DispatchPlan plan = dispatcher->plan(routing, scope);
        const LentRows rows = dispatcher->start_dispatch(plan, x).finish();
        const LentRows outputs = dispatcher->lend_outputs(plan, shape.hidden, shape.dtype);
        apply(placement, plan, rows, outputs);
        Matrix y = dispatcher->start_combine(plan, outputs, routing.weights).finish();
        const CombineGradient combine = dispatcher->start_combine_backward(plan, d_y, outputs).finish();
        const LentRows d_rows = dispatcher->lend_outputs(plan, shape.hidden, shape.dtype);
        apply(placement, plan, combine.d_outputs, d_rows);
        DispatchGradient gradient = dispatcher->start_dispatch_backward(plan, d_rows, combine.d_weights).finish();
        return {copy_of(rows), std::move(y), copy_of(combine.d_outputs), std::move(gradient.d_x),
                std::move(gradient.d_weights)};
    }

    [[nodiscard]] DType other_dtype() const { return GetParam() == "reference" ? DType::float64 : DType::bfloat16; }

    static void expect_same(const Outcome& outcome, const Outcome& expected, const std::string& what) {
        EXPECT_TRUE(same_bits(outcome.rows, expected.rows)) << what;
        EXPECT_TRUE(same_bits(outcome.y, expected.y)) << what;
        EXPECT_TRUE(same_bits(outcome.d_outputs, expected.d_outputs)) << what;
        EXPECT_TRUE(same_bits(outcome.d_x, expected.d_x)) << what;
        EXPECT_TRUE(same_bits(outcome.d_weights, expected.d_weights)) << what;
    }

    void apply(const Placement& placement, const DispatchPlan& plan, ConstRows in, Rows out) const {
        const auto here = placement.experts_on(0, world.rank());
        for (std::size_t slot = 0; slot < here.size(); ++slot)
            for (int r = plan.expert_offsets[slot]; r < plan.expert_offsets[slot + 1]; ++r)
                with_element(in.dtype(), [&]<class Element>(Element) {
                    for (int c = 0; c < in.cols(); ++c)
                        out.row<Element>(r)[c] = rounded<Element>(double(in.row<Element>(r)[c]) * (1 + here[slot]) / 8);
                });
    }
};

// Packed is the reference. More bytes than pass through the caches in the largest shape.
TEST_P(DispatcherBitsTest, EveryKindGivesTheSameBits) {
    std::vector<Shape> shapes = {{61, 7, 3, 5, DType::float32, false},  {40, 8, 1, 33, DType::float32, true},
                                 {90, 13, 4, 64, DType::float32, true}, {0, 8, 2, 16, DType::float32, false},
                                 {1, 8, 2, 16, DType::float32, false},  {600, 16, 8, 640, DType::float32, false}};
    for (std::size_t i = shapes.size(); i-- > 0;) {
        shapes.push_back(shapes[i]);
        shapes.back().dtype = other_dtype();
    }
    for (const Shape& shape : shapes) {
        if (GetParam() == "reference" && shape.tokens > 100) continue;  // slow, and all of it is in the others
        for (const auto& order : combine_orders) {
            const Outcome expected = run("packed", "native", shape, order.value);
            for (const std::string& kind : dispatcher_names())
                expect_same(run(kind, "native", shape, order.value), expected,
                            concat(kind, ", ", shape.tokens, " tokens, ", name_of(shape.dtype), ", ", order.name));
        }
    }
}

// Nodes change the bits of node_reduced alone, and for all kinds alike. Ranks of this node play them.
TEST_P(DispatcherBitsTest, EveryKindGivesTheSameBitsOnSeveralNodes) {
    const std::vector<Shape> shapes = {{61, 7, 3, 5, DType::float32, false},
                                       {90, 13, 6, 64, other_dtype(), true},
                                       {1, 8, 2, 16, DType::float32, false}};
    for (const Shape& shape : shapes)
        for (const auto& order : combine_orders)
            for (const int per_node : {1, 2, 3}) {
                const std::string nodes = concat(":ranks-per-node=", per_node);
                const bool by_node = order.value == CombineOrder::node_reduced;
                const Outcome expected =
                    run("packed", by_node ? concat("spread", nodes) : "native", shape, order.value);
                for (const std::string& kind : dispatcher_names())
                    expect_same(run(kind, concat("native", nodes), shape, order.value), expected,
                                concat(kind, ", ", shape.tokens, " tokens, ", name_of(shape.dtype), ", ", order.name,
                                       ", ", per_node, " ranks a node"));
            }
}

// From routing and placement alone.
TEST_P(DispatcherBitsTest, PackedSumsAsTheOrderSays) {
    for (const DType dtype : {DType::float32, other_dtype()})
        for (const auto& order : combine_orders)
            for (const int per_node : {1, 2, 3}) {
                const Shape shape{70, 9, 5, 19, dtype, true};
                const Outcome outcome = run("packed", concat("native:ranks-per-node=", per_node), shape, order.value);
                EXPECT_TRUE(same_bits(outcome.y, expected_sum(shape, order.value, per_node)))
                    << name_of(dtype) << ", " << order.name << ", " << per_node << " ranks a node";
            }
}

INSTANTIATE_TEST_SUITE_P(Devices, DispatcherBitsTest, testing::ValuesIn(device_names()));

}  // namespace
}  // namespace expar
