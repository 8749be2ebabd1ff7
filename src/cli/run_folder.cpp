#include "run_folder.hpp"

#include <ctime>

#include "expar/base/error.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/checkpoint_folder.hpp"

namespace expar::cli {
namespace {

namespace fs = std::filesystem;

std::string date_and_time() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    localtime_r(&now, &parts);
    char text[32];
    std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", &parts);
    return text;
}

// Throws when the folder is there: only who makes it owns it.
void make_new(const fs::path& folder) {
    std::error_code failed;
    if (folder.has_parent_path()) fs::create_directories(folder.parent_path(), failed);
    if (!failed && !fs::create_directory(folder, failed) && !failed)
        throw UserError(
            concat(folder.string(), ": exists already; a run is never overwritten: give another --out, or --resume"));
    if (failed) throw UserError(concat(folder.string(), ": cannot be made: ", failed.message()));
}

}  // namespace

fs::path RunFolder::checkpoint(int step) const {
    return checkpoint_path(checkpoints(), step);
}

fs::path RunFolder::batches(int earlier_steps) const {
    if (earlier_steps == 0) return root / "batches.h5";
    return root / concat("batches-from-", step_name(earlier_steps + 1).substr(5), ".h5");
}

RunFolder run_folder_named(std::string name) {
    while (name.size() > 1 && name.back() == '/') name.pop_back();
    return {name};
}

RunFolder create_run_folder(const std::string& name, const Communicator& world) {
    const std::string root = run_folder_named(name.empty() ? "runs/" + date_and_time() : name).root.string();
    judge_on_root(world, [&] { make_new(root); });
    return {world.broadcast(root, 0, {"run folder"})};
}

fs::path find_checkpoint(const fs::path& run) {
    std::error_code ignored;
    if (!fs::exists(run, ignored)) throw UserError(concat(run.string(), ": no such run or checkpoint"));
    if (!fs::is_directory(run, ignored)) return run;
    const auto found = list_checkpoints(RunFolder{run}.checkpoints());
    if (found.empty()) throw UserError(concat(run.string(), ": holds no checkpoints/step-*.h5"));
    return found.back().path;
}

}  // namespace expar::cli
