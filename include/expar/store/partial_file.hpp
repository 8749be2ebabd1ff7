#pragma once

#include <filesystem>
#include <string_view>

namespace expar {

/// A file that appears whole or not at all: it is written under another name, which becomes its own when all of it is
/// on disk. Local; throws UserError.
///
/// What is there and no regular file, such as a pipe, has no other name: it is written as it comes.
class PartialFile {
public:
    /// Makes an empty file of the other name, and the folders on the way to it.
    explicit PartialFile(std::filesystem::path path);
    PartialFile(const PartialFile&) = delete;
    PartialFile& operator=(const PartialFile&) = delete;
    /// Removes what was not committed.
    ~PartialFile();

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    /// Where to write: the name and ".partial".
    [[nodiscard]] const std::filesystem::path& temporary() const { return temporary_; }
    /// Once it is written: blocks until the disk has it. What can still fail then is little.
    void sync();
    /// Once it is written: syncs the file unless sync() has, renames it, syncs the folder.
    void commit();
    /// Once it is written: renames it, without a sync. For what is replaced again soon.
    void commit_unsynced();

private:
    std::filesystem::path path_;
    std::filesystem::path temporary_;
    bool pending_ = false;  // a temporary file is there
    bool synced_ = false;
};

/// Whether a file must outlive a loss of power, which costs a sync.
enum class Durable { yes, no };

/// Gives a file this content, whole or not at all.
void replace_file(const std::filesystem::path& path, std::string_view text, Durable durable = Durable::yes);

/// Throws the UserError that replace_file would, before the work whose result is to be written.
void expect_writable(const std::filesystem::path& path);

}  // namespace expar
