#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
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

    /// A file without a name, for both, in memory, where nothing fails but memory; nothing where the system has none.
    [[nodiscard]] static std::optional<RawFile> in_memory();

    RawFile(RawFile&& other) noexcept;
    RawFile& operator=(RawFile&& other) noexcept;
    ~RawFile();

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    [[nodiscard]] int descriptor() const { return descriptor_; }
    [[nodiscard]] std::uint64_t bytes() const;
    /// Throws UserError when the file ends before.
    void read_at(std::uint64_t offset, std::span<std::byte> bytes) const;
    void write_at(std::uint64_t offset, std::span<const std::byte> bytes);
    /// Behind what was written before; also into what has no offsets, such as a pipe.
    void append(std::span<const std::byte> bytes);
    /// Takes the size and the content of another; where that is a hole, so is this when it was empty.
    void copy_from(const RawFile& other);
    /// Room on the disk for so many bytes, without changing the size. Throws UserError where there is not as much;
    /// where the system cannot reserve, nothing is lost.
    void reserve(std::uint64_t bytes);
    /// Blocks until the disk has it.
    void sync();
    void close();

private:
    RawFile(int descriptor, std::filesystem::path path) : descriptor_(descriptor), path_(std::move(path)) {}
    [[noreturn]] void fail(const char* what) const;

    int descriptor_ = -1;
    std::filesystem::path path_;
};

/// Room on the disk for the bytes from `begin`, without changing the size of the file; what errno says, 0 when there
/// is.
[[nodiscard]] int reserve_space(int descriptor, std::uint64_t begin, std::uint64_t bytes);
/// Whether that error means that there is no room, rather than that the system cannot reserve.
[[nodiscard]] bool is_lack_of_room(int error);

/// Blocks until the disk knows which files a folder holds. Throws UserError.
void sync_folder(const std::filesystem::path& folder);

}  // namespace expar
