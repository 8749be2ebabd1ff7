#include "expar/store/partial_file.hpp"

#include <utility>

#include "expar/base/error.hpp"
#include "expar/store/raw_file.hpp"

namespace expar {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, const std::error_code& cause) {
    throw UserError(concat(path.string(), ": cannot be written: ", cause.message()));
}

}  // namespace

PartialFile::PartialFile(fs::path path) : path_(std::move(path)), temporary_(path_) {
    std::error_code failed;
    const fs::file_status status = fs::symlink_status(path_, failed);
    if (fs::is_directory(status)) fail(path_, std::make_error_code(std::errc::is_a_directory));
    if (fs::exists(status) && !fs::is_regular_file(status)) return;
    failed.clear();
    if (path_.has_parent_path()) fs::create_directories(path_.parent_path(), failed);
    if (failed) fail(path_, failed);
    temporary_ += ".partial";
    RawFile::create(temporary_).close();
    pending_ = true;
}

PartialFile::~PartialFile() {
    std::error_code ignored;
    if (pending_) fs::remove(temporary_, ignored);
}

void PartialFile::sync() {
    if (pending_ && !synced_) RawFile::open_to_write(temporary_).sync();
    synced_ = true;
}

void PartialFile::commit() {
    if (!pending_) return;
    sync();
    commit_unsynced();
    sync_folder(path_.parent_path());
}

void PartialFile::commit_unsynced() {
    if (!pending_) return;
    std::error_code failed;
    fs::rename(temporary_, path_, failed);
    if (failed) fail(path_, failed);
    pending_ = false;
}

void replace_file(const fs::path& path, std::string_view text, Durable durable) {
    PartialFile partial(path);
    RawFile file = RawFile::create(partial.temporary());
    file.append(std::as_bytes(std::span(text)));
    file.close();
    durable == Durable::yes ? partial.commit() : partial.commit_unsynced();
}

void expect_writable(const fs::path& path) {
    const PartialFile trial(path);
}

}  // namespace expar
