#include "expar/verify/comparison.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "expar/base/random.hpp"
#include "expar/train/schedule.hpp"
#include "expar/verify/plain_optimizer.hpp"

namespace expar {
namespace {

// Sums of float32 in another order: each product of these small models adds some 60 terms, whose rounding (6e-8 each)
// grows with the root of their number and passes through about ten layers of products: 1e-6 is seen.
constexpr double rounding = 1e-5;
// Of the largest change. AdamW divides by |g| + epsilon, so that an element whose gradient is far below the largest
// keeps an error of 1e-6 seen above · largest gradient / epsilon: below 1 and 1e-4 in the cases. Seen: 3e-4.
constexpr double change = 0.01;
constexpr double bits = 0;

// Of rows of bfloat16, which keep 8 bits: a rounding errs by at most 2^-8 of a value. On the way through a layer there
// are 18 of them: of norm, projections, rotation, attention, its output, the sum; norm, inner, activated and outputs of
// experts, their weighted sum, the sum (and two of a shared expert); and of 4 weights. Beyond the layers there are 4:
// embedding, last norm, the head's weight, the gradient of the logits. The way back has as many. They are independent,
// so that errors add as the roots of squares, and half as much again is left to softmax and norms, which enlarge them.
double rounding_of_rows(const VerifyCase& verify_case) {
    if (row_dtype(verify_case.train.dtype) == DType::float32) return rounding;
    const int roundings = 2 * (18 * verify_case.model.layers + 4);
    return 1.5 * 0x1p-8 * std::sqrt(roundings);
}

bool is_router(const std::string& name) {
    return name.find(".router.") != std::string::npos;
}
bool is_expert(const std::string& name) {
    return name.find(".experts.") != std::string::npos;
}

// The tensors of one kind, one after the other, in the order of their names.
template <class Map, class Of>
auto joined(const Map& tensors, const Of& of) {
    typename Map::mapped_type all;
    for (const auto& [name, values] : tensors)
        if (of(name)) all.insert(all.end(), values.begin(), values.end());
    return all;
}

template <class Pass, class Member>
auto joined_passes(const std::vector<Pass>& passes, Member member) {
    std::remove_cvref_t<decltype(passes.front().*member)> all;
    for (const Pass& pass : passes) all.insert(all.end(), (pass.*member).begin(), (pass.*member).end());
    return all;
}

PlainWeights plain(const Tensors& tensors) {
    PlainWeights result;
    for (const auto& [name, values] : tensors) result[name].assign(values.begin(), values.end());
    return result;
}

// What the tested side adds to the logits, drawn again from its description.
std::vector<std::vector<double>> noise_of(const ModelOptions& model, const TrainOptions& train, int step,
                                          std::int64_t first_token, int tokens) {
    std::vector<std::vector<double>> noise;
    for (int layer = 0; layer < model.layers && model.router_noise > 0; ++layer) {
        if (!model.is_moe(layer)) continue;
        const RandomField random(train.seed, Purpose::router_noise, std::uint32_t(layer), std::uint32_t(step));
        auto& drawn = noise.emplace_back();
        for (std::int64_t i = 0; i < std::int64_t(tokens) * model.experts; ++i)
            drawn.push_back(model.router_noise * random.normal(std::uint64_t(first_token * model.experts + i)));
    }
    return noise;
}

PlainBatch plain(const MicroBatch& batch, const StepRecord::Pass& pass) {
    PlainBatch result;
    result.tokens = batch.tokens;
    result.targets = batch.targets;
    result.offsets = batch.offsets;
    result.rank_offsets = {0};
    for (const int tokens : pass.tokens_of_rank) result.rank_offsets.push_back(result.rank_offsets.back() + tokens);
    if (pass.choices.empty()) throw Error("verify: the tested side recorded no choice of experts");
    result.choices = pass.choices;
    return result;
}

StepReport report_of(const PlainResult& result, double clip) {
    StepReport report;
    report.loss = result.loss;
    report.balance_loss = result.balance_loss;
    report.z_loss = result.z_loss;
    report.norm.dense = result.gradient_norm;  // the total is what is compared
    report.clip_factor = plain_clip_factor(result.gradient_norm, clip);
    for (const PlainMicroBatch& batch : result.micro_batches)
        for (const PlainRouting& routing : batch.routings) report.dropped += routing.dropped;
    return report;
}

PlainOptimizer plain(const TrainOptions& train, int step) {
    return {.kind = train.optimizer,
            .learning_rate = learning_rate_at(step, train),
            .router_scale = train.router_learning_rate_scale,
            .beta1 = train.beta1,
            .beta2 = train.beta2,
            .epsilon = train.epsilon,
            .weight_decay = train.weight_decay,
            .clip = train.clip};
}

}  // namespace

Comparison::Comparison(const VerifyCase& verify_case, const Layout& layout, const StartingPoint& start,
                       const StepRecord& tested, VerifyReport& report)
    : case_(verify_case), layout_(layout), start_(start), tested_(tested), report_(report) {}

VerifyRow Comparison::row(const std::string& reference, const std::string& quantity, double tolerance) const {
    VerifyRow row;
    row.case_name = case_.name;
    row.dispatcher = case_.train.dispatcher;
    row.ranks = layout_.ranks();
    row.ep = layout_.ep();
    row.dp = layout_.dp();
    row.step = tested_.report.step;
    row.reference = reference;
    row.quantity = quantity;
    row.tolerance = tolerance;
    row.dropped = long(tested_.report.dropped);
    row.clip_factor = tested_.report.clip_factor;
    row.load_max_over_mean = tested_.report.load_max_over_mean;
    return row;
}

// One rank rounds rows where the tested side does.
double Comparison::tolerance(const std::string& reference) const {
    return reference == "float64" ? rounding_of_rows(case_) : rounding;
}

void Comparison::skip(const std::string& reference, const std::string& reason) const {
    VerifyRow skipped = row(reference, "all", 0);
    skipped.skipped = reason;
    skipped.passed = true;
    report_.rows.push_back(skipped);
}

void Comparison::acted() const {
    std::vector<int> tokens_of_rank(layout_.ranks());
    for (const auto& pass : tested_.passes)
        for (int rank = 0; rank < layout_.ranks(); ++rank) tokens_of_rank[rank] += pass.tokens_of_rank[rank];
    std::string failure = case_.did_not_act(tested_.report, layout_, tokens_of_rank);
    if (case_.feature == Feature::shared_expert) {
        const auto shared = joined(tested_.gradients, [](const auto& n) { return n.find(".shared.") != n.npos; });
        if (std::ranges::all_of(shared, [](float g) { return g == 0; })) failure = "the shared expert learned nothing";
    }
    count("one_rank", failure.empty() ? "feature" : concat("feature: ", failure), failure.empty() ? 0 : 1);
}

void Comparison::copies(int differing) const {
    count("one_rank", "copies", differing);
}

void Comparison::count(const std::string& reference, const std::string& quantity, int wrong) const {
    VerifyRow counted = row(reference, quantity, bits);
    counted.max_abs_error = counted.max_rel_error = wrong;
    counted.passed = counted.bitwise = wrong == 0;
    report_.rows.push_back(counted);
}

void Comparison::scalar(const std::string& reference, const std::string& quantity, double tested,
                        double expected) const {
    VerifyRow compared = row(reference, quantity, tolerance(reference));
    compare(std::span<const double>(&tested, 1), std::span<const double>(&expected, 1), compared);
    report_.rows.push_back(compared);
}

// What a step reports, beside its rows and tensors.
void Comparison::scalars(const std::string& reference, const StepReport& expected) const {
    scalar(reference, "loss", tested_.report.loss, expected.loss);
    scalar(reference, "balance_loss", tested_.report.balance_loss, expected.balance_loss);
    scalar(reference, "z_loss", tested_.report.z_loss, expected.z_loss);
    scalar(reference, "clip_norm", tested_.report.norm.total(), expected.norm.total());
    scalar(reference, "clip_factor", tested_.report.clip_factor, expected.clip_factor);
    count(reference, "dropped", int(std::abs(tested_.report.dropped - expected.dropped)));
}

template <class Reference>
void Comparison::tensors(const std::string& reference, const Tensors& tested, const Reference& expected,
                         bool expert_bits) const {
    const auto add = [&](const std::string& quantity, double tolerance, const auto& of) {
        VerifyRow compared = row(reference, quantity, tolerance);
        const auto ours = joined(tested, of);
        const auto theirs = joined(expected, of);
        compare(std::span<const float>(ours), std::span(theirs.data(), theirs.size()), compared);
        report_.rows.push_back(compared);
    };
    add("router_gradient", tolerance(reference), is_router);
    add("expert_gradient", expert_bits ? bits : tolerance(reference), is_expert);
    add("dense_gradient", tolerance(reference),
        [](const std::string& name) { return !is_router(name) && !is_expert(name); });
}

// The change of the weights rather than the weights, so that the error is seen beside the learning rate.
template <class Reference>
void Comparison::changes(const std::string& reference, const Reference& expected) const {
    std::vector<double> tested_change, expected_change;
    for (const auto& [name, before] : start_.values)
        for (std::size_t i = 0; i < before.size(); ++i) {
            tested_change.push_back(double(tested_.values.at(name)[i]) - before[i]);
            expected_change.push_back(double(expected.at(name)[i]) - before[i]);
        }
    VerifyRow compared = row(reference, "weights", change);
    compare(std::span<const double>(tested_change), std::span<const double>(expected_change), compared);
    report_.rows.push_back(compared);
}

void Comparison::with_one_rank(const StepRecord& alone) const {
    using Pass = StepRecord::Pass;
    const bool exact = case_.train.combine == "exact";
    const auto rows = [&](const std::string& quantity, auto member) {
        VerifyRow compared = row("one_rank", quantity, exact ? bits : rounding);
        const auto ours = joined_passes(tested_.passes, member);
        const auto theirs = joined_passes(alone.passes, member);
        compare(std::span<const float>(ours), std::span<const float>(theirs), compared);
        report_.rows.push_back(compared);
    };
    rows("output", &Pass::logits);
    rows("input_gradient", &Pass::d_embedded);
    scalars("one_rank", alone.report);
    tensors("one_rank", tested_.gradients, alone.gradients, exact && layout_.dp() == 1);
    changes("one_rank", alone.values);
}

// The reference took the tested side's choices: what it had to take on trust is judged here.
void Comparison::routings(const PlainResult& expected) const {
    const ModelOptions model = case_.model.resolved();
    double shortfall = 0;
    int missing = 0, misplaced = 0;
    for (std::size_t m = 0; m < expected.micro_batches.size(); ++m)
        for (std::size_t l = 0; l < expected.micro_batches[m].routings.size(); ++l) {
            const PlainRouting& routing = expected.micro_batches[m].routings[l];
            const auto& choices = tested_.passes.at(m).choices.at(l);
            const auto& kept = tested_.passes.at(m).kept.at(l);
            shortfall = std::max(shortfall, plain_shortfall(model, routing.logits, choices));
            missing += int(std::ranges::count(choices, -1));
            for (std::size_t i = 0; i < routing.kept.size(); ++i) misplaced += kept.at(i) != routing.kept[i];
        }
    // Logits are a few units in size here: a choice may be wrong where two are equal but for rounding. A choice that is
    // missing is wrong by any margin.
    VerifyRow choices = row("float64", "choices", tolerance("float64"));
    choices.max_abs_error = choices.max_rel_error = missing > 0 ? missing : shortfall;
    choices.passed = missing == 0 && shortfall <= choices.tolerance;
    report_.rows.push_back(choices);
    count("float64", "kept", misplaced);
}

void Comparison::with_float64(const std::vector<MicroBatch>& batches) const {
    const ModelOptions model = case_.model.resolved();
    std::vector<PlainBatch> plain_batches;
    std::int64_t first_token = 0;
    for (std::size_t m = 0; m < batches.size(); ++m) {
        const int tokens = batches[m].token_count();
        plain_batches.push_back(plain(batches[m], tested_.passes.at(m)));
        plain_batches.back().noise = noise_of(model, case_.train, tested_.report.step, first_token, tokens);
        first_token += tokens;
    }
    const PlainState before{plain(start_.values), plain(start_.moment1), plain(start_.moment2)};
    const PlainResult expected = plain_step(model, before.weights, plain_batches);
    routings(expected);

    const auto rows = [&](const std::string& quantity, auto member, auto reference_member) {
        VerifyRow compared = row("float64", quantity, tolerance("float64"));
        const auto ours = joined_passes(tested_.passes, member);
        const auto theirs = joined_passes(expected.micro_batches, reference_member);
        compare(std::span<const float>(ours), std::span<const double>(theirs), compared);
        report_.rows.push_back(compared);
    };
    rows("output", &StepRecord::Pass::logits, &PlainMicroBatch::logits);
    rows("input_gradient", &StepRecord::Pass::d_embedded, &PlainMicroBatch::d_embedded);
    scalars("float64", report_of(expected, case_.train.clip));
    tensors("float64", tested_.gradients, expected.gradients, false);
    // An update divides by the size of the gradient: where rows are rounded, an element near zero may turn its sign. It
    // is judged on the tested side's gradients then, which have been judged above.
    const int step = tested_.report.step;
    const PlainWeights gradients = tolerance("float64") == rounding ? expected.gradients : plain(tested_.gradients);
    changes("float64", plain_update(plain(case_.train, step), step, before, gradients).weights);
}

}  // namespace expar
