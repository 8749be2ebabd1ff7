#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace expar {

/// A file as the system sees it: bytes at offsets.
///
/// Movable, not copyable; the destructor closes. Local. Whatever fails is a UserError of one line: the file's name, and
/// what the system says.
class RawFile {
public:
    /// A regular file, for reading.
    [[nodiscard]] static RawFile open(const std::filesystem::path& path);
    /// A file that is there, for writing into it.
    [[nodiscard]] static RawFile open_to_write(const std::filesystem::path& path);
    /// For writing: made when it is not there, emptied when it is a regular file.
    [[nodiscard]] static RawFile create(const std::filesystem::path& path);

    RawFile(RawFile&& other) noexcept;
    RawFile& operator=(RawFile&& other) noexcept;
    ~RawFile();

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    [[nodiscard]] std::uint64_t bytes() const;
    /// Throws UserError when the file ends before.
    void read_at(std::uint64_t offset, std::span<std::byte> bytes) const;
    void write_at(std::uint64_t offset, std::span<const std::byte> bytes);
    /// Behind what was written before; also into what has no offsets, such as a pipe.
    void append(std::span<const std::byte> bytes);
    /// Blocks until the disk has it.
    void sync();
    void close();

private:
    RawFile(int descriptor, std::filesystem::path path) : descriptor_(descriptor), path_(std::move(path)) {}
    [[noreturn]] void fail(const char* what) const;

    int descriptor_ = -1;
    std::filesystem::path path_;
};

/// Blocks until the disk knows which files a folder holds. Throws UserError.
void sync_folder(const std::filesystem::path& folder);

}  // namespace expar
