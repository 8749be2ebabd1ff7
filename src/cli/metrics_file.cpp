#include "metrics_file.hpp"

#include <chrono>
#include <limits>
#include <nlohmann/json.hpp>

#include "expar/base/error.hpp"
#include "expar/store/partial_file.hpp"
#include "progress.hpp"

namespace expar::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

double unix_time() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Json json_of(const PhaseSeconds& seconds) {
    Json phases = Json::object();
    for (std::size_t i = 0; i < seconds.size(); ++i)
        if (seconds[i] > 0) phases[std::string(name_of(Phase(i)))] = seconds[i];
    return phases;
}

Json json_of(const StepReport& report) {
    Json line;
    line["step"] = report.step;
    line["loss"] = report.loss;
    line["bits_per_byte"] = bits_of(report.loss);
    line["balance_loss"] = report.balance_loss;
    line["z_loss"] = report.z_loss;
    line["objective"] = report.objective;
    line["learning_rate"] = report.learning_rate;
    line["gradient_norm"] = report.norm.total();
    line["gradient_norm_dense"] = report.norm.dense;
    line["gradient_norm_router"] = report.norm.router;
    line["gradient_norm_experts"] = report.norm.experts;
    line["clip_factor"] = report.clip_factor;
    line["tokens"] = report.tokens;
    line["tokens_per_second"] = double(report.tokens) / report.seconds;
    line["communication_share"] = report.communication_share;
    line["load_max_over_mean"] = report.load_max_over_mean;
    line["dropped"] = report.dropped;
    line["choices"] = report.choices;
    line["seconds"] = report.seconds;
    line["router_entropy"] = report.router_entropy;
    line["rank_load_max_over_mean"] = report.rank_load_max_over_mean;
    line["phase_seconds"] = json_of(report.phase_seconds);
    line["unix_time"] = unix_time();
    return line;
}

// A line that is no line of metrics goes, too: it would break every reader of the file.
void cut_behind(int step, const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    std::string kept;
    if (in)
        for (std::string line; std::getline(in, line);)
            if (const auto found = step_of_metrics(line); found && *found <= step && !in.eof()) kept += line + '\n';
    if (!in.eof() || in.bad()) throw UserError(concat(path.string(), ": cannot be read"));
    replace_file(path, kept);
}

}  // namespace

std::optional<int> step_of_metrics(const std::string& line) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object()) return std::nullopt;
    const auto step = json.find("step");
    if (step == json.end() || !step->is_number_unsigned()) return std::nullopt;
    const auto value = step->get<std::uint64_t>();
    if (value > std::uint64_t(std::numeric_limits<int>::max())) return std::nullopt;
    return int(value);
}

MetricsFile::MetricsFile(const fs::path& path, int step) : path_(path) {
    std::error_code ignored;
    const fs::file_type type = fs::status(path_, ignored).type();
    if (type == fs::file_type::regular || type == fs::file_type::none) cut_behind(step, path_);  // none: no answer
    out_.open(path_, std::ios::app);
    if (!out_) throw UserError(concat(path_.string(), ": cannot be written"));
}

void MetricsFile::write(const StepReport& report) {
    out_ << json_of(report).dump() << std::endl;
    if (!out_) throw UserError(concat(path_.string(), ": writing failed"));
}

}  // namespace expar::cli
