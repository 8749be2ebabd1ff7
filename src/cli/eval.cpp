#include <cmath>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "evaluation.hpp"
#include "expar/comm/all_gather_rows.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/hdf5_file.hpp"
#include "expar/store/partial_file.hpp"
#include "model_files.hpp"
#include "progress.hpp"
#include "subcommands.hpp"

namespace expar::cli {
namespace {

using Json = nlohmann::ordered_json;

struct EvalOptions {
    std::string run;
    std::vector<std::string> text;
    int sequence = 256;
    int batch = 8;
    ComputeOptions compute;
    std::string json;
    std::string logits;
};

// Every token that was read and what followed it in the model's eyes, in the order of the text.
class LogitsFile {
public:
    LogitsFile(const std::string& path, const Communicator& world) : path_(path), world_(world) {}

    void add(const MicroBatch& share, const Matrix& logits) {
        const ConstRows tokens(share.tokens.data(), share.token_count(), 1, DType::int32);
        append(all_gather_rows<int>(tokens, world_, {"gather of tokens"}), tokens_);
        append(all_gather_rows<float>(logits, world_, {"gather of logits"}), logits_);
    }
    void write() const {
        judge_on_root(world_, [&] {
            const auto count = std::int64_t(tokens_.size());
            Hdf5File file = Hdf5File::create(path_);
            file.write("tokens", tokens_, {count});
            file.write("logits", logits_, {count, count == 0 ? 0 : std::int64_t(logits_.size()) / count});
            file.close();
        });
    }

private:
    template <class T>
    void append(const std::vector<T>& more, std::vector<T>& all) const {
        if (world_.rank() == 0) all.insert(all.end(), more.begin(), more.end());
    }

    std::string path_;
    const Communicator& world_;
    std::vector<int> tokens_;
    std::vector<float> logits_;
};

Json json_of(const TextLoss& loss) {
    return {{"domain", loss.domain},
            {"bytes", loss.bytes},
            {"tokens", loss.tokens},
            {"loss", loss.loss()},
            {"bits_per_byte", loss.bits_per_byte()},
            {"expert_loads", loss.expert_loads}};
}

void report(const EvalOptions& options, const LoadedModel& model, const std::vector<TextLoss>& domains) {
    const TextLoss total = total_of(domains);
    if (total.tokens == 0) throw UserError("eval: no document has 2 bytes, expected some text to predict");
    if (!std::isfinite(total.loss()))
        throw UserError(
            concat("eval: the loss of ", model.checkpoint.string(), " is ", total.loss(), ", expected a number"));
    if (domains.size() > 1)
        for (const auto& domain : domains)
            std::cout << domain.domain << ": " << domain.bits_per_byte() << " bits/byte\n";
    std::cout << total.bits_per_byte() << " bits/byte, loss " << total.loss() << " nats, over "
              << with_commas(total.tokens) << " bytes predicted in windows of " << options.sequence << std::endl;
    if (options.json.empty()) return;
    Json json;
    json["bits_per_byte"] = total.bits_per_byte();
    json["loss"] = total.loss();
    json["tokens"] = total.tokens;
    json["bytes"] = total.bytes;
    json["sequence"] = options.sequence;
    json["step"] = model.step;
    json["checkpoint"] = std::filesystem::absolute(model.checkpoint).string();
    json["domains"] = Json::array();
    for (const auto& domain : domains) json["domains"].push_back(json_of(domain));
    replace_file(options.json, json.dump(2) + "\n");
}

int run_eval(const EvalOptions& options, const Communicator& world) {
    if (options.sequence < 2) throw UserError(concat("--sequence: ", options.sequence, ", expected at least 2"));
    if (options.batch < 1) throw UserError(concat("--batch: ", options.batch, ", expected at least 1"));
    judge_on_root(world, [&] {
        for (const auto& path : {options.json, options.logits})
            if (!path.empty()) expect_writable(path);
    });
    const Corpus corpus = load_corpus(options.text, Split::validation, 2, world);
    const LoadedModel model = load_model(options.run, options.compute, world);
    EvaluationPlan plan{options.sequence, options.batch};
    LogitsFile logits(options.logits, world);
    if (!options.logits.empty())
        plan.observe = [&](const MicroBatch& share, const Matrix& rows) { logits.add(share, rows); };
    const auto domains = evaluate_text(*model.trainer, corpus, plan, world);
    if (!options.logits.empty()) logits.write();
    judge_on_root(world, [&] { report(options, model, domains); });
    return 0;
}

}  // namespace

Runner add_eval(CLI::App& command) {
    const auto options = std::make_shared<EvalOptions>();
    command.add_option("RUN", options->run, "folder of a run, or a checkpoint file")->required();
    command.add_option("--text", options->text, "files of text, or prepared folders, whose held-out part is read")
        ->required()
        ->type_name("FILE...");
    command.add_option("--sequence", options->sequence, "bytes of a window; its first is not predicted")
        ->capture_default_str();
    command.add_option("--batch", options->batch, "windows at a time, over all ranks")->capture_default_str();
    add_compute_flags(command, options->compute);
    command.add_option("--json", options->json, "write the result there")->type_name("FILE");
    command.add_option("--logits", options->logits, "write every byte read and its logits there (HDF5)")
        ->type_name("FILE");
    return [options](const Communicator& world) { return run_eval(*options, world); };
}

}  // namespace expar::cli
