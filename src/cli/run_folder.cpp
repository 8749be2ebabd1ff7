#include "run_folder.hpp"

#include <algorithm>
#include <ctime>
#include <fstream>

#include "expar/base/error.hpp"
#include "expar/comm/verdict.hpp"

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

// Where a file's text is gathered until it is whole. What is no file, such as a pipe, is written as it comes.
fs::path partial_of(const fs::path& path) {
    std::error_code ignored;
    const fs::file_status status = fs::symlink_status(path, ignored);
    return fs::exists(status) && !fs::is_regular_file(status) ? path : fs::path(path.string() + ".partial");
}

}  // namespace

std::string step_name(int step) {
    std::string number = std::to_string(step);
    number.insert(0, std::size_t(std::max(0, 6 - int(number.size()))), '0');
    return "step-" + number;
}

fs::path RunFolder::checkpoint(int step) const {
    return root / "checkpoints" / (step_name(step) + ".h5");
}

fs::path RunFolder::batches(int earlier_steps) const {
    if (earlier_steps == 0) return root / "batches.h5";
    return root / concat("batches-from-", step_name(earlier_steps + 1).substr(5), ".h5");
}

RunFolder create_run_folder(const std::string& name, const Communicator& world) {
    std::string root = name.empty() ? "runs/" + date_and_time() : name;
    while (root.size() > 1 && root.back() == '/') root.pop_back();
    judge_on_root(world, [&] { make_new(root); });
    return {world.broadcast(root, 0, {"run folder"})};
}

fs::path find_checkpoint(const fs::path& run) {
    std::error_code ignored;
    if (!fs::exists(run, ignored)) throw UserError(concat(run.string(), ": no such run or checkpoint"));
    if (!fs::is_directory(run, ignored)) return run;
    fs::path last;
    for (fs::directory_iterator entry(run / "checkpoints", ignored), end; !ignored && entry != end;
         entry.increment(ignored)) {
        const auto name = entry->path().filename().string();
        if (!name.starts_with("step-") || !name.ends_with(".h5")) continue;
        // Longer is later, when steps outgrow six digits.
        const auto order = [](const fs::path& path) { return std::pair(path.string().size(), path.string()); };
        if (last.empty() || order(last) < order(entry->path())) last = entry->path();
    }
    if (last.empty()) throw UserError(concat(run.string(), ": holds no checkpoints/step-*.h5"));
    return last;
}

void write_file(const fs::path& path, const std::string& text) {
    std::error_code failed;
    if (path.has_parent_path()) fs::create_directories(path.parent_path(), failed);
    const fs::path partial = partial_of(path);
    std::ofstream file(partial, std::ios::binary);
    file << text;
    file.close();
    if (file && partial != path) fs::rename(partial, path, failed);
    if (!file || failed) throw UserError(concat(path.string(), ": cannot be written"));
}

void expect_writable(const fs::path& path) {
    std::error_code failed;
    if (path.has_parent_path()) fs::create_directories(path.parent_path(), failed);
    const fs::path partial = partial_of(path);
    const bool fits = partial == path ? !fs::is_directory(path, failed) : std::ofstream(partial).is_open();
    if (partial != path) fs::remove(partial, failed);
    if (!fits) throw UserError(concat(path.string(), ": cannot be written"));
}

}  // namespace expar::cli
