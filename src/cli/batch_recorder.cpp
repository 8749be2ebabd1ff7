#include "batch_recorder.hpp"

#include <numeric>

#include "expar/base/error.hpp"
#include "expar/comm/all_gather_rows.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/checkpoint_folder.hpp"

namespace expar::cli {
BatchRecorder::BatchRecorder(const std::filesystem::path& path, const Communicator& world) : world_(world) {
    judge_on_root(world_, [&] { file_.emplace(Hdf5File::create(path)); });
}

std::vector<int> BatchRecorder::gather(std::span<const int> mine, int cols) const {
    const ConstRows rows(mine.data(), int(mine.size()) / cols, cols, DType::int32);
    return all_gather_rows<int>(rows, world_, {"recording batches"});
}

void BatchRecorder::write(const std::string& name, const std::vector<int>& values, const Hdf5File::Shape& shape) {
    judge_on_root(world_, [&] { file_->write(name, values, shape, {.level = 4}); });
}

void BatchRecorder::after_forward(int micro_batch, const MicroBatch& batch, const TransformerState& state) {
    const std::string group = concat(step_name(step_), "/micro-", micro_batch, "/");
    const auto tokens = gather(batch.tokens, 1);
    const std::int64_t count = std::int64_t(tokens.size());
    write(group + "tokens", tokens, {count});
    write(group + "targets", gather(batch.targets, 1), {count});

    std::vector<int> lengths;
    for (int s = 0; s < batch.sequence_count(); ++s) lengths.push_back(batch.offsets[s + 1] - batch.offsets[s]);
    std::vector<int> offsets = gather(lengths, 1);
    offsets.insert(offsets.begin(), 0);
    std::partial_sum(offsets.begin(), offsets.end(), offsets.begin());
    write(group + "offsets", offsets, {std::int64_t(offsets.size())});

    for (std::size_t l = 0; l < state.layers.size(); ++l) {
        if (!state.layers[l].moe) continue;
        const Routing& routing = state.layers[l].moe->routing;
        write(concat(group, "choices_layer_", l), gather(routing.experts.host(), routing.top_k),
              {count, routing.top_k});
    }
}

void BatchRecorder::finish() {
    judge_on_root(world_, [&] { file_->close(); });
}

}  // namespace expar::cli
