#include "step_memory.hpp"

#include <gtest/gtest.h>

#include <map>
#include <ostream>

#include "expar/base/random.hpp"
#include "expar/compute/cpu_device.hpp"
#include "expar/train/trainer.hpp"

namespace expar::cli {
namespace {

/// The cpu device, which counts what is allocated from it.
class CountingDevice : public Device {
public:
    [[nodiscard]] std::string_view name() const override { return "counting"; }
    [[nodiscard]] MemoryKind memory() const override { return MemoryKind::host; }
    [[nodiscard]] void* allocate(std::size_t bytes) override {
        void* data = inner_->allocate(bytes);
        block_at_[data] = pool_.take(double(bytes));
        return data;
    }
    void release(void* data, std::size_t bytes) noexcept override {
        if (const auto found = block_at_.find(data); found != block_at_.end()) {
            pool_.give(found->second);
            block_at_.erase(found);
        }
        inner_->release(data, bytes);
    }
    void fill_zero(void* data, std::size_t bytes, Stream& stream) override { inner_->fill_zero(data, bytes, stream); }
    void copy(const void* from, void* to, std::size_t bytes, Stream& stream) override {
        inner_->copy(from, to, bytes, stream);
    }
    [[nodiscard]] Stream& stream() override { return inner_->stream(); }
    void synchronize() override {}
    [[nodiscard]] const MatrixProduct& product() const override { return inner_->product(); }
    [[nodiscard]] const RowOperations& rows() const override { return inner_->rows(); }
    [[nodiscard]] const RoutingOperations& routing() const override { return inner_->routing(); }
    [[nodiscard]] const ActivationOperations& activation() const override { return inner_->activation(); }
    [[nodiscard]] const NormOperations& norm() const override { return inner_->norm(); }
    [[nodiscard]] const AttentionOperations& attention() const override { return inner_->attention(); }
    [[nodiscard]] const LossOperations& loss() const override { return inner_->loss(); }
    [[nodiscard]] const UpdateOperations& update() const override { return inner_->update(); }

    /// Forgets what is allocated now.
    void begin() {
        block_at_.clear();
        pool_ = {};
    }
    [[nodiscard]] double peak_bytes() const { return pool_.peak_bytes(); }

private:
    std::unique_ptr<Device> inner_ = make_cpu_device(1);
    PoolModel pool_;
    std::map<void*, std::size_t> block_at_;
};

struct Case {
    const char* name;
    ModelOptions model;
    bool recompute;
};
void PrintTo(const Case& c, std::ostream* out) {
    *out << c.name;
}

class StepMemoryTest : public testing::TestWithParam<Case> {};

// Counted while a trainer trains, at one rank: what has other sizes at several is how many rows travel.
TEST_P(StepMemoryTest, IsWhatAStepAllocates) {
    const Communicator world(MPI_COMM_WORLD);
    const ModelOptions model = GetParam().model.resolved();
    CountingDevice device;
    TrainOptions options;
    options.recompute = GetParam().recompute;
    Trainer trainer(model, options, device, world);
    std::vector<int> text(65);
    const RandomField random(1, Purpose::test);
    MicroBatch batch;
    for (std::uint64_t s = 0; s < 4; ++s) {
        for (std::size_t i = 0; i < text.size(); ++i) text[i] = int(random.below(256, s * 100 + i));
        batch.append(text);
    }
    device.begin();
    static_cast<void>(trainer.step(std::array{batch}));
    const double predicted =
        peak_bytes_of_step({.model = model, .tokens = double(batch.token_count()), .recompute = options.recompute});
    EXPECT_NEAR(predicted / device.peak_bytes(), 1, 0.05) << predicted << " and " << device.peak_bytes();
}

ModelOptions model_with(auto change) {
    ModelOptions model{.layers = 3, .hidden = 32, .heads = 4, .intermediate = 40};
    change(model);
    return model;
}
const ModelOptions plain = model_with([](ModelOptions&) {});
const ModelOptions full = model_with([](ModelOptions& model) {
    model.moe_every = 2;
    model.kv_heads = 2;
    model.qk_norm = "head";
    model.shared_intermediate = 24;
    model.activation = "gelu";
    model.vocabulary = 700;
});

INSTANTIATE_TEST_SUITE_P(Models, StepMemoryTest,
                         testing::Values(Case{"plain", plain, false}, Case{"plain_recomputed", plain, true},
                                         Case{"full", full, false}, Case{"full_recomputed", full, true}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace expar::cli
