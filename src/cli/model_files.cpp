#include "model_files.hpp"

#include "config_file.hpp"
#include "expar/comm/verdict.hpp"
#include "run_folder.hpp"

namespace expar::cli {

std::vector<StoredBlock> blocks_of(Trainer& trainer) {
    auto blocks =
        stored_blocks(trainer.transformer().options(), trainer.parameters(), trainer.placement(), trainer.layout());
    int held = 0;  // the optimizer counts the blocks of this rank
    for (auto& block : blocks) {
        if (!block.is_here()) continue;
        Moments& moments = trainer.optimizer().moments(held++);
        block.moment1 = moments.first;
        block.moment2 = moments.second;
    }
    return blocks;
}

LoadedModel load_model(const std::filesystem::path& run, const ComputeOptions& compute, const Communicator& world,
                       std::ostream& notes) {
    LoadedModel model;
    std::string path;
    judge_on_root(world, [&] { path = find_checkpoint(run).string(); });
    model.checkpoint = world.broadcast(path, 0, {"model"});
    const CheckpointReader reader(model.checkpoint, world);
    apply_toml(reader.header().config, model.checkpoint.string(), model.config);

    TrainOptions options = model.config.train;
    options.ep = 0;             // whatever layout it was trained in
    options.optimizer = "sgd";  // which keeps no moments
    options.placement = "linear";
    options.threads = compute.threads;
    options.isa = compute.isa;
    if (!compute.dtype.empty()) options.dtype = compute.dtype;
    model.device = make_compute_device(compute, world, notes);
    model.trainer = std::make_unique<Trainer>(model.config.model, options, *model.device, world);
    reader.load(blocks_of(*model.trainer));
    model.step = reader.header().step;
    return model;
}

}  // namespace expar::cli
