#pragma once

#include <memory>
#include <utility>

#include "expar/moe/dispatcher.hpp"

namespace expar {

/// A dispatcher that damages one float32 of what the experts of a rank get, `here`.
class DamagingDispatcher : public Dispatcher {
public:
    DamagingDispatcher(std::unique_ptr<Dispatcher> inner, bool here) : inner_(std::move(inner)), here_(here) {}

    DispatchPlan plan(const Routing& routing, const PlanScope& scope) override { return inner_->plan(routing, scope); }
    Moving<LentRows> start_dispatch(const DispatchPlan& plan, ConstRows x) override {
        struct Rest : Moving<LentRows>::Rest {
            Rest(Moving<LentRows> all, bool damaged) : moving(std::move(all)), damages(damaged) {}
            bool progress() override { return moving.progress(); }
            LentRows finish() override {
                LentRows rows = moving.finish();
                if (damages) rows.view().row<float>(rows.view().rows() / 2)[7] += 1;
                return rows;
            }
            Moving<LentRows> moving;
            bool damages;
        };
        return Moving<LentRows>(std::make_unique<Rest>(inner_->start_dispatch(plan, x), here_));
    }
    LentRows lend_outputs(const DispatchPlan& plan, int cols, DType dtype) override {
        return inner_->lend_outputs(plan, cols, dtype);
    }
    Moving<Matrix> start_combine(const DispatchPlan& plan, ConstRows outputs, ConstRows weights) override {
        return inner_->start_combine(plan, outputs, weights);
    }
    Moving<CombineGradient> start_combine_backward(const DispatchPlan& plan, ConstRows d_y,
                                                   ConstRows outputs) override {
        return inner_->start_combine_backward(plan, d_y, outputs);
    }
    Moving<DispatchGradient> start_dispatch_backward(const DispatchPlan& plan, ConstRows d_rows,
                                                     ConstRows d_weights) override {
        return inner_->start_dispatch_backward(plan, d_rows, d_weights);
    }
    DispatchCounters counters() const override { return inner_->counters(); }
    const Traffic& traffic() const override { return inner_->traffic(); }

private:
    std::unique_ptr<Dispatcher> inner_;
    bool here_;
};

}  // namespace expar
