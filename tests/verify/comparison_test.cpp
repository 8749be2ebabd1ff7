#include "expar/verify/comparison.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "expar/base/error.hpp"
#include "expar/compute/cpu_device.hpp"

namespace expar {
namespace {

VerifyCase case_named(const std::string& name) {
    const auto cases = verify_cases();
    return *std::ranges::find(cases, name, &VerifyCase::name);
}

// One step of one rank, judged against itself and float64 after something of it was changed.
class ComparisonTest : public testing::Test {
protected:
    using Names = std::set<std::string>;
    using Spoil = std::function<void(StepRecord&)>;

    [[nodiscard]] VerifyReport judged(const Spoil& spoil) const {
        StepRecord tested = record;
        spoil(tested);
        VerifyReport report;
        const Comparison comparison(verify_case, Layout(1, 1), start, tested, report);
        comparison.acted();
        comparison.with_one_rank(record);
        comparison.with_float64(batches);
        return report;
    }
    [[nodiscard]] Names failures(const Spoil& spoil) const {
        Names failed;
        for (const VerifyRow& row : judged(spoil).rows)
            if (!row.passed) failed.insert(row.reference + " " + row.quantity);
        return failed;
    }
    static Names both(const std::string& quantity) { return {"one_rank " + quantity, "float64 " + quantity}; }

    VerifyCase verify_case = case_named("capacity");
    ModelOptions model = verify_case.model.resolved();
    Communicator world{MPI_COMM_WORLD};
    std::unique_ptr<Device> device = make_cpu_device(1);
    Trainer trainer{model, verify_case.train, *device, world};
    std::vector<MicroBatch> batches{verify_case.batch(1, 0, 1), verify_case.batch(1, 1, 1)};
    StartingPoint start{gather_tensors(Part::value, model, trainer, world),
                        gather_tensors(Part::moment1, model, trainer, world),
                        gather_tensors(Part::moment2, model, trainer, world)};
    StepRecord record = record_step(model, trainer, batches, world);
};

TEST_F(ComparisonTest, PassesWhatWasComputed) {
    EXPECT_EQ(failures([](StepRecord&) {}), Names{});
}

TEST_F(ComparisonTest, FailsWhatIsReportedWrongly) {
    EXPECT_EQ(failures([](StepRecord& r) { r.report.loss *= 1.001; }), both("loss"));
    EXPECT_EQ(failures([](StepRecord& r) { r.report.balance_loss = NAN; }), both("balance_loss"));
    EXPECT_EQ(failures([](StepRecord& r) { r.report.z_loss *= 1.001; }), both("z_loss"));
    EXPECT_EQ(failures([](StepRecord& r) { r.report.norm.router *= 1.1; }), both("clip_norm"));
    EXPECT_EQ(failures([](StepRecord& r) { r.report.clip_factor = 0.9; }), both("clip_factor"));
    EXPECT_EQ(failures([](StepRecord& r) { --r.report.dropped; }), both("dropped"));
}

TEST_F(ComparisonTest, FailsWhatIsComputedWrongly) {
    EXPECT_EQ(failures([](StepRecord& r) { r.passes[1].logits[3] = NAN; }), both("output"));
    EXPECT_EQ(failures([](StepRecord& r) { r.passes[0].d_embedded[5] += 0.01f; }), both("input_gradient"));
    EXPECT_EQ(failures([](StepRecord& r) { r.gradients.at("layers.1.router.weight")[7] += 0.1f; }),
              both("router_gradient"));
    EXPECT_EQ(failures([](StepRecord& r) { r.gradients.at("layers.0.experts.3.up.weight")[7] += 0.1f; }),
              both("expert_gradient"));
    EXPECT_EQ(failures([](StepRecord& r) { r.gradients.at("norm.weight")[0] = INFINITY; }), both("dense_gradient"));
    EXPECT_EQ(failures([](StepRecord& r) { r.values.at("head.weight")[2] += 1e-3f; }), both("weights"));
    EXPECT_EQ(failures([](StepRecord& r) { r.passes[0].kept[1][4] ^= 1; }), Names{"float64 kept"});
}

// The reference follows the tested side's choices: one that is missing must not pass because both lack it.
TEST_F(ComparisonTest, FailsAChoiceThatIsMissing) {
    EXPECT_TRUE(failures([](StepRecord& r) { r.passes[0].choices[0][1] = -1; }).contains("float64 choices"));
    EXPECT_THROW((void)failures([](StepRecord& r) { r.passes[0].choices.clear(); }), Error);
}

TEST_F(ComparisonTest, FailsAFeatureThatDidNotAct) {
    const auto nothing_dropped = [](StepRecord& r) { r.report.dropped = 0; };
    EXPECT_TRUE(failures(nothing_dropped).contains("one_rank feature: no choice was dropped"));
    for (const VerifyRow& row : judged(nothing_dropped).rows) EXPECT_EQ(row.skipped, "");
}

TEST_F(ComparisonTest, RefusesTensorsThatAreMissing) {
    EXPECT_THROW((void)failures([](StepRecord& r) { r.gradients.clear(); }), Error);
    EXPECT_THROW((void)failures([](StepRecord& r) { r.gradients.erase("layers.0.experts.3.up.weight"); }), Error);
}

}  // namespace
}  // namespace expar
