#include "expar/train/trainer.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "expar/compute/pausing.hpp"
#include "expar/train/objective.hpp"
#include "expar/train/schedule.hpp"
#include "finite.hpp"

namespace expar {
namespace {

Layout layout_of(const TrainOptions& options, int ranks) {
    options.validate(ranks);
    return {ranks, options.ep == 0 ? ranks : options.ep};
}

Placement placement_of(const ModelOptions& model, const TrainOptions& options, int ranks) {
    const int members = layout_of(options, ranks).ep();
    return options.placement == "shuffled" ? shuffled_placement(model.layers, model.experts, members, options.seed)
                                           : linear_placement(model.layers, model.experts, members);
}

void take(const ObjectiveValue& value, StepReport& report) {
    report.loss = value.loss;
    report.balance_loss = value.balance_loss;
    report.z_loss = value.z_loss;
    report.objective = value.objective;
    report.load_max_over_mean = value.load_max_over_mean;
    report.dropped = value.dropped;
    report.choices = value.choices;
    report.routers = value.routers;
    double entropies = 0;
    std::int64_t tokens = 0;
    for (const auto& layer : value.routers) {
        entropies += layer.entropy;
        tokens += layer.tokens;
    }
    report.router_entropy = tokens > 0 ? entropies / double(tokens) : 0;
}

// Of the worst layer. `most_rows` are those of its busiest rank.
double max_over_mean(std::span<const double> most_rows, const std::vector<RouterStatistics>& layers, int ranks) {
    double worst = 1;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const auto& choices = layers[i].choices;
        const auto rows = std::accumulate(choices.begin(), choices.end(), -layers[i].dropped);
        if (rows > 0) worst = std::max(worst, most_rows[i] * ranks / double(rows));
    }
    return worst;
}

}  // namespace

struct Trainer::Parts {
    ModelOptions model;
    TrainOptions options;
    Device& device;
    const Communicator& world;
    Layout layout;
    Placement placement;
    PhaseClock clock;
    Communicator group;  // of expert parallelism; the dispatcher's alone
    std::unique_ptr<Dispatcher> dispatcher;
    Parameters parameters;
    Transformer transformer;
    Optimizer optimizer;
    GradientReducer reducer;
    int steps_done = 0;
    bool reducing = false;                // inside the reducer, whose sums have pauses, too
    std::vector<double> rows_of_experts;  // [layers with experts] that this rank's experts were given in a step

    Parts(const ModelOptions& model, const TrainOptions& options, Placement placement, Device& device,
          const Communicator& world);

    [[nodiscard]] int member() const { return layout.member_of(world.rank()); }
    [[nodiscard]] MoeRuntime runtime() {
        return {&device,       dispatcher.get(), &world, &placement, member(), &clock, [this] { reduce_meanwhile(); },
                options.chunks};
    }
    void reduce_meanwhile(ParameterBlock* ready = nullptr);
    [[nodiscard]] TokenScope scope_of(const MicroBatch& share) const {
        return {options.seed, std::uint32_t(steps_done + 1), share.first_token};
    }
    void count_rows(const TransformerState& state);
    void take_largest(double seconds, double communication_share, StepReport& report);
    void accumulate(std::span<const MicroBatch> shares, Objective& objective, StepObserver* observer);
    void update(StepReport& report, StepObserver* observer);
};

Trainer::Parts::Parts(const ModelOptions& shape, const TrainOptions& how, Placement where, Device& on,
                      const Communicator& ranks)
    : model(shape.resolved()),
      options(how),
      device(on),
      world(ranks),
      layout(layout_of(how, ranks.size())),
      placement(std::move(where)),
      group(world.split(layout.group_of(world.rank()))),
      dispatcher(make_dispatcher(options.dispatcher, options.exchange, group, device)),
      parameters(device, DType::float32, model, placement, member()),
      transformer(model, combine_order(options.combine), runtime(), parameters, row_dtype(options.dtype)),
      optimizer(device, options, parameters.blocks()),
      reducer(device, parameters.blocks(), placement, layout, world) {
    parameters.initialize(options.seed);
    reducer.overlap(options.overlap_gradients);
}

void Trainer::Parts::reduce_meanwhile(ParameterBlock* ready) {
    if (reducing) return;
    reducing = true;
    const Span span(ready ? &clock : nullptr, Phase::reduce);
    if (ready)
        reducer.ready(*ready);
    else
        reducer.progress();
    reducing = false;
}

// Forward and backward of every micro-batch; gradients travel during the last backward. One state is alive at a time.
void Trainer::Parts::accumulate(std::span<const MicroBatch> shares, Objective& objective, StepObserver* observer) {
    parameters.clear_gradients();
    rows_of_experts.clear();
    const int count = int(shares.size());
    for (int m = 0; m < count; ++m) {
        TransformerState state =
            transformer.forward(shares[m], scope_of(shares[m]), true, options.recompute ? Keep::inputs : Keep::all);
        if (observer) observer->after_forward(m, shares[m], state);
        count_rows(state);
        const ObjectiveScales scales = [&] {
            const Span span(&clock, Phase::objective);
            return objective.add(state);
        }();
        if (!objective.finite())
            throw UserError(
                concat("step ", steps_done + 1, ": the loss is not finite; ", locate_in_forward(device, state, world)));
        const bool last = m + 1 == count;
        const InPauses reduce(device, [&] { reduce_meanwhile(); });
        const Matrix d_embedded = transformer.backward(shares[m], state, scales, [&](ParameterBlock& block) {
            if (last) reduce_meanwhile(&block);
        });
        if (observer) observer->after_backward(m, d_embedded);
    }
    const Span span(&clock, Phase::reduce);
    reducer.finish();
}

void Trainer::Parts::count_rows(const TransformerState& state) {
    std::size_t next = 0;
    for (const auto& layer : state.layers) {
        if (!layer.moe) continue;
        if (next == rows_of_experts.size()) rows_of_experts.push_back(0);
        rows_of_experts[next++] += layer.moe->rows_served;
    }
}

// The last collective of a step: what is reported of the rank that has most of it.
void Trainer::Parts::take_largest(double seconds, double communication_share, StepReport& report) {
    std::vector<double> largest{seconds, communication_share};
    const PhaseSeconds phases = clock.take();
    largest.insert(largest.end(), phases.begin(), phases.end());
    largest.insert(largest.end(), rows_of_experts.begin(), rows_of_experts.end());
    world.max(largest, {"time of a step"});
    report.seconds = largest[0];
    report.communication_share = largest[1];
    std::copy_n(largest.begin() + 2, phase_count, report.phase_seconds.begin());
    report.rank_load_max_over_mean =
        max_over_mean(std::span(largest).subspan(2 + phase_count), report.routers, world.size());
}

void Trainer::Parts::update(StepReport& report, StepObserver* observer) {
    Span span(&clock, Phase::clip);
    report.norm = gradient_norm(device, parameters.blocks(), placement, layout, world);
    if (!std::isfinite(report.norm.total()))
        throw UserError(concat("step ", report.step, ": the gradient is not finite; ",
                               locate_in_gradients(device, parameters.blocks(), world)));
    report.clip_factor = clip_factor(report.norm.total(), options.clip);
    if (observer) observer->before_update(report);
    span.next(Phase::update);
    optimizer.update(report.step, report.clip_factor);
    device.synchronize();
}

Trainer::Trainer(const ModelOptions& model, const TrainOptions& options, Device& device, const Communicator& world)
    : Trainer(model, options, placement_of(model.resolved(), options, world.size()), device, world) {}

Trainer::Trainer(const ModelOptions& model, const TrainOptions& options, Placement placement, Device& device,
                 const Communicator& world)
    : parts_(std::make_unique<Parts>(model, options, std::move(placement), device, world)) {}

Trainer::~Trainer() = default;

StepReport Trainer::step(std::span<const MicroBatch> shares, StepObserver* observer) {
    Parts& parts = *parts_;
    if (shares.empty()) throw Error("trainer: a step without micro-batches, expected at least one");
    const Span span(&parts.clock, Phase::other);
    const std::int64_t begin = parts.clock.now();
    const double communicated = parts.dispatcher->counters().seconds;

    StepReport report;
    report.step = parts.steps_done + 1;
    report.learning_rate = learning_rate_at(report.step, parts.options);
    Objective objective(parts.model, shares, parts.world);
    parts.accumulate(shares, objective, observer);
    report.tokens = objective.tokens();
    take(objective.value(), report);
    parts.update(report, observer);
    ++parts.steps_done;

    const double seconds = double(parts.clock.now() - begin) / 1e9;
    parts.take_largest(seconds, (parts.dispatcher->counters().seconds - communicated) / seconds, report);
    return report;
}

Trainer::Evaluation Trainer::evaluate(const MicroBatch& share) {
    TransformerState state = parts_->transformer.forward(share, parts_->scope_of(share), false, Keep::inputs);
    // Counts of tokens are exact in float64.
    std::array sums{state.loss_sum, double(share.loss_count())};
    parts_->world.sum(sums, {"loss of an evaluation"});
    return {sums[0], std::int64_t(sums[1]), std::move(state.logits), sum_over_ranks(state.statistics(), parts_->world)};
}

int Trainer::steps_done() const {
    return parts_->steps_done;
}
void Trainer::set_steps_done(int steps) {
    parts_->steps_done = steps;
}
Parameters& Trainer::parameters() {
    return parts_->parameters;
}
Optimizer& Trainer::optimizer() {
    return parts_->optimizer;
}
const Transformer& Trainer::transformer() const {
    return parts_->transformer;
}
const Placement& Trainer::placement() const {
    return parts_->placement;
}
const Layout& Trainer::layout() const {
    return parts_->layout;
}
void Trainer::overlap_gradients(bool on) {
    parts_->reducer.overlap(on);
}
std::string Trainer::note() const {
    return parts_->dispatcher->note();
}
ReductionSeconds Trainer::take_reduction_seconds() {
    return parts_->reducer.take_seconds();
}
PhaseClock& Trainer::clock() {
    return parts_->clock;
}

}  // namespace expar
