#include "expar/store/raw_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "expar/base/error.hpp"

namespace expar {
namespace {

constexpr const char* cannot_read = "cannot be read";
constexpr const char* cannot_write = "cannot be written";

[[noreturn]] void fail_at(const std::filesystem::path& path, const char* what) {
    throw UserError(concat(path.string(), ": ", what, ": ", std::strerror(errno)));
}

int open_or_fail(const std::filesystem::path& path, int flags, const char* what) {
    int descriptor = -1;
    do descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
    while (descriptor < 0 && errno == EINTR);
    if (descriptor < 0) fail_at(path, what);
    return descriptor;
}

// Calls move(offset, bytes left) until all bytes have moved; it returns how many did, as read and write do.
template <class Move>
bool move_all(std::size_t bytes, Move&& move) {
    for (std::size_t done = 0; done < bytes;) {
        const ssize_t moved = move(done, bytes - done);
        if (moved < 0 && errno == EINTR) continue;
        if (moved == 0) errno = 0;
        if (moved <= 0) return false;
        done += std::size_t(moved);
    }
    return true;
}

}  // namespace

RawFile RawFile::open(const std::filesystem::path& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) {
        if (errno == ENOENT) throw UserError(concat(path.string(), ": no such file"));
        fail_at(path, cannot_read);
    }
    // Before it is opened: that of a pipe waits for a writer.
    if (!S_ISREG(status.st_mode))
        throw UserError(concat(path.string(), S_ISDIR(status.st_mode) ? ": is a folder" : ": is no regular file",
                               ", expected a file"));
    return {open_or_fail(path, O_RDONLY, cannot_read), path};
}

RawFile RawFile::open_to_write(const std::filesystem::path& path) {
    return {open_or_fail(path, O_WRONLY, cannot_write), path};
}

RawFile RawFile::create(const std::filesystem::path& path) {
    return {open_or_fail(path, O_WRONLY | O_CREAT | O_TRUNC, cannot_write), path};
}

#ifdef MFD_CLOEXEC
std::optional<RawFile> RawFile::in_memory() {
    const int descriptor = ::memfd_create("expar", MFD_CLOEXEC);
    return descriptor >= 0 ? std::optional(RawFile(descriptor, "memory")) : std::nullopt;
}
#else
std::optional<RawFile> RawFile::in_memory() {
    return std::nullopt;
}
#endif

RawFile::RawFile(RawFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}

RawFile& RawFile::operator=(RawFile&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(path_, other.path_);
    return *this;
}

RawFile::~RawFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

void RawFile::fail(const char* what) const {
    fail_at(path_, what);
}

std::uint64_t RawFile::bytes() const {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) fail(cannot_read);
    return std::uint64_t(status.st_size);
}

void RawFile::read_at(std::uint64_t offset, std::span<std::byte> bytes) const {
    if (move_all(bytes.size(), [&](std::size_t done, std::size_t left) {
            return ::pread(descriptor_, bytes.data() + done, left, off_t(offset + done));
        }))
        return;
    if (errno != 0) fail(cannot_read);
    throw UserError(concat(path_.string(), ": ends before byte ", offset + bytes.size()));
}

void RawFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    if (!move_all(bytes.size(), [&](std::size_t done, std::size_t left) {
            return ::pwrite(descriptor_, bytes.data() + done, left, off_t(offset + done));
        }))
        fail(cannot_write);
}

void RawFile::append(std::span<const std::byte> bytes) {
    if (!move_all(bytes.size(),
                  [&](std::size_t done, std::size_t left) { return ::write(descriptor_, bytes.data() + done, left); }))
        fail(cannot_write);
}

void RawFile::copy_from(const RawFile& other) {
    const std::uint64_t size = other.bytes();
    if (::ftruncate(descriptor_, off_t(size)) != 0) fail(cannot_write);
    std::vector<std::byte> buffer(std::size_t{1} << 18);
    off_t end = 0;
    for (off_t begin = 0; (begin = ::lseek(other.descriptor_, end, SEEK_DATA)) >= 0;) {
        end = ::lseek(other.descriptor_, begin, SEEK_HOLE);
        if (end < 0) other.fail(cannot_read);
        while (begin < end) {
            const auto part = std::span(buffer).first(std::min<std::size_t>(buffer.size(), std::size_t(end - begin)));
            other.read_at(std::uint64_t(begin), part);
            write_at(std::uint64_t(begin), part);
            begin += off_t(part.size());
        }
    }
    if (errno != ENXIO) other.fail(cannot_read);  // which says that only a hole is left
}

void RawFile::reserve(std::uint64_t bytes) {
    const int error = reserve_space(descriptor_, 0, bytes);
    if (!is_lack_of_room(error)) return;
    errno = error;
    fail(cannot_write);
}

void RawFile::sync() {
    int result = -1;
    do result = ::fsync(descriptor_);
    while (result != 0 && errno == EINTR);
    if (result != 0) fail(cannot_write);
}

void RawFile::close() {
    const int descriptor = std::exchange(descriptor_, -1);
    if (descriptor >= 0 && ::close(descriptor) != 0 && errno != EINTR) fail(cannot_write);
}

#ifdef FALLOC_FL_KEEP_SIZE
int reserve_space(int descriptor, std::uint64_t begin, std::uint64_t bytes) {
    rlimit limit{};  // of what a process may write, which the system forgets here
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < begin + bytes) return EFBIG;
    return fallocate(descriptor, FALLOC_FL_KEEP_SIZE, off_t(begin), off_t(bytes)) == 0 ? 0 : errno;
}
#else
int reserve_space(int, std::uint64_t, std::uint64_t) {
    return ENOTSUP;
}
#endif

bool is_lack_of_room(int error) {
    return error == ENOSPC || error == EDQUOT || error == EFBIG || error == EIO;
}

void sync_folder(const std::filesystem::path& folder) {
    const std::filesystem::path path = folder.empty() ? "." : folder;
    const int descriptor = open_or_fail(path, O_RDONLY | O_DIRECTORY, cannot_write);
    const int result = ::fsync(descriptor);
    const int error = errno;
    ::close(descriptor);
    errno = error;
    if (result != 0 && error != EINVAL) fail_at(path, cannot_write);  // EINVAL: a file system that syncs no folders
}

}  // namespace expar
