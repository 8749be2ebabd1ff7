#include "expar/store/checkpoint_folder.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "expar/base/error.hpp"
#include "expar/base/read_file.hpp"
#include "expar/store/digest.hpp"
#include "expar/store/raw_file.hpp"

namespace expar {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view prefix = "step-";
constexpr std::string_view ending = ".h5";

std::optional<int> step_of(std::string_view name) {
    if (!name.starts_with(prefix) || !name.ends_with(ending)) return std::nullopt;
    if (name.size() <= prefix.size() + ending.size()) return std::nullopt;
    name = name.substr(prefix.size(), name.size() - prefix.size() - ending.size());
    int step = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
    const bool is_step = error == std::errc() && end == name.data() + name.size() && step >= 0;
    return is_step && name.front() != '-' ? std::optional(step) : std::nullopt;
}

std::vector<fs::path> files_of(const fs::path& folder) {
    std::vector<fs::path> files;
    std::error_code failed;
    for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end; entry.increment(failed))
        files.push_back(entry->path());
    if (failed && failed != std::errc::no_such_file_or_directory)
        throw UserError(concat(folder.string(), ": cannot be listed: ", failed.message()));
    return files;
}

void remove_file(const fs::path& path) {
    std::error_code failed;
    fs::remove(path, failed);
    if (failed) throw UserError(concat(path.string(), ": cannot be removed: ", failed.message()));
}

void rename_file(const fs::path& from, const fs::path& to) {
    std::error_code failed;
    fs::rename(from, to, failed);
    if (failed) throw UserError(concat(to.string(), ": cannot be written: ", failed.message()));
}

// Whether an interrupted save may have left it.
bool is_leftover(const std::string& name) {
    constexpr std::string_view partial = ".partial", digest = ".digest";
    std::string_view rest = name;
    if (!rest.ends_with(partial)) return false;
    rest.remove_suffix(partial.size());
    if (rest.ends_with(digest)) rest.remove_suffix(digest.size());
    return step_of(rest).has_value();
}

// The checkpoint whose digest a file is that has not got its name.
std::optional<fs::path> awaited_checkpoint(const fs::path& file) {
    constexpr std::string_view pending = ".digest.partial";
    std::string name = file.filename().string();
    if (!name.ends_with(pending)) return std::nullopt;
    name.resize(name.size() - pending.size());
    return step_of(name) ? std::optional(file.parent_path() / name) : std::nullopt;
}

bool is_whole_digest(const fs::path& path) {
    try {
        (void)RawFile::open(path);  // a pipe would wait for a writer
        (void)parse_digest(read_file(path, most_digest_bytes), path.string());
        return true;
    } catch (const UserError&) {
        return false;
    }
}

}  // namespace

std::string step_name(int step) {
    std::string number = std::to_string(step);
    number.insert(0, std::size_t(std::max(0, 6 - int(number.size()))), '0');
    return concat(prefix, number);
}

fs::path checkpoint_path(const fs::path& folder, int step) {
    return folder / concat(step_name(step), ending);
}

std::vector<ListedCheckpoint> list_checkpoints(const fs::path& folder) {
    std::vector<ListedCheckpoint> found;
    std::error_code ignored;
    for (const auto& file : files_of(folder))
        if (const auto step = step_of(file.filename().string()))
            found.push_back({*step, file, fs::exists(digest_path(file), ignored)});
    std::ranges::sort(found, {}, [](const auto& entry) { return std::pair(entry.step, entry.path); });
    return found;
}

void finish_interrupted_saves(const fs::path& folder) {
    for (const fs::path& pending : files_of(folder)) {
        const auto path = awaited_checkpoint(pending);
        if (!path) continue;
        std::error_code failed;
        const fs::path digest = digest_path(*path), partial = path->string() + ".partial";
        const bool renames_both = fs::exists(partial, failed);
        if (fs::exists(digest, failed) || !(renames_both || fs::exists(*path, failed)) || !is_whole_digest(pending))
            continue;
        if (renames_both) rename_file(partial, *path);  // first: what has that name may be an earlier checkpoint
        rename_file(pending, digest);
        sync_folder(folder);
    }
}

void prune_checkpoints(const fs::path& folder, int keep) {
    for (const auto& file : files_of(folder))
        if (is_leftover(file.filename().string())) remove_file(file);
    if (keep <= 0) return;
    const auto found = list_checkpoints(folder);
    auto oldest_kept = found.end();
    for (int kept = 0; kept < keep;) {
        if (oldest_kept == found.begin()) return;
        --oldest_kept;
        kept += oldest_kept->has_digest;
    }
    for (auto entry = found.begin(); entry != oldest_kept; ++entry) {
        remove_file(digest_path(entry->path));  // first: what is half removed is not complete
        remove_file(entry->path);
    }
}

}  // namespace expar
