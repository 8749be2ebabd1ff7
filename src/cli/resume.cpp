#include "resume.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "config_file.hpp"
#include "expar/comm/rank_status.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/checkpoint_folder.hpp"
#include "expar/store/digest.hpp"
#include "expar/store/set_aside.hpp"
#include "stop_request.hpp"

namespace expar::cli {
namespace {

namespace fs = std::filesystem;

struct Choice {
    fs::path path;
    std::string otherwise;  ///< what to do when it cannot be used
};

std::string steps_of(const std::vector<ListedCheckpoint>& listed) {
    std::string steps;
    for (const auto& checkpoint : listed) steps += concat(steps.empty() ? "" : ", ", checkpoint.step);
    return steps;
}

Choice choose(const RunOptions& asked, const RunFolder& folder) {
    std::error_code ignored;
    if (!fs::is_directory(folder.root, ignored)) throw UserError(concat(asked.out, ": no such run to go on with"));
    finish_interrupted_saves(folder.checkpoints());
    const auto listed = list_checkpoints(folder.checkpoints());
    if (listed.empty())
        throw UserError(concat(asked.out, ": holds no checkpoint, so there is nothing to go on from; start anew"));
    auto chosen = listed.end() - 1;
    if (asked.from_step >= 0) {
        chosen = std::ranges::find(listed, asked.from_step, &ListedCheckpoint::step);
        if (chosen == listed.end())
            throw UserError(concat(asked.out, ": holds no checkpoint of step ", asked.from_step,
                                   "; there are those of: ", steps_of(listed)));
    }
    auto before = chosen;
    while (before != listed.begin())
        if ((--before)->has_digest)
            return {chosen->path, concat("; --from-step ", before->step, " goes on from the one before")};
    return {chosen->path, "; there is none before it"};
}

// Two runs in one folder would take turns in overwriting it. What looks alive may have been killed just now: a process
// that lives gives another sign soon.
void expect_not_running(const RunFolder& folder) {
    constexpr double recent_seconds = 5;
    constexpr std::chrono::milliseconds several_heartbeats(500);
    const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    const auto before = read_statuses(folder.status());
    if (std::ranges::none_of(before, [&](const auto& status) { return now - status.heartbeat < recent_seconds; }))
        return;
    std::this_thread::sleep_for(several_heartbeats);
    for (const auto& status : read_statuses(folder.status()))
        for (const auto& earlier : before)
            if (status.rank == earlier.rank && status.end == RankEnd::none && status.heartbeat > earlier.heartbeat)
                throw UserError(concat(folder.root.string(), ": is still being run by process ", status.process, " on ",
                                       status.host, " (rank ", status.rank, ")"));
}

CheckpointReader open(const fs::path& path, const std::string& otherwise, const Communicator& world) {
    try {
        return CheckpointReader(path, world);
    } catch (const UserError& error) {
        throw UserError(error.what() + otherwise);
    }
}

// A word of a shell.
std::string word(const std::string& text) {
    if (text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%") ==
        std::string::npos)
        return text;
    std::string quoted = "'";
    for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return quoted + "'";
}

}  // namespace

ResumePoint find_resume_point(const RunOptions& asked, const Communicator& world) {
    if (asked.out.empty()) throw UserError("--resume: expected --out with the folder of the run to go on with");
    const RunFolder folder = run_folder_named(asked.out);
    Choice choice;
    judge_on_root(world, [&] {
        expect_not_running(folder);
        choice = choose(asked, folder);
    });
    const fs::path path = world.broadcast(choice.path.string(), 0, {"resume"});
    ResumePoint point{folder, open(path, world.broadcast(choice.otherwise, 0, {"resume"}), world), {}};
    apply_toml(point.checkpoint.header().config, path.string(), point.stored);
    return point;
}

void expect_same_run(const RunConfig& stored, const RunConfig& wanted) {
    RunConfig before = stored, now = wanted;
    const auto were = field_groups(before);
    const auto are = field_groups(now);
    for (std::size_t g = 0; g < are.size(); ++g)
        for (std::size_t f = 0; f < are[g].fields.size(); ++f) {
            const Field& was = were[g].fields[f];
            const Field& is = are[g].fields[f];
            if (is.lifetime == Lifetime::run && is.text() != was.text())
                throw UserError(concat(is.flag(), ": ", is.text(), ", but this run has ", was.text(),
                                       ", which a resume does not change"));
        }
}

bool is_finished(const RunFolder& folder, int step, int steps) {
    if (step != steps) return step > steps;
    std::ifstream file(folder.summary());
    const auto summary = nlohmann::json::parse(file, nullptr, false);
    return summary.is_object() && summary.contains("steps") && summary["steps"] == steps &&
           (!summary.contains("stopped_by") || summary["stopped_by"].is_null());
}

// The file first: without it its digest stands for nothing, without the digest it would be half a checkpoint.
void set_aside_newer(const RunFolder& folder, int step) {
    for (const auto& checkpoint : list_checkpoints(folder.checkpoints())) {
        if (checkpoint.step <= step) continue;
        const fs::path digest = digest_path(checkpoint.path);
        const std::string ending = set_aside(checkpoint.path).string().substr(checkpoint.path.string().size());
        std::error_code failed;
        if (!fs::exists(digest, failed)) continue;
        fs::rename(digest, digest.string() + ending, failed);
        if (failed) throw UserError(concat(digest.string(), ": cannot be set aside: ", failed.message()));
    }
}

std::string resume_command(const fs::path& run, int ranks) {
    const std::string launcher = started_by_srun() ? concat("srun -n ", ranks, " ")
                                 : ranks > 1       ? concat("mpirun -n ", ranks, " ")
                                                   : "";
    return concat(launcher, word(program_invocation_name), " train --resume --out ", word(run.string()));
}

}  // namespace expar::cli
