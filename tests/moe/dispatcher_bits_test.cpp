#include <gtest/gtest.h>

#include <algorithm>
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

    // Forward and backward; the "experts" multiply rows by a number of their own, exactly.
    [[nodiscard]] Outcome run(const std::string& kind, const Shape& shape, CombineOrder order) {
        const std::vector<int> first = unequal_runs(shape.tokens, world.size());
        const int own_first = first[world.rank()], own = first[world.rank() + 1] - own_first;
        const Placement placement = shape.copies ? with_copies(shape.experts, world.size())
                                                 : shuffled_placement(1, shape.experts, world.size(), 5);
        const PlanScope scope{&placement, 0, world.rank(), order, own_first};
        const Routing routing = routing_of(shape, own, own_first);
        const auto tokens = [&](std::uint64_t seed) {
            Matrix rows(*device, shape.dtype, own, shape.hidden);
            const RandomField field(seed, Purpose::test);
            for_each_element(rows, [&]<class Element>(Element& element, int r, int c) {
                element = rounded<Element>(float(field.normal(std::uint64_t(own_first + r) << 32 | std::uint64_t(c))));
            });
            return rows;
        };
        const Matrix x = tokens(1), d_y = tokens(2);

        const auto dispatcher = make_dispatcher(kind, "native", world, *device);
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
    const DType other = GetParam() == "reference" ? DType::float64 : DType::bfloat16;
    for (std::size_t i = shapes.size(); i-- > 0;) {
        shapes.push_back(shapes[i]);
        shapes.back().dtype = other;
    }
    for (const Shape& shape : shapes) {
        if (GetParam() == "reference" && shape.tokens > 100) continue;  // slow, and all of it is in the others
        for (const CombineOrder order : {CombineOrder::exact, CombineOrder::reduced}) {
            const Outcome expected = run("packed", shape, order);
            for (const std::string& kind : dispatcher_names()) {
                const Outcome outcome = run(kind, shape, order);
                const std::string what = concat(kind, ", ", shape.tokens, " tokens, ", name_of(shape.dtype), ", ",
                                                order == CombineOrder::exact ? "exact" : "reduced");
                EXPECT_TRUE(same_bits(outcome.rows, expected.rows)) << what;
                EXPECT_TRUE(same_bits(outcome.y, expected.y)) << what;
                EXPECT_TRUE(same_bits(outcome.d_outputs, expected.d_outputs)) << what;
                EXPECT_TRUE(same_bits(outcome.d_x, expected.d_x)) << what;
                EXPECT_TRUE(same_bits(outcome.d_weights, expected.d_weights)) << what;
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Devices, DispatcherBitsTest, testing::ValuesIn(device_names()));

}  // namespace
}  // namespace expar
