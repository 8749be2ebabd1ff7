#include "expar/infer/generate.hpp"

#include <iostream>
#include <memory>

#include "model_files.hpp"
#include "subcommands.hpp"

namespace expar::cli {
namespace {

struct GenerateArguments {
    std::string run;
    std::string prompt = "\n";
    int bytes = 256;
    ComputeOptions compute;
    GenerateOptions options;
};

int run_generate(const GenerateArguments& arguments, const Communicator& world) {
    GenerateOptions options = arguments.options;
    options.tokens = arguments.bytes;
    options.validate();
    if (arguments.prompt.empty()) throw UserError("--prompt: is empty, expected at least one byte");
    const LoadedModel model = load_model(arguments.run, arguments.compute, world, std::cerr);
    if (options.context == 0) options.context = model.config.train.sequence;  // what it was trained to look back on
    std::vector<int> prompt;
    for (const char byte : arguments.prompt) prompt.push_back(static_cast<unsigned char>(byte));
    const bool root = world.rank() == 0;
    if (root) std::cout << arguments.prompt << std::flush;
    const auto show = [root](int token) {
        if (root) std::cout << char(token) << std::flush;
    };
    static_cast<void>(generate(model.trainer->transformer(), world, prompt, options, show));
    if (root) std::cout << std::endl;
    return 0;
}

}  // namespace

Runner add_generate(CLI::App& command) {
    const auto arguments = std::make_shared<GenerateArguments>();
    SamplerOptions& sampler = arguments->options.sampler;
    command.add_option("RUN", arguments->run, "folder of a run, or a checkpoint file")->required();
    command.add_option("--prompt", arguments->prompt, "text to continue")->type_name("TEXT");
    command.add_option("--bytes", arguments->bytes, "bytes to write after it")->capture_default_str();
    command.add_option("--temperature", sampler.temperature, "of the probabilities; 0: always the likeliest")
        ->capture_default_str();
    command.add_option("--top-k", sampler.top_k, "draw among this many likeliest; 0: all")->capture_default_str();
    command.add_option("--top-p", sampler.top_p, "draw among the likeliest that together have this probability")
        ->capture_default_str();
    command.add_option("--seed", sampler.seed, "of the draws")
        ->check([](const std::string& seed) { return std::string(seed.starts_with('-') ? "expected at least 0" : ""); })
        ->capture_default_str();
    command
        .add_option("--context", arguments->options.context,
                    "bytes that the model looks back on; 0: as long as the sequences it was trained on")
        ->capture_default_str();
    add_compute_flags(command, arguments->compute);
    return [arguments](const Communicator& world) { return run_generate(*arguments, world); };
}

}  // namespace expar::cli
