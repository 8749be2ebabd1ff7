#include "pressure_run.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "pressure_values.hpp"

namespace expar {
namespace {

/// A pass of a case through a dispatcher, on this rank.
struct Pass {
    Matrix x, d_y;
    LentRows rows, outputs, d_rows;
    Matrix y;
    CombineGradient gradient;
    DispatchGradient home;
};

/// A movement that has begun.
struct Open {
    PressureStep step;
    std::function<bool()> progress;
    std::function<void()> finish;
};

/// Which of its open movements a rank goes on with is its own affair, unless there must be no several.
enum class Order { one_by_one, random };

class Run {
public:
    Run(const PressureCase& made, const PressureNumber& number, Dispatcher& dispatcher, Device& device, int rank)
        : case_(made),
          dispatcher_(dispatcher),
          device_(device),
          rank_(rank),
          dice_(number.seed ^ 0x5EED, std::uint32_t(number.index), std::uint32_t(rank)),
          plans_(made.plans.size()),
          routings_(made.plans.size()),
          passes_(made.passes.size()) {}

    /// Calls judge(step, result) for every movement that is over, at the latest at the end.
    using Judge = std::function<void(PressureStep, const PressureResult&)>;
    void run(const PressureValues& values, Order order, const Judge& judge) {
        values_ = &values;
        judge_ = &judge;
        for (std::size_t i = 0; i < passes_.size(); ++i) {
            Pass& pass = passes_[i];
            pass.x = Matrix(device_, case_.dtype, tokens_of(int(i)), case_.hidden);
            pass.d_y = Matrix(device_, case_.dtype, tokens_of(int(i)), case_.hidden);
            values.fill(int(i), pass.x, pass.d_y);
        }
        for (const PressureStep step : case_.steps) {
            start(step);
            if (order == Order::one_by_one)
                finish(0);
            else
                go_on();
        }
        while (!open_.empty()) finish(dice_.below(int(open_.size())));
        for (const PressureStep step : kept_) judge(step, result_of(step));
    }

private:
    [[nodiscard]] const PressurePass& told(int pass) const { return case_.passes[std::size_t(pass)]; }
    [[nodiscard]] int tokens_of(int pass) const {
        return case_.plans[std::size_t(told(pass).plan)].all[std::size_t(rank_)].tokens;
    }

    // Plans are made when a pass first needs them, while others may be on their way.
    const DispatchPlan& plan_of(int pass) {
        const auto index = std::size_t(told(pass).plan);
        if (plans_[index]) return *plans_[index];
        const PressurePlan& plan = case_.plans[index];
        routings_[index] = to_routing(plan.all[std::size_t(rank_)], device_, wide(case_.dtype));
        std::ranges::copy(plan.kept[std::size_t(rank_)], routings_[index].kept.host().begin());
        std::int64_t first_token = 0;
        for (int rank = 0; rank < rank_; ++rank) first_token += plan.all[std::size_t(rank)].tokens;
        const PlanScope scope{.placement = &case_.placement,
                              .layer = case_.layer,
                              .member = rank_,
                              .order = case_.order,
                              .first_token = first_token,
                              .row_bytes = plan.row_bytes};
        plans_[index] = dispatcher_.plan(routings_[index], scope);
        return *plans_[index];
    }

    template <class Result>
    void open(PressureStep step, Moving<Result> moving, Result& to) {
        auto shared = std::make_shared<Moving<Result>>(std::move(moving));
        open_.push_back({step, [shared] { return shared->progress(); }, [shared, &to] { to = shared->finish(); }});
    }

    void start(PressureStep step) {
        Pass& pass = passes_[std::size_t(step.pass)];
        const DispatchPlan& plan = plan_of(step.pass);
        const Routing& routing = routings_[std::size_t(told(step.pass).plan)];
        switch (step.movement) {
            case PressureMovement::dispatch:
                return open(step, dispatcher_.start_dispatch(plan, pass.x), pass.rows);
            case PressureMovement::combine:
                need({step.pass, PressureMovement::dispatch});
                serve(step.pass);
                return open(step, dispatcher_.start_combine(plan, pass.outputs, routing.weights), pass.y);
            case PressureMovement::combine_backward:
                return open(step, dispatcher_.start_combine_backward(plan, pass.d_y, pass.outputs), pass.gradient);
            case PressureMovement::dispatch_backward:
                need({step.pass, PressureMovement::combine_backward});
                pass.d_rows = answers(step.pass);
                values_->apply_experts_backward(step.pass, pass.gradient.d_outputs, pass.d_rows);
                if (!told(step.pass).keeps_rows) pass.gradient.d_outputs = LentRows();
                return open(step, dispatcher_.start_dispatch_backward(plan, pass.d_rows, pass.gradient.d_weights),
                            pass.home);
        }
    }

    [[nodiscard]] LentRows answers(int pass) {
        const DispatchPlan& plan = plan_of(pass);
        if (told(pass).lends_outputs) return dispatcher_.lend_outputs(plan, case_.hidden, case_.dtype);
        return LentRows(Matrix(device_, case_.dtype, plan.expert_offsets.back(), case_.hidden));
    }
    void serve(int index) {
        Pass& pass = passes_[std::size_t(index)];
        pass.outputs = answers(index);
        values_->apply_experts(index, pass.rows, pass.outputs);
        if (!told(index).keeps_rows) pass.rows = LentRows();
    }

    void need(PressureStep step) {
        for (std::size_t i = 0; i < open_.size(); ++i)
            if (open_[i].step.pass == step.pass && open_[i].step.movement == step.movement) return finish(int(i));
    }

    // Leaves the others behind, or is left behind.
    void go_on() {
        if (dice_.once_in(30)) std::this_thread::sleep_for(std::chrono::microseconds(dice_.below(300)));
        while (!open_.empty() && dice_.once_in(2)) {
            const int at = dice_.below(int(open_.size()));
            if (dice_.once_in(2))
                (void)open_[std::size_t(at)].progress();
            else
                finish(at);
        }
    }

    void finish(int at) {
        const Open over = std::exchange(open_[std::size_t(at)], {});
        open_.erase(open_.begin() + at);
        over.finish();
        device_.synchronize();
        if (told(over.step.pass).keeps_rows)
            kept_.push_back(over.step);
        else
            (*judge_)(over.step, result_of(over.step));
    }

    [[nodiscard]] PressureResult result_of(PressureStep step) const {
        const Pass& pass = passes_[std::size_t(step.pass)];
        switch (step.movement) {
            case PressureMovement::dispatch:
                return {pass.rows};
            case PressureMovement::combine:
                return {pass.y};
            case PressureMovement::combine_backward:
                return {pass.gradient.d_outputs};
            case PressureMovement::dispatch_backward:
                return {pass.home.d_x, pass.home.d_weights};
        }
        throw Error("pressure: a movement that does not exist");
    }

    const PressureCase& case_;
    Dispatcher& dispatcher_;
    Device& device_;
    int rank_;
    Dice dice_;  // this rank's own
    const PressureValues* values_ = nullptr;
    const Judge* judge_ = nullptr;
    std::vector<std::optional<DispatchPlan>> plans_;
    std::vector<Routing> routings_;
    std::vector<Pass> passes_;
    std::vector<Open> open_;
    std::vector<PressureStep> kept_;  // over, and to be judged at the end
};

}  // namespace

std::string run_pressure_case(const PressureCase& made, const PressureNumber& number, PressureTools& tools,
                              const Falsify& falsify) {
    const int rank = tools.world().rank();
    Device& device = tools.device(made.device);
    std::unique_ptr<PressureValues> values = std::make_unique<OracleValues>(made, rank);
    if (made.random_values) {
        auto random = std::make_unique<RandomValues>(made, number, rank);
        Run reference(made, number, tools.dispatcher("packed", "native" + made.nodes, made.device), device, rank);
        reference.run(*random, Order::one_by_one,
                      [&](PressureStep step, const PressureResult& result) { random->expect(step, result); });
        values = std::move(random);
    }
    std::string wrong;
    Run run(made, number, tools.dispatcher(made.dispatcher, made.exchange, made.device), device, rank);
    run.run(*values, Order::random, [&](PressureStep step, const PressureResult& result) {
        const ConstRows rows = result.rows;
        if (falsify && rows.rows() > 0)
            (void)falsify({const_cast<void*>(rows.data()), rows.rows(), rows.cols(), rows.dtype()});
        const int count = values->wrong_rows(step, result);
        if (count > 0)
            wrong +=
                concat(wrong.empty() ? "" : ", ", count, " rows of ", name_of(step.movement), ", pass ", step.pass);
    });
    return wrong;
}

}  // namespace expar
