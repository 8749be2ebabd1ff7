#include "expar/verify/recorder.hpp"

#include <array>
#include <numeric>

#include "expar/comm/all_gather_rows.hpp"
#include "expar/compute/rows.hpp"

namespace expar {
namespace {

ConstRows rows_of(const Array<int>& values, int cols) {
    return {values.view().data(), int(values.size()) / cols, cols, DType::int32};
}

class Recorder : public StepObserver {
public:
    Recorder(const ModelOptions& model, Trainer& trainer, const Communicator& world, StepRecord& record)
        : model_(model), trainer_(trainer), world_(world), record_(record) {}

    void after_forward(int, const MicroBatch& batch, const TransformerState& state) override {
        StepRecord::Pass pass;
        pass.logits = all_gather_rows<float>(state.logits, world_, {"gather of logits"});
        pass.tokens_of_rank = world_.all_gather(std::array{batch.token_count()});
        for (const LayerState& layer : state.layers) {
            if (!layer.moe) continue;
            const Routing& routing = layer.moe->routing;
            pass.choices.push_back(gather(routing.experts, routing.top_k));
            pass.kept.push_back(gather(routing.kept, routing.top_k));
        }
        record_.passes.push_back(std::move(pass));
    }
    void after_backward(int micro_batch, const Matrix& d_embedded) override {
        // Every bfloat16 is a float32, too.
        Matrix widened(d_embedded.device(), DType::float32, d_embedded.rows(), d_embedded.cols());
        std::vector<int> all(std::size_t(widened.rows()));
        std::iota(all.begin(), all.end(), 0);
        widened.device().rows().gather(ConstRows(d_embedded), all, widened, widened.device().stream());
        record_.passes.at(micro_batch).d_embedded = all_gather_rows<float>(widened, world_, {"gather of gradients"});
    }
    void before_update(const StepReport&) override {
        record_.gradients = gather_tensors(Part::gradient, model_, trainer_, world_);
    }

private:
    std::vector<int> gather(const Array<int>& values, int cols) const {
        return all_gather_rows<int>(rows_of(values, cols), world_, {"gather of choices"});
    }

    const ModelOptions& model_;
    Trainer& trainer_;
    const Communicator& world_;
    StepRecord& record_;
};

}  // namespace

StepRecord record_step(const ModelOptions& model, Trainer& trainer, const std::vector<MicroBatch>& micro_batches,
                       const Communicator& world) {
    std::vector<MicroBatch> shares;
    std::int64_t first_token = 0;
    for (const MicroBatch& whole : micro_batches) {
        MicroBatch numbered = whole;
        numbered.first_token = first_token;
        first_token += whole.token_count();
        shares.push_back(numbered.share_of(world.rank(), world.size()));
    }
    StepRecord record;
    Recorder recorder(model, trainer, world, record);
    record.report = trainer.step(shares, &recorder);
    record.values = gather_tensors(Part::value, model, trainer, world);
    return record;
}

}  // namespace expar
