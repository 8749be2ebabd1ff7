#include "expar/store/isolated.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>
#include <optional>

#include "expar/base/error.hpp"
#include "expar/store/hdf5_file.hpp"

// There under AddressSanitizer alone.
extern "C" [[gnu::weak]] int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void*,
                                                                                           std::size_t),
                                                                       void (*free_hook)(const volatile void*));

namespace expar {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int out_of_memory = 3;  // the exit code that says so

// What the child sends: this, then that many bytes. Whether it came whole says whether the child went well.
struct Head {
    std::uint64_t refused = 0;  // the bytes are a UserError's line
    std::uint64_t bytes = 0;
};

class Descriptor {
public:
    explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() { close(); }
    void close() {
        if (descriptor_ >= 0) ::close(descriptor_);
        descriptor_ = -1;
    }
    operator int() const { return descriptor_; }  // NOLINT: it stands for the number

private:
    int descriptor_;
};

// In the child.

// An allocator that AddressSanitizer replaced does not survive a refusal of the system, so it is counted from within.
std::size_t sanitizer_bytes_left = 0;

void count_allocation(const volatile void*, std::size_t bytes) {
    if (bytes > sanitizer_bytes_left) ::_exit(out_of_memory);
    sanitizer_bytes_left -= bytes;
}

void ignore_release(const volatile void*) {}

// Of writable memory, which is what counts: under AddressSanitizer, terabytes of addresses mean nothing.
void limit_memory(std::size_t bytes) {
    if (__sanitizer_install_malloc_and_free_hooks != nullptr) {
        sanitizer_bytes_left = bytes;
        __sanitizer_install_malloc_and_free_hooks(count_allocation, ignore_release);
        return;
    }
    std::array<std::uint64_t, 6> pages{};  // the sixth of /proc/self/statm is data and stack
    std::ifstream statm("/proc/self/statm");
    for (auto& count : pages) statm >> count;
    if (!statm) return;
    const rlim_t limit = pages.back() * std::uint64_t(::sysconf(_SC_PAGESIZE)) + bytes;
    const rlimit memory{limit, limit};
    ::setrlimit(RLIMIT_DATA, &memory);
}

// A crash ends the child and nothing else: no stack trace of MPI's or a sanitizer's handlers, no core file, no words.
void fall_silent() {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
    // What asks the whole group of processes to stop is for the parent to answer.
    for (const int number : {SIGUSR1, SIGTERM, SIGINT, SIGHUP}) ::signal(number, SIG_IGN);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    const int nowhere = ::open("/dev/null", O_RDWR);
    for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(nowhere, standard);
}

void send_all(int pipe, const void* data, std::size_t bytes) {
    for (const char* at = static_cast<const char*>(data); bytes > 0;) {
        const ssize_t sent = ::write(pipe, at, bytes);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) ::_exit(1);
        at += sent;
        bytes -= std::size_t(sent);
    }
}

[[noreturn]] void run_child(int pipe, const fs::path& path, const IsolationLimits& limits,
                            const std::function<std::string()>& work) {
    fall_silent();
    const rlim_t seconds = rlim_t(limits.seconds) + 1;
    const rlimit processor{seconds, seconds};
    ::setrlimit(RLIMIT_CPU, &processor);
    limit_memory(limits.memory_bytes);
    Head head;
    std::string bytes;
    try {
        bytes = work();
    } catch (const UserError& error) {
        head.refused = 1;
        bytes = error.what();
    } catch (const std::bad_alloc&) {
        ::_exit(out_of_memory);
    } catch (const std::exception& error) {
        head.refused = 1;
        bytes = concat(path.string(), ": a damaged HDF5 file: ", error.what());
    } catch (...) {
        ::_exit(1);
    }
    head.bytes = bytes.size();
    send_all(pipe, &head, sizeof head);
    send_all(pipe, bytes.data(), bytes.size());
    ::_exit(0);
}

// In the parent.

// The child, which is gone and collected at the end.
class Child {
public:
    explicit Child(pid_t id) : id_(id) {}
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() {
        if (id_ < 0) return;
        ::kill(id_, SIGKILL);
        (void)wait();
    }
    // What waitpid says; nothing when somebody else has collected it.
    std::optional<int> wait() {
        int status = 0;
        pid_t found = -1;
        do found = ::waitpid(id_, &status, 0);
        while (found < 0 && errno == EINTR);
        id_ = -1;
        return found < 0 ? std::nullopt : std::optional(status);
    }

private:
    pid_t id_;
};

enum class Arrival { ended, late, too_much };

// Reads until the child closes its end.
Arrival receive(int pipe, const IsolationLimits& limits, std::string& received) {
    const auto deadline =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(limits.seconds));
    std::array<char, 1 << 16> buffer;
    for (;;) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
        if (left <= 0) return Arrival::late;
        pollfd ready{pipe, POLLIN, 0};
        if (::poll(&ready, 1, int(std::min<long long>(left, 1000))) <= 0) continue;
        const ssize_t count = ::read(pipe, buffer.data(), buffer.size());
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return Arrival::ended;
        if (received.size() + std::size_t(count) > limits.memory_bytes + sizeof(Head)) return Arrival::too_much;
        received.append(buffer.data(), std::size_t(count));
    }
}

std::string took_too_long(const IsolationLimits& limits) {
    return concat("its reader took more than ", limits.seconds, " s");
}

std::string asked_for_too_much(const IsolationLimits& limits) {
    return concat("its reader asked for more than ", limits.memory_bytes >> 20, " MiB");
}

std::string cause_of(std::optional<int> status, const IsolationLimits& limits) {
    if (!status) return "its reader was ended";
    if (WIFSIGNALED(*status) && WTERMSIG(*status) == SIGXCPU) return took_too_long(limits);
    if (WIFSIGNALED(*status))
        return concat("its reader was ended by signal ", WTERMSIG(*status), " (", ::strsignal(WTERMSIG(*status)), ")");
    if (WEXITSTATUS(*status) == out_of_memory) return asked_for_too_much(limits);
    return concat("its reader ended with code ", WEXITSTATUS(*status));
}

}  // namespace

IsolationLimits limits_for(const fs::path& path) {
    std::error_code unknown;
    const auto bytes = fs::file_size(path, unknown);
    IsolationLimits limits;
    if (unknown) return limits;
    limits.seconds += double(bytes) / 1e7;
    limits.memory_bytes += 16 * std::size_t(bytes);  // the values in float64, packed, and what grows by doubling
    return limits;
}

std::string isolated(const fs::path& path, const IsolationLimits& limits, const std::function<std::string()>& work) {
    (void)hdf5_library();  // begins here: a parallel HDF5 does so with MPI calls
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw UserError(concat(path.string(), ": no pipe: ", std::strerror(errno)));
    const Descriptor read_end(ends[0]);
    Descriptor write_end(ends[1]);
    const pid_t id = ::fork();
    if (id < 0) throw UserError(concat(path.string(), ": no process to read it in: ", std::strerror(errno)));
    if (id == 0) run_child(write_end, path, limits, work);
    Child child(id);
    write_end.close();

    const auto refuse = [&path](const std::string& cause) {
        throw UserError(concat(path.string(), ": a damaged HDF5 file: ", cause));
    };
    std::string received;
    const Arrival arrival = receive(read_end, limits, received);
    if (arrival == Arrival::late) refuse(took_too_long(limits));
    if (arrival == Arrival::too_much) refuse(asked_for_too_much(limits));
    Head head;
    if (received.size() >= sizeof head) std::memcpy(&head, received.data(), sizeof head);
    const bool whole = received.size() >= sizeof head && received.size() - sizeof head == head.bytes;
    const auto status = child.wait();
    if (!whole) refuse(cause_of(status, limits));
    received.erase(0, sizeof head);
    if (head.refused != 0) throw UserError(received);
    return received;
}

}  // namespace expar
