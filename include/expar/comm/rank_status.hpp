#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace expar {

/// How a rank's life ended, as far as it could say so itself.
enum class RankEnd : std::int32_t { none = 0, clean = 1, failed = 2, timed_out = 3, terminated = 4 };

/// What a status file told when it was read. Texts hold printable characters only; times are seconds since 1970.
struct StatusSnapshot {
    int rank = 0;
    int ranks = 0;  ///< of the run it belongs to
    std::int64_t process = 0;
    std::string host;
    int step = -1;      ///< being done; -1: none yet
    std::string phase;  ///< what it does; literals of the program
    int layer = -1;
    double since = 0;  ///< of the last change of phase, or the begin of the wait
    bool waiting = false;
    std::string waiting_phase;
    int waiting_layer = -1;
    std::string awaited;   ///< "rank 3 (480 rows)"
    double heartbeat = 0;  ///< when the process was seen alive last
    RankEnd end = RankEnd::none;
    std::string failure;  ///< why it gave up
};

/// The life of one rank in a small file that is mapped into memory, so that it tells what the rank did last after a
/// SIGKILL, too: FOLDER/rank-00000.
///
/// A call costs some tens of nanoseconds and no system call; a thread of its own writes a heartbeat twenty times a
/// second. Before open() and after a failed one every call does nothing. Calls are one thread's, unless they say
/// otherwise.
///
/// On one node, readers see exactly the last state: a state is switched whole, never half. Through a network file
/// system, a reader on another node sees a state at most a second old of a rank that waits for longer than a second, or
/// that gave up; of a rank that computes, what its kernel has written back, which may take half a minute.
class RankStatus {
public:
    RankStatus();
    ~RankStatus();  ///< says nothing about the end: see leave() and fail()
    RankStatus(const RankStatus&) = delete;
    RankStatus& operator=(const RankStatus&) = delete;

    /// Begins FOLDER/rank-NNNNN, made with the folder where missing. Local. False when that cannot be written.
    [[nodiscard]] bool open(const std::filesystem::path& folder, int rank, int ranks);

    void set_step(int step);
    /// What the rank does from now on.
    void enter(std::string_view phase, int layer = -1);
    /// Called again while the wait lasts, it replaces what is awaited. Phase and layer of enter() stay beneath.
    void begin_wait(std::string_view phase, int layer, std::string_view awaited);
    void end_wait();

    /// The rank has done all it was to do. Any thread.
    void leave();
    /// The rank gives up, and why, in one line. The first of leave() and fail() counts. Any thread.
    void fail(std::string_view why);

    /// The launcher ends this process, because another rank has died: what tells it from that one. For a handler of
    /// SIGTERM.
    void terminated() noexcept;

    /// For a wait that has outlasted its deadline: `line`, and from the files of all ranks which of them show no sign
    /// of life or do something else than wait; recorded as this rank's failure. One rank of the run is the first to
    /// ask: to all others it returns ten seconds later, if they still live, so that one line is printed. Any thread.
    [[nodiscard]] std::string last_words(const std::string& line);

    /// "rank 2: step 7, ", the begin of such a line; `rank` when not open. Any thread that the caller started.
    [[nodiscard]] std::string name(int rank) const;

private:
    class File;
    std::unique_ptr<File> file_;  // null when not open
};

/// Removes what earlier attempts of a run left in the folder of its status files, and makes it. Local, on one rank
/// before the others open. Throws UserError.
void clear_statuses(const std::filesystem::path& folder);

/// The files rank-* of a folder by ascending rank. Passes over what is no status file; a folder that is not there has
/// none. Local.
[[nodiscard]] std::vector<StatusSnapshot> read_statuses(const std::filesystem::path& folder);

/// How a run ended, in one line: which ranks died before the others, in which step, phase and layer, and who waited for
/// what then; or that it ended as meant, or why a rank gave up. `statuses` as they were left: a run that goes on reads
/// as one whose ranks ended together.
[[nodiscard]] std::string describe_end(std::span<const StatusSnapshot> statuses);

}  // namespace expar
