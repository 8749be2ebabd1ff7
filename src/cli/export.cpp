#include <iostream>
#include <memory>

#include "config_file.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/convert/huggingface.hpp"
#include "expar/store/checkpoint.hpp"
#include "run_folder.hpp"
#include "subcommands.hpp"

namespace expar::cli {
namespace {

struct ExportOptions {
    std::string run;
    std::string folder;
};

// A file to a file: rank 0 does it alone, without the model in memory.
void export_run(const ExportOptions& options) {
    const auto path = find_checkpoint(options.run);
    const CheckpointReader checkpoint(path);
    RunConfig config;
    apply_toml(checkpoint.header().config, path.string(), config);
    const ModelOptions model = config.model.resolved();
    export_hugging_face(checkpoint, model, config.train.sequence, options.folder);
    std::cout << "wrote " << hugging_face_model(model) << " of " << path.string() << " to "
              << std::filesystem::absolute(options.folder).string() << std::endl;
}

}  // namespace

Runner add_export(CLI::App& command) {
    const auto options = std::make_shared<ExportOptions>();
    command.add_option("RUN", options->run, "folder of a run, or a checkpoint file")->required();
    command.add_option("--hf", options->folder, "folder for config.json, model.safetensors and tokenizer.json")
        ->required()
        ->type_name("FOLDER");
    return [options](const Communicator& world) {
        judge_on_root(world, [&] { export_run(*options); });
        return 0;
    };
}

}  // namespace expar::cli
