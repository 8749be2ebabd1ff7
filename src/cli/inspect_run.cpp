#include <algorithm>
#include <chrono>
#include <fstream>

#include "expar/base/error.hpp"
#include "expar/base/read_file.hpp"
#include "expar/comm/rank_status.hpp"
#include "expar/store/checkpoint.hpp"
#include "expar/store/checkpoint_folder.hpp"
#include "inspection.hpp"
#include "metrics_file.hpp"
#include "progress.hpp"
#include "run_folder.hpp"

namespace expar::cli {
namespace {

namespace fs = std::filesystem;

// A rank writes its heartbeat many times in that.
constexpr double alive_seconds = 2;
constexpr std::size_t newest_shown = 10;
constexpr std::size_t most_bytes = std::size_t{1} << 26;  // of a file that a run writes whole

// What is there and is a JSON object; null otherwise. Throws UserError when it cannot be read.
Json json_of_file(const fs::path& path) {
    std::error_code none;
    if (!fs::is_regular_file(path, none)) return nullptr;
    Json json = Json::parse(read_file(path, most_bytes), nullptr, false);
    return json.is_object() ? json : Json(nullptr);
}

// The last step of metrics.jsonl that is whole, from the file's end.
Json last_metrics(const fs::path& path) {
    constexpr std::streamoff enough = 1 << 16;
    std::ifstream in(path, std::ios::binary | std::ios::ate);
    if (!in) return nullptr;
    in.seekg(std::max<std::streamoff>(0, std::streamoff(in.tellg()) - enough));
    std::string last;
    for (std::string line; std::getline(in, line);)
        if (step_of_metrics(line)) last = std::move(line);
    return last.empty() ? Json() : Json::parse(last);
}

// finished, stopped, running or ended, and the same in a line.
std::pair<std::string, std::string> state_of(const RunFolder& run, const Json& summary) {
    const auto statuses = read_statuses(run.status());
    const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    const auto ended = [](const StatusSnapshot& status) { return status.end == RankEnd::clean; };
    const auto alive = [&](const StatusSnapshot& status) {
        return status.end == RankEnd::none && now - status.heartbeat < alive_seconds;
    };
    const auto living = std::ranges::count_if(statuses, alive);
    const bool has_summary = !summary.is_null();
    if (living > 0) {
        const auto& one = *std::ranges::find_if(statuses, alive);
        return {"running", concat("running: ", living, " of ", one.ranks, " ranks show signs of life",
                                  one.step < 0 ? "" : concat(", rank ", one.rank, " is in step ", one.step))};
    }
    if (!statuses.empty() && !std::ranges::all_of(statuses, ended)) return {"ended", describe_end(statuses)};
    if (has_summary && summary.contains("stopped_by") && summary["stopped_by"].is_string())
        return {"stopped", concat("stopped by ", printable(summary["stopped_by"]), "; goes on with --resume")};
    if (has_summary) return {"finished", "finished"};
    return {"unknown", statuses.empty() ? "unknown: has neither a summary nor files of its ranks' status"
                                        : describe_end(statuses)};
}

Json checkpoint_row(const ListedCheckpoint& listed) {
    std::error_code none;
    Json row = {{"step", listed.step},
                {"file", listed.path.filename().string()},
                {"bytes", fs::is_regular_file(listed.path, none) ? fs::file_size(listed.path, none) : 0}};
    if (!listed.has_digest) {
        row["digest"] = "incomplete: has no digest beside it";
        return row;
    }
    try {
        const CheckpointHeader header = read_checkpoint_header(listed.path);
        row["digest"] = "ok";
        row["tokens"] = header.tokens;
        row["ranks"] = header.ranks;
        row["ep"] = header.ep;
    } catch (const UserError& error) {
        std::string complaint = error.what();
        const std::string name = listed.path.string() + ": ";  // which the row says already
        if (complaint.starts_with(name)) complaint.erase(0, name.size());
        row["digest"] = printable(complaint);
    }
    return row;
}

Json files_of(const fs::path& folder) {
    Json files = Json::array();
    std::vector<fs::path> paths;
    std::error_code failed;
    for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end; entry.increment(failed))
        if (entry->is_regular_file(failed)) paths.push_back(entry->path());
    std::ranges::sort(paths);
    for (const auto& path : paths)
        files.push_back({{"name", printable(path.filename().string())}, {"bytes", fs::file_size(path, failed)}});
    return files;
}

std::string checkpoints_text(const Json& checkpoints) {
    if (checkpoints.empty()) return entry("checkpoints", "none");
    std::vector<std::vector<std::string>> rows = {{"checkpoint", "size", "written by", "digest"}};
    // Those that are not as they should be, and the newest.
    std::size_t left_out = 0;
    for (std::size_t i = 0; i < checkpoints.size(); ++i) {
        const Json& row = checkpoints[i];
        if (i + newest_shown < checkpoints.size() && row.at("digest") == "ok") {
            ++left_out;
            continue;
        }
        rows.push_back({row.at("file"), size_text(row.at("bytes")),
                        row.contains("ranks") ? concat("EP=", row["ep"].get<int>(),
                                                       " x DP=", row["ranks"].get<int>() / row["ep"].get<int>())
                                              : "-",
                        row.at("digest")});
    }
    const std::string others = left_out > 0 ? concat("  and ", left_out, " before, ok\n") : "";
    return concat("\n", table(rows, "lrll"), others, "\n");
}

std::string losses_text(const Json& last) {
    const auto has = [&](const char* key) { return last.contains(key) && last[key].is_number(); };
    std::string text = concat("step ", last.at("step").get<std::int64_t>());
    if (has("loss")) text += concat(", loss ", number_text(last["loss"]), " nats");
    if (has("bits_per_byte")) text += concat(", ", number_text(last["bits_per_byte"]), " bits/byte");
    if (has("tokens_per_second"))
        text += concat(", ", with_commas(std::int64_t(last["tokens_per_second"].get<double>())), " tokens/s");
    return text;
}

}  // namespace

Json run_facts(const fs::path& folder) {
    const RunFolder run{folder};
    const Json summary = json_of_file(run.summary());
    const Json last = last_metrics(run.metrics());
    const auto listed = list_checkpoints(run.checkpoints());
    std::error_code none;
    const bool configured = fs::is_regular_file(run.config(), none);
    if (!configured && last.is_null() && listed.empty())
        throw UserError(concat(folder.string(),
                               ": not the folder of a run, it has neither config.toml, metrics.jsonl nor checkpoints"));
    const auto [state, line] = state_of(run, summary);
    Json facts = {
        {"kind", "run"},
        {"folder", folder.string()},
        {"state", state},
        {"state_line", line},
        {"config", configured ? config_facts(read_file(run.config(), most_bytes), run.config().string()) : Json()},
        {"last_step", last},
        {"validation", summary.is_object() ? summary.value("validation", Json::array()) : Json::array()},
        {"checkpoints", Json::array()},
        {"files", files_of(folder)}};
    for (const auto& checkpoint : listed) facts["checkpoints"].push_back(checkpoint_row(checkpoint));
    return facts;
}

std::string run_text(const Json& facts) {
    std::string text = entry("run", facts.at("folder"));
    text += entry("state", facts.at("state_line"));
    text += config_text(facts.at("config"));
    text += entry("last", facts.at("last_step").is_null() ? "no step" : losses_text(facts.at("last_step")));
    for (const auto& domain : facts.at("validation"))
        text += entry("held out", concat(printable(domain.at("domain")), ": ", number_text(domain.at("bits_per_byte")),
                                         " bits/byte"));
    text += checkpoints_text(facts.at("checkpoints"));
    std::string files;
    for (const auto& file : facts.at("files"))
        files += concat(files.empty() ? "" : ", ", file.at("name").get<std::string>(), " (",
                        size_text(file.at("bytes")), ")");
    return text + entry("files", files.empty() ? "none" : files);
}

}  // namespace expar::cli
