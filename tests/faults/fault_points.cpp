// A library for LD_PRELOAD that stands between a program and its files. It counts the calls which change files under a
// folder, the fault points, and at the one that is asked for it kills, tears a write in two or reports an error.
//
// EXPAR_FAULT_FOLDER: absolute path without symbolic links; calls on files elsewhere are none of our business.
//
// EXPAR_FAULT_FROM: count from the first call on a file whose path contains this; absent: from the first of all.
//
// EXPAR_FAULT_LOG: a line per fault point is added to this file: rank, nanoseconds, number, call, bytes, path; tabs.
//
// EXPAR_FAULT_PIDS: every rank adds its process id to this file as it starts.
//
// EXPAR_FAULT_RANK: the rank on which something happens.
//
// EXPAR_FAULT_AT: the number of its fault point at which it does, from 1; absent: never.
//
// EXPAR_FAULT_ACTION: what happens there:
//
//   kill: this rank dies before the call (SIGKILL)
//
//   torn: it dies after the first half of a write
//
//   kill-all, torn-all: and all other ranks with it
//
//   EIO: the call fails
//
//   ENOSPC: the call fails, and so does whatever needs room after it
//
// Calls that libc makes from within itself are not seen: fopen's own open is, and libstdc++'s streams write by write().
// A file that is mapped is changed unseen.
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

namespace {

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

struct Orders {
    std::string folder = environment("EXPAR_FAULT_FOLDER");
    std::string from = environment("EXPAR_FAULT_FROM");
    std::string log = environment("EXPAR_FAULT_LOG");
    std::string pids = environment("EXPAR_FAULT_PIDS");
    std::string action = environment("EXPAR_FAULT_ACTION");
    int at = std::atoi(environment("EXPAR_FAULT_AT").c_str());
    int rank = std::atoi(environment("OMPI_COMM_WORLD_RANK").c_str());
    bool on_this_rank = std::atoi(environment("EXPAR_FAULT_RANK").c_str()) == rank;
};

// Never destroyed: files are closed after static objects are gone.
const Orders& orders() {
    static const Orders* const given = new Orders;
    return *given;
}

template <class Function>
Function* next(const char* name) {
    return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

// By the system call itself, which nobody counts.
void append(const std::string& file, const std::string& line) {
    const long descriptor =
        syscall(SYS_openat, AT_FDCWD, file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    syscall(SYS_write, descriptor, line.data(), line.size());
    syscall(SYS_close, descriptor);
}

[[gnu::constructor]] void register_process() {
    if (!orders().pids.empty() && std::getenv("OMPI_COMM_WORLD_RANK"))
        append(orders().pids, std::to_string(getpid()) + "\n");
}

pid_t parent_of(pid_t process) {
    std::ifstream file("/proc/" + std::to_string(process) + "/stat");
    std::string stat;
    std::getline(file, stat);
    const auto name_end = stat.rfind(") ");  // then the state and the parent
    return name_end == std::string::npos ? 0 : std::atoi(stat.c_str() + name_end + 4);
}

[[noreturn]] void die(bool all) {
    std::ifstream file(all ? orders().pids : "");
    // A rank of this run has our parent; a process that got the number of one which is gone has not.
    for (pid_t process = 0; file >> process;)
        if (process != getpid() && parent_of(process) == getppid()) kill(process, SIGKILL);
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

std::string path_of(int descriptor) {
    char text[4096];
    const auto length = readlink(("/proc/self/fd/" + std::to_string(descriptor)).c_str(), text, sizeof text);
    return length > 0 ? std::string(text, std::size_t(length)) : "";
}

std::string path_of(int folder, const char* path) {
    if (path[0] == '/') return path;
    if (folder != AT_FDCWD) return path_of(folder) + "/" + path;
    char here[4096];
    return getcwd(here, sizeof here) ? std::string(here) + "/" + path : path;
}

bool is_in_folder(const std::string& path) {
    const std::string& folder = orders().folder;
    return !folder.empty() && path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/');
}

// 0, or the number of this fault point.
int number_of(const std::string& path) {
    static std::atomic<int> count = 0;
    static std::atomic<bool> counting = orders().from.empty();
    if (!is_in_folder(path)) return 0;
    if (path.find(orders().from) != std::string::npos) counting = true;
    return counting ? ++count : 0;
}

void log_point(const char* call, int number, std::size_t bytes, const std::string& path) {
    if (orders().log.empty()) return;
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    append(orders().log, std::to_string(orders().rank) + "\t" +
                             std::to_string(now.tv_sec * 1'000'000'000 + now.tv_nsec) + "\t" + std::to_string(number) +
                             "\t" + call + "\t" + std::to_string(bytes) + "\t" + path + "\n");
}

enum class Need { nothing, room };

// One call of the program, at its place in the count.
class FaultPoint {
public:
    FaultPoint(const char* call, const std::string& path, Need need = Need::nothing, std::size_t bytes = 0) {
        const int number = number_of(path);
        if (number == 0) return;
        log_point(call, number, bytes, path);
        static std::atomic<bool> full = false;
        const std::string& action = orders().action;
        const bool chosen = orders().on_this_rank && number == orders().at;
        if (chosen && action == "ENOSPC") full = true;
        if (chosen && (action == "kill" || action == "kill-all")) die(action == "kill-all");
        torn_ = chosen && (action == "torn" || action == "torn-all");
        if (chosen && action == "EIO") error_ = EIO;
        if (full && (chosen || need == Need::room)) error_ = ENOSPC;
    }

    // Of a write: its first half, and the end.
    template <class Write>
    void tear(Write&& first_half) const {
        if (!torn_) return;
        first_half();
        die(orders().action == "torn-all");
    }

    int error() const { return error_; }

    // -1 and errno when the call is to fail; otherwise what it returns.
    template <class Call>
    auto pass(Call&& call) const -> decltype(call()) {
        if (error_ == 0) return call();
        errno = error_;
        return -1;
    }

private:
    int error_ = 0;
    bool torn_ = false;
};

bool changes(int flags) {
    return (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT) != 0;
}

template <class Open>
int opened(const char* call, int flags, const std::string& path, Open&& open_it) {
    if (!changes(flags)) return open_it();
    return FaultPoint(call, path, (flags & O_CREAT) != 0 ? Need::room : Need::nothing).pass(open_it);
}

template <class Write>  // write(bytes)
ssize_t written(const char* call, int descriptor, std::size_t bytes, Write&& write_them) {
    const FaultPoint point(call, path_of(descriptor), Need::room, bytes);
    point.tear([&] { write_them(bytes / 2); });
    return point.pass([&] { return write_them(bytes); });
}

template <class Write>  // write(vectors, count)
ssize_t gathered(const char* call, int descriptor, std::pair<const iovec*, int> pieces, Write&& write_them) {
    std::size_t bytes = 0;
    for (int i = 0; i < pieces.second; ++i) bytes += pieces.first[i].iov_len;
    return written(call, descriptor, bytes, [&](std::size_t wanted) {
        std::vector<iovec> part(pieces.first, pieces.first + pieces.second);
        for (auto& piece : part) wanted -= piece.iov_len = std::min(piece.iov_len, wanted);
        return write_them(part.data(), pieces.second);
    });
}

mode_t mode_of(int flags, va_list arguments) {
    return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arguments, mode_t) : 0;
}

FILE* stream(const char* call, const char* path, const char* mode) {
    const auto real = next<FILE*(const char*, const char*)>(call);
    if (std::strcspn(mode, "wa+") == std::strlen(mode)) return real(path, mode);
    const FaultPoint point(call, path_of(AT_FDCWD, path), Need::room);
    if (point.error() == 0) return real(path, mode);
    errno = point.error();
    return nullptr;
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    static const auto real = next<int(const char*, int, ...)>("open");
    return opened("open", flags, path_of(AT_FDCWD, path), [&] { return real(path, flags, mode); });
}

int open64(const char* path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    static const auto real = next<int(const char*, int, ...)>("open64");
    return opened("open64", flags, path_of(AT_FDCWD, path), [&] { return real(path, flags, mode); });
}

int openat(int folder, const char* path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    static const auto real = next<int(int, const char*, int, ...)>("openat");
    return opened("openat", flags, path_of(folder, path), [&] { return real(folder, path, flags, mode); });
}

int creat(const char* path, mode_t mode) {
    return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

FILE* fopen(const char* path, const char* mode) {
    return stream("fopen", path, mode);
}

FILE* fopen64(const char* path, const char* mode) {
    return stream("fopen64", path, mode);
}

int mkdir(const char* path, mode_t mode) noexcept {
    static const auto real = next<int(const char*, mode_t)>("mkdir");
    return FaultPoint("mkdir", path_of(AT_FDCWD, path), Need::room).pass([&] { return real(path, mode); });
}

ssize_t write(int descriptor, const void* data, size_t bytes) {
    static const auto real = next<ssize_t(int, const void*, size_t)>("write");
    return written("write", descriptor, bytes, [&](size_t wanted) { return real(descriptor, data, wanted); });
}

ssize_t pwrite(int descriptor, const void* data, size_t bytes, off_t offset) {
    static const auto real = next<ssize_t(int, const void*, size_t, off_t)>("pwrite");
    return written("pwrite", descriptor, bytes, [&](size_t wanted) { return real(descriptor, data, wanted, offset); });
}

ssize_t pwrite64(int descriptor, const void* data, size_t bytes, off64_t offset) {
    static const auto real = next<ssize_t(int, const void*, size_t, off64_t)>("pwrite64");
    return written("pwrite64", descriptor, bytes,
                   [&](size_t wanted) { return real(descriptor, data, wanted, offset); });
}

ssize_t writev(int descriptor, const iovec* pieces, int count) {
    static const auto real = next<ssize_t(int, const iovec*, int)>("writev");
    return gathered("writev", descriptor, {pieces, count},
                    [&](const iovec* part, int parts) { return real(descriptor, part, parts); });
}

ssize_t pwritev(int descriptor, const iovec* pieces, int count, off_t offset) {
    static const auto real = next<ssize_t(int, const iovec*, int, off_t)>("pwritev");
    return gathered("pwritev", descriptor, {pieces, count},
                    [&](const iovec* part, int parts) { return real(descriptor, part, parts, offset); });
}

int fsync(int descriptor) {
    static const auto real = next<int(int)>("fsync");
    return FaultPoint("fsync", path_of(descriptor)).pass([&] { return real(descriptor); });
}

int fdatasync(int descriptor) {
    static const auto real = next<int(int)>("fdatasync");
    return FaultPoint("fdatasync", path_of(descriptor)).pass([&] { return real(descriptor); });
}

int ftruncate(int descriptor, off_t bytes) noexcept {
    static const auto real = next<int(int, off_t)>("ftruncate");
    return FaultPoint("ftruncate", path_of(descriptor)).pass([&] { return real(descriptor, bytes); });
}

int ftruncate64(int descriptor, off64_t bytes) noexcept {
    static const auto real = next<int(int, off64_t)>("ftruncate64");
    return FaultPoint("ftruncate64", path_of(descriptor)).pass([&] { return real(descriptor, bytes); });
}

int truncate(const char* path, off_t bytes) noexcept {
    static const auto real = next<int(const char*, off_t)>("truncate");
    return FaultPoint("truncate", path_of(AT_FDCWD, path)).pass([&] { return real(path, bytes); });
}

int truncate64(const char* path, off64_t bytes) noexcept {
    static const auto real = next<int(const char*, off64_t)>("truncate64");
    return FaultPoint("truncate64", path_of(AT_FDCWD, path)).pass([&] { return real(path, bytes); });
}

int fallocate(int descriptor, int mode, off_t offset, off_t bytes) {
    static const auto real = next<int(int, int, off_t, off_t)>("fallocate");
    const FaultPoint point("fallocate", path_of(descriptor), Need::room, std::size_t(bytes));
    return point.pass([&] { return real(descriptor, mode, offset, bytes); });
}

int fallocate64(int descriptor, int mode, off64_t offset, off64_t bytes) {
    static const auto real = next<int(int, int, off64_t, off64_t)>("fallocate64");
    const FaultPoint point("fallocate64", path_of(descriptor), Need::room, std::size_t(bytes));
    return point.pass([&] { return real(descriptor, mode, offset, bytes); });
}

// These two return the error.
int posix_fallocate(int descriptor, off_t offset, off_t bytes) {
    static const auto real = next<int(int, off_t, off_t)>("posix_fallocate");
    const FaultPoint point("posix_fallocate", path_of(descriptor), Need::room, std::size_t(bytes));
    return point.error() != 0 ? point.error() : real(descriptor, offset, bytes);
}

int posix_fallocate64(int descriptor, off64_t offset, off64_t bytes) {
    static const auto real = next<int(int, off64_t, off64_t)>("posix_fallocate64");
    const FaultPoint point("posix_fallocate64", path_of(descriptor), Need::room, std::size_t(bytes));
    return point.error() != 0 ? point.error() : real(descriptor, offset, bytes);
}

int rename(const char* from, const char* to) noexcept {
    static const auto real = next<int(const char*, const char*)>("rename");
    return FaultPoint("rename", path_of(AT_FDCWD, to)).pass([&] { return real(from, to); });
}

int renameat(int from_folder, const char* from, int to_folder, const char* to) noexcept {
    static const auto real = next<int(int, const char*, int, const char*)>("renameat");
    return FaultPoint("renameat", path_of(to_folder, to)).pass([&] { return real(from_folder, from, to_folder, to); });
}

int unlink(const char* path) noexcept {
    static const auto real = next<int(const char*)>("unlink");
    return FaultPoint("unlink", path_of(AT_FDCWD, path)).pass([&] { return real(path); });
}

int remove(const char* path) noexcept {
    static const auto real = next<int(const char*)>("remove");
    return FaultPoint("remove", path_of(AT_FDCWD, path)).pass([&] { return real(path); });
}

// The descriptor is gone even when close reports an error.
int close(int descriptor) {
    static const auto real = next<int(int)>("close");
    const int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) return real(descriptor);
    const FaultPoint point("close", path_of(descriptor));
    const int closed = real(descriptor);
    return point.pass([&] { return closed; });
}

}  // extern "C"
