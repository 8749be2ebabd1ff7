#include "expar/comm/window.hpp"

#include <sys/mman.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <exception>
#include <limits>
#include <numeric>
#include <utility>

namespace expar {
namespace {

constexpr std::size_t alignment = 64;
constexpr Occasion occasion{"window"};

// What MPI on Linux takes such memory from; unlimited where there is no such folder.
double free_bytes() {
    struct statvfs folder {};
    if (::statvfs("/dev/shm", &folder) != 0) return std::numeric_limits<double>::infinity();
    return double(folder.f_bavail) * double(folder.f_frsize);
}

// All ranks judge the same numbers.
void expect_room(const Communicator& node, std::span<const double> bytes_of) {
    const double wanted = std::accumulate(bytes_of.begin(), bytes_of.end(), 0.0);
    double lacking = wanted - free_bytes();
    node.max(std::span(&lacking, 1), occasion);
    if (lacking > 0)
        throw UserError(concat("window: ", std::int64_t(wanted), " bytes of memory shared by the ranks of a node, ",
                               std::int64_t(wanted - lacking), " are free in /dev/shm"));
}

// One group of ranks that share memory, or an error on all of them.
void expect_one_node(const Communicator& node) {
    MPI_Comm sharing = MPI_COMM_NULL;
    int size = 0;
    {
        const StuckCallWatch watch(*node.policy(), occasion, node.world_rank(node.rank()), "MPI_Comm_split_type");
        check_mpi(MPI_Comm_split_type(node.mpi(), MPI_COMM_TYPE_SHARED, node.rank(), MPI_INFO_NULL, &sharing),
                  "MPI_Comm_split_type");
    }
    check_mpi(MPI_Comm_size(sharing, &size), "MPI_Comm_size");
    check_mpi(MPI_Comm_free(&sharing), "MPI_Comm_free");
    int elsewhere = node.size() - size;
    node.max(std::span(&elsewhere, 1), occasion);
    if (elsewhere > 0)
        throw UserError(concat("window: ", elsewhere, " of ", node.size(),
                               " ranks are on another node, expected all of them on one"));
}

MPI_Win allocate(const Communicator& node, std::size_t bytes) {
    MPI_Info info = MPI_INFO_NULL;
    check_mpi(MPI_Info_create(&info), "MPI_Info_create");
    check_mpi(MPI_Info_set(info, "alloc_shared_noncontig", "true"), "MPI_Info_set");  // parts start on pages
    const StuckCallWatch watch(*node.policy(), occasion, node.world_rank(node.rank()), "MPI_Win_allocate_shared");
    void* base = nullptr;
    MPI_Win window = MPI_WIN_NULL;
    const int code = MPI_Win_allocate_shared(MPI_Aint(bytes), 1, info, node.mpi(), &base, &window);
    MPI_Info_free(&info);
    check_mpi(code, "MPI_Win_allocate_shared");
    check_mpi(MPI_Win_set_errhandler(window, MPI_ERRORS_RETURN), "MPI_Win_set_errhandler");
    check_mpi(MPI_Win_lock_all(MPI_MODE_NOCHECK, window), "MPI_Win_lock_all");
    return window;
}

// Every page now, from the node of this processor, rather than a SIGBUS later. False when there are not enough. Kernels
// before 5.14 cannot be asked, and touch them.
bool fill(std::byte* data, std::size_t bytes) {
    if (bytes == 0) return true;
    constexpr std::uintptr_t page = 4096;
    constexpr int populate_write = 23;  // MADV_POPULATE_WRITE, which older headers do not name
    auto* first = reinterpret_cast<std::byte*>(reinterpret_cast<std::uintptr_t>(data) / page * page);
    const std::size_t whole = bytes + std::size_t(data - first);
    if (::madvise(first, whole, populate_write) != 0 && errno != EINVAL) return false;
    std::memset(data, 0, bytes);
    return true;
}

}  // namespace

Window::Window(const Communicator& node, std::size_t bytes)
    : policy_(node.policy()), rank_(node.world_rank(node.rank())), exceptions_(std::uncaught_exceptions()) {
    // One more line, so that a part can be aligned by hand: parts need not start at one.
    const std::size_t padded = bytes == 0 ? 0 : bytes + alignment;
    expect_one_node(node);
    const auto wanted = double(padded);
    const std::vector<double> bytes_of = node.all_gather(std::span(&wanted, 1), occasion);
    expect_room(node, bytes_of);
    window_ = allocate(node, padded);
    for (int rank = 0; rank < node.size(); ++rank) {
        MPI_Aint size = 0;
        int unit = 0;
        void* base = nullptr;
        check_mpi(MPI_Win_shared_query(window_, rank, &size, &unit, &base), "MPI_Win_shared_query");
        const auto asked = std::size_t(bytes_of[std::size_t(rank)]);  // MPI may give more
        // Mapped by pages, it is as far from a line in every process.
        const auto gap = (alignment - reinterpret_cast<std::uintptr_t>(base) % alignment) % alignment;
        parts_.push_back(asked == 0 ? Part{nullptr, 0} : Part{static_cast<std::byte*>(base) + gap, asked - alignment});
    }
    int failed = !fill(part(node.rank()), bytes);
    node.max(std::span(&failed, 1), occasion);  // nobody reads zeros that are not there yet
    if (failed == 0) return;
    close();
    throw UserError(concat("window: no memory for the ", bytes, " bytes of a rank that ranks of a node share"));
}

Window::Window(Window&& other) noexcept
    : window_(std::exchange(other.window_, MPI_WIN_NULL)),
      parts_(std::move(other.parts_)),
      policy_(std::move(other.policy_)),
      rank_(other.rank_),
      exceptions_(other.exceptions_) {}

Window& Window::operator=(Window&& other) noexcept {
    std::swap(window_, other.window_);
    std::swap(parts_, other.parts_);
    std::swap(policy_, other.policy_);
    std::swap(rank_, other.rank_);
    std::swap(exceptions_, other.exceptions_);
    return *this;
}

Window::~Window() {
    if (std::uncaught_exceptions() <= exceptions_) close();
}

void Window::close() noexcept {
    if (window_ == MPI_WIN_NULL) return;
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (finalized) return;
    try {
        const StuckCallWatch watch(*policy_, occasion, rank_, "MPI_Win_free");
        MPI_Win_unlock_all(window_);
        MPI_Win_free(&window_);
    } catch (...) {  // NOLINT: a thread that cannot be started is no reason to end
    }
}

}  // namespace expar
