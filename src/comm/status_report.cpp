#include "status_report.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>
#include <set>

#include "expar/base/error.hpp"
#include "status_file.hpp"

namespace expar {
namespace {

namespace fs = std::filesystem;

// mpirun ends the others a second after the first death, or at once when several die.
constexpr double died_before_seconds = 0.4;
constexpr std::size_t clauses_at_most = 8;

// What a damaged file may hold in place of a text does not reach a terminal.
template <std::size_t N>
std::string text_of(const char (&place)[N]) {
    std::string text(place, strnlen(place, N));
    std::ranges::replace_if(
        text, [](char c) { return c < ' ' || c > '~'; }, '?');
    return text;
}

double seconds_of(std::int64_t nanoseconds) {
    return double(nanoseconds) * 1e-9;
}

StatusSnapshot snapshot_of(const StatusRecord& record) {
    const StatusSlot& slot = record.slots[record.revision % 2];
    StatusSnapshot snapshot;
    snapshot.rank = record.rank;
    snapshot.ranks = record.ranks;
    snapshot.process = record.process;
    snapshot.host = text_of(record.host);
    snapshot.step = slot.step;
    snapshot.phase = text_of(slot.phase);
    snapshot.layer = slot.layer;
    snapshot.since = seconds_of(slot.since_nanoseconds);
    snapshot.waiting = slot.waiting != 0;
    snapshot.waiting_phase = text_of(slot.waiting_phase);
    snapshot.waiting_layer = slot.waiting_layer;
    snapshot.awaited = text_of(slot.awaited);
    snapshot.heartbeat = seconds_of(record.heartbeat_nanoseconds);
    const bool known = record.end >= 0 && record.end <= std::int32_t(RankEnd::terminated);
    snapshot.end = known ? RankEnd(record.end) : RankEnd::none;
    snapshot.failure = text_of(record.failure);
    return snapshot;
}

template <class T>
bool read_at(int file, T& value, std::size_t offset) {
    return pread(file, &value, sizeof value, off_t(offset)) == ssize_t(sizeof value);
}

// A state is whole when the revision is the same before and after. Only a writer far faster than any step of training
// can prevent that; then the last reading has to do.
std::optional<StatusSnapshot> read_status(const fs::path& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return std::nullopt;
    constexpr std::size_t place = offsetof(StatusRecord, revision);
    StatusRecord record{};
    std::uint64_t before = 0, after = 0;
    bool read = true;
    for (int attempt = 0; read && attempt < 100; ++attempt) {
        read = read_at(file, before, place) && read_at(file, record, 0) && read_at(file, after, place);
        if (before == after && record.revision == after) break;
    }
    close(file);
    const bool ours = read && std::memcmp(record.format, status_format, sizeof status_format) == 0;
    if (!ours || record.rank < 0 || record.rank >= record.ranks) return std::nullopt;
    return snapshot_of(record);
}

std::string seconds_text(double seconds) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f s", seconds);
    return text;
}

std::string layer_text(int layer) {
    return layer < 0 ? "" : concat(", layer ", layer);
}

// "step 4, experts, layer 2", and what it waits for.
std::string place_of(const StatusSnapshot& status) {
    std::string text = status.step < 0 ? "before the first step" : concat("step ", status.step);
    if (!status.waiting) return concat(text, ", ", status.phase, layer_text(status.layer));
    return concat(text, ", waiting in ", status.waiting_phase, layer_text(status.waiting_layer), " for ",
                  status.awaited);
}

std::string joined(const std::vector<std::string>& clauses) {
    std::string text;
    for (std::size_t i = 0; i < std::min(clauses.size(), clauses_at_most); ++i)
        text += (text.empty() ? "" : "; ") + clauses[i];
    if (clauses.size() > clauses_at_most) text += concat("; and ", clauses.size() - clauses_at_most, " ranks more");
    return text;
}

std::string_view ending_of(RankEnd end) {
    return end == RankEnd::clean        ? " has ended"
           : end == RankEnd::terminated ? " was ended by its launcher"
                                        : " has given up";
}

std::vector<std::string> missing_ranks(std::span<const StatusSnapshot> statuses, std::string_view verb) {
    std::set<int> present;
    int ranks = 0;
    for (const auto& status : statuses) {
        present.insert(status.rank);
        ranks = std::max(ranks, status.ranks);
    }
    std::vector<std::string> clauses;
    // Bounded by what is printed: a damaged file may claim any number.
    for (int rank = 0; rank < ranks && clauses.size() <= clauses_at_most; ++rank)
        if (!present.contains(rank)) clauses.push_back(concat("rank ", rank, " ", verb));
    return clauses;
}

}  // namespace

bool is_status_file(const fs::path& path) {
    const std::string name = path.filename().string();
    constexpr std::string_view prefix = "rank-";
    return name.starts_with(prefix) && name.size() > prefix.size() &&
           std::all_of(name.begin() + prefix.size(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::vector<StatusSnapshot> read_statuses(const fs::path& folder) {
    std::vector<StatusSnapshot> statuses;
    std::error_code failed;
    for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end; entry.increment(failed)) {
        if (!is_status_file(entry->path())) continue;
        if (auto status = read_status(entry->path())) statuses.push_back(std::move(*status));
    }
    std::ranges::sort(statuses, {}, &StatusSnapshot::rank);
    return statuses;
}

std::string describe_others(std::span<const StatusSnapshot> statuses, int rank) {
    const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    const auto me = std::ranges::find(statuses, rank, &StatusSnapshot::rank);
    std::vector<std::string> gone = missing_ranks(statuses, "has not begun"), busy;
    for (const auto& other : statuses) {
        if (other.rank == rank) continue;
        const bool near = me != statuses.end() && me->host == other.host;
        const double silent = now - other.heartbeat;
        if (other.end != RankEnd::none)
            gone.push_back(concat("rank ", other.rank, ending_of(other.end)));
        else if (silent > (near ? silent_seconds_same_host : silent_seconds_other_host))
            gone.push_back(concat("rank ", other.rank, " shows no sign of life for ", seconds_text(silent), ": ",
                                  place_of(other), " (process ", other.process, " on ", other.host, ")"));
        else if (!other.waiting)
            busy.push_back(concat("rank ", other.rank, " does not wait: ", place_of(other), ", for ",
                                  seconds_text(now - other.since)));
    }
    if (!gone.empty()) return "; " + joined(gone);
    if (!busy.empty()) return "; " + joined(busy);
    return statuses.size() > 1 ? "; all ranks wait" : "";
}

namespace {

double newest_heartbeat(std::span<const StatusSnapshot> statuses) {
    return std::ranges::max(statuses, {}, &StatusSnapshot::heartbeat).heartbeat;
}

// Ranks that were silent when others still lived; where all fell silent together, those that nobody told to end while
// others were told. The first to die first.
std::vector<StatusSnapshot> dead_before_others(std::span<const StatusSnapshot> statuses) {
    const double newest = newest_heartbeat(statuses);
    const bool told = std::ranges::find(statuses, RankEnd::terminated, &StatusSnapshot::end) != statuses.end();
    std::vector<StatusSnapshot> dead;
    for (const auto& status : statuses)
        if (status.end == RankEnd::none && newest - status.heartbeat > died_before_seconds) dead.push_back(status);
    if (dead.empty() && told)
        for (const auto& status : statuses)
            if (status.end == RankEnd::none) dead.push_back(status);
    std::ranges::stable_sort(dead, {}, &StatusSnapshot::heartbeat);
    return dead;
}

std::vector<std::string> describe_dead(std::span<const StatusSnapshot> dead, double newest) {
    std::vector<std::string> clauses;
    for (const auto& status : dead)
        clauses.push_back(concat("rank ", status.rank, " died ", seconds_text(newest - status.heartbeat),
                                 " before the others: ", place_of(status), " (process ", status.process, " on ",
                                 status.host, ")"));
    return clauses;
}

// What the ranks that are not among `dead` did last, those that waited first.
std::vector<std::string> describe_survivors(std::span<const StatusSnapshot> statuses,
                                            std::span<const StatusSnapshot> dead) {
    std::vector<std::string> waited, others;
    for (const auto& status : statuses) {
        const bool survived = status.end == RankEnd::none || status.end == RankEnd::terminated;
        if (!survived || std::ranges::find(dead, status.rank, &StatusSnapshot::rank) != dead.end()) continue;
        (status.waiting ? waited : others).push_back(concat("rank ", status.rank, ": ", place_of(status)));
    }
    waited.insert(waited.end(), others.begin(), others.end());
    return waited;
}

}  // namespace

std::string describe_end(std::span<const StatusSnapshot> statuses) {
    if (statuses.empty()) return "no rank has left a status: none had begun";
    std::vector<std::string> clauses;
    const auto dead = dead_before_others(statuses);
    const auto given_up = [](RankEnd end) { return end == RankEnd::failed || end == RankEnd::timed_out; };
    const auto first = std::ranges::find_if(statuses, given_up, &StatusSnapshot::end);
    if (first != statuses.end() && first->end == RankEnd::timed_out) return first->failure;
    clauses = describe_dead(dead, newest_heartbeat(statuses));
    if (first != statuses.end()) {
        clauses.push_back(concat("rank ", first->rank, " gave up: ", first->failure));
        return joined(clauses);
    }
    const auto left = describe_survivors(statuses, dead);
    const auto missing = missing_ranks(statuses, "never began");
    if (dead.empty() && left.empty() && missing.empty())
        return concat("all ", statuses.size(), " ranks ended as meant, after step ", statuses.front().step);
    if (dead.empty() && !left.empty())
        clauses.push_back(concat(left.size(), " of ", statuses.front().ranks, " ranks ended together, not as meant"));
    clauses.insert(clauses.end(), left.begin(), left.end());
    clauses.insert(clauses.end(), missing.begin(), missing.end());
    return joined(clauses);
}

}  // namespace expar
