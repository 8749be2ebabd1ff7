#include "expar/verify/recorder.hpp"

#include <array>

namespace expar {
namespace {

// Ints travel as rows of int32.
std::vector<int> gather_ints(const Array<int>& mine, int cols, const Communicator& world) {
    const int rows = int(mine.size()) / cols;
    const auto rows_of = world.all_gather(std::array{rows}, {"gather of choices"});
    int total = 0;
    for (const int count : rows_of) total += count;
    std::vector<int> all(std::size_t(total) * cols);
    world
        .start_all_gather({mine.view().data(), rows, cols, DType::int32}, {all.data(), total, cols, DType::int32},
                          rows_of, {"gather of choices"})
        .finish();
    return all;
}

class Recorder : public StepObserver {
public:
    Recorder(const ModelOptions& model, Trainer& trainer, const Communicator& world, StepRecord& record)
        : model_(model), trainer_(trainer), world_(world), record_(record) {}

    void after_forward(int, const MicroBatch& batch, const TransformerState& state) override {
        StepRecord::Pass pass;
        pass.logits = gather_rows(state.logits, world_);
        pass.tokens_of_rank = world_.all_gather(std::array{batch.token_count()});
        for (const LayerState& layer : state.layers) {
            if (!layer.moe) continue;
            const Routing& routing = layer.moe->routing;
            pass.choices.push_back(gather_ints(routing.experts, routing.top_k, world_));
            pass.kept.push_back(gather_ints(routing.kept, routing.top_k, world_));
        }
        record_.passes.push_back(std::move(pass));
    }
    void after_backward(int micro_batch, const Matrix& d_embedded) override {
        record_.passes.at(micro_batch).d_embedded = gather_rows(d_embedded, world_);
    }
    void before_update(const StepReport&) override {
        record_.gradients = gather_tensors(Part::gradient, model_, trainer_, world_);
    }

private:
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
