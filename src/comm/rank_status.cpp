#include "expar/comm/rank_status.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <ctime>
#include <mutex>
#include <thread>

#include "expar/base/error.hpp"
#include "status_file.hpp"
#include "status_report.hpp"

namespace expar {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds heartbeat_interval(50);
constexpr int beats_between_syncs = 20;
constexpr std::chrono::seconds time_of_the_first(10);  // to print its line and to end the run

// CLOCK_REALTIME_COARSE is 4 ms coarse, at a quarter of the price.
std::int64_t now_nanoseconds(clockid_t clock = CLOCK_REALTIME) {
    timespec now{};
    clock_gettime(clock, &now);
    return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

template <std::size_t N>
void put(std::string_view text, char (&place)[N]) {
    const std::size_t length = std::min(text.size(), N);
    std::memcpy(place, text.data(), length);
    if (length < N) place[length] = 0;
}

std::string file_name(int rank) {
    std::string number = std::to_string(rank);
    number.insert(0, std::size_t(std::max(0, 5 - int(number.size()))), '0');
    return "rank-" + number;
}

// A page of a new file, its blocks reserved, since a store into a page that a full disk cannot hold ends the process.
StatusRecord* map_new_file(const fs::path& path) {
    const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0) return nullptr;
    void* page = MAP_FAILED;
    if (posix_fallocate(file, 0, status_file_bytes) == 0)
        page = mmap(nullptr, status_file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    return page == MAP_FAILED ? nullptr : static_cast<StatusRecord*>(page);
}

// True for the one process that makes the file.
bool claim(const fs::path& path, const std::string& text) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (file < 0) return errno != EEXIST;  // where none can be made, every rank speaks for itself
    (void)!write(file, (text + "\n").data(), text.size() + 1);
    close(file);
    return true;
}

}  // namespace

class RankStatus::File {
public:
    File(fs::path folder, StatusRecord* record, int rank, int ranks)
        : folder_(std::move(folder)), record_(record), rank_(rank) {
        record_->rank = rank;
        record_->ranks = ranks;
        record_->process = getpid();
        if (gethostname(record_->host, sizeof record_->host) != 0) put("unknown host", record_->host);
        slot_.step = slot_.layer = -1;
        put("start", slot_.phase);
        publish();
        beat();
        std::memcpy(record_->format, status_format, sizeof status_format);
        heart_ = std::thread([this] { live(); });
    }
    ~File() {
        {
            const std::lock_guard lock(mutex_);
            over_ = true;
        }
        wake_.notify_one();
        heart_.join();
        munmap(record_, status_file_bytes);
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    [[nodiscard]] const fs::path& folder() const { return folder_; }
    [[nodiscard]] int rank() const { return rank_; }
    [[nodiscard]] int step() const { return slot_.step; }

    void set_step(int step) {
        slot_.step = step;
        publish();
    }
    void enter(std::string_view phase, int layer) {
        put(phase, slot_.phase);
        slot_.layer = layer;
        slot_.since_nanoseconds = now_nanoseconds(CLOCK_REALTIME_COARSE);
        publish();
    }
    void begin_wait(std::string_view phase, int layer, std::string_view awaited) {
        if (!slot_.waiting) slot_.since_nanoseconds = now_nanoseconds(CLOCK_REALTIME_COARSE);
        slot_.waiting = 1;
        slot_.waiting_layer = layer;
        put(phase, slot_.waiting_phase);
        put(awaited, slot_.awaited);
        publish();
        waiting_.store(true, std::memory_order_relaxed);
    }
    void end_wait() {
        waiting_.store(false, std::memory_order_relaxed);
        slot_.waiting = 0;
        slot_.since_nanoseconds = now_nanoseconds(CLOCK_REALTIME_COARSE);
        publish();
    }

    // Nothing that a signal handler may not do.
    void terminated() noexcept {
        if (std::atomic_ref(record_->end_claim).exchange(1) != 0) return;
        std::atomic_ref(record_->end).store(std::int32_t(RankEnd::terminated), std::memory_order_release);
    }

    void end(RankEnd how, std::string_view why) {
        if (std::atomic_ref(record_->end_claim).exchange(1) != 0) return;
        put(why, record_->failure);
        std::atomic_ref(record_->end).store(std::int32_t(how), std::memory_order_release);
        beat();
        msync(record_, status_file_bytes, MS_SYNC);
    }

private:
    void beat() { std::atomic_ref(record_->heartbeat_nanoseconds).store(now_nanoseconds(), std::memory_order_relaxed); }

    // The last store of the revision must not be overtaken by those into the slot that it freed.
    void publish() {
        std::atomic_thread_fence(std::memory_order_seq_cst);
        const std::size_t bytes = slot_.waiting ? sizeof slot_ : offsetof(StatusSlot, awaited);
        std::memcpy(&record_->slots[(revision_ + 1) % 2], &slot_, bytes);
        std::atomic_ref(record_->revision).store(++revision_, std::memory_order_release);
    }

    // What a rank that waits for long has written is made to reach other nodes; while all goes well that costs nothing.
    void live() {
        int waiting_beats = 0;
        std::unique_lock lock(mutex_);
        while (!wake_.wait_for(lock, heartbeat_interval, [this] { return over_; })) {
            beat();
            waiting_beats = waiting_.load(std::memory_order_relaxed) ? waiting_beats + 1 : 0;
            if (waiting_beats >= beats_between_syncs) {
                waiting_beats = 0;
                msync(record_, status_file_bytes, MS_SYNC);
            }
        }
    }

    fs::path folder_;
    StatusRecord* record_;
    int rank_;
    StatusSlot slot_{};
    std::uint64_t revision_ = 0;
    std::atomic<bool> waiting_ = false;
    std::mutex mutex_;
    std::condition_variable wake_;
    bool over_ = false;
    std::thread heart_;
};

RankStatus::RankStatus() = default;
RankStatus::~RankStatus() = default;

bool RankStatus::open(const fs::path& folder, int rank, int ranks) {
    std::error_code failed;
    fs::create_directories(folder, failed);
    StatusRecord* record = map_new_file(folder / file_name(rank));
    if (!record) return false;
    file_ = std::make_unique<File>(folder, record, rank, ranks);
    return true;
}

void RankStatus::set_step(int step) {
    if (file_) file_->set_step(step);
}
void RankStatus::enter(std::string_view phase, int layer) {
    if (file_) file_->enter(phase, layer);
}
void RankStatus::begin_wait(std::string_view phase, int layer, std::string_view awaited) {
    if (file_) file_->begin_wait(phase, layer, awaited);
}
void RankStatus::end_wait() {
    if (file_) file_->end_wait();
}
void RankStatus::leave() {
    if (file_) file_->end(RankEnd::clean, "");
}
void RankStatus::fail(std::string_view why) {
    if (file_) file_->end(RankEnd::failed, why);
}

void RankStatus::terminated() noexcept {
    if (file_) file_->terminated();
}

std::string RankStatus::last_words(const std::string& line) {
    if (!file_) return line;
    const std::string words = line + describe_others(read_statuses(file_->folder()), file_->rank());
    if (!claim(file_->folder() / hang_claim_name, words)) std::this_thread::sleep_for(time_of_the_first);
    file_->end(RankEnd::timed_out, words);
    return words;
}

std::string RankStatus::name(int rank) const {
    if (!file_) return concat("rank ", rank, ": ");
    const int step = file_->step();
    return concat("rank ", file_->rank(), ": ", step < 0 ? "" : concat("step ", step, ", "));
}

void clear_statuses(const fs::path& folder) {
    std::error_code failed;
    fs::create_directories(folder, failed);
    std::vector<fs::path> old;
    for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end; entry.increment(failed))
        if (is_status_file(entry->path()) || entry->path().filename() == hang_claim_name) old.push_back(entry->path());
    for (const auto& path : old)
        if (!failed) fs::remove(path, failed);
    if (failed) throw UserError(concat(folder.string(), ": cannot be made or cleared: ", failed.message()));
}

}  // namespace expar
