#pragma once

#include <cstdint>
#include <type_traits>

namespace expar {

/// What a rank does. Texts end with a zero unless they fill their place.
struct StatusSlot {
    std::int64_t since_nanoseconds;  // CLOCK_REALTIME
    std::int32_t step;
    std::int32_t layer;
    std::int32_t waiting;
    std::int32_t waiting_layer;
    char phase[48];
    char waiting_phase[48];
    char awaited[384];  // last: left as it is while the rank does not wait
};

/// A status file as it lies in memory and on disk; numbers in the machine's own order, as all readers are of one
/// machine.
///
/// The state is slots[revision % 2]. The other slot is written, then the revision moves on: a process killed at any
/// instruction leaves a whole state.
struct StatusRecord {
    char format[16];
    std::int32_t rank;
    std::int32_t ranks;
    std::int64_t process;
    char host[64];
    std::uint64_t revision;
    std::int64_t heartbeat_nanoseconds;
    std::int32_t end;        // RankEnd
    std::int32_t end_claim;  // 1: who sets the end has been found
    StatusSlot slots[2];
    char failure[1536];
};
static_assert(std::is_trivially_copyable_v<StatusRecord> && sizeof(StatusRecord) <= 4096);

inline constexpr char status_format[16] = "expar-status-1\n";
inline constexpr std::size_t status_file_bytes = 4096;
inline constexpr const char* hang_claim_name = "hang";

/// A rank without a heartbeat for so long shows no sign of life. Heartbeats come every 0.05 s; the rest is for machines
/// with more ranks than cores, and for what a network file system delays.
inline constexpr double silent_seconds_same_host = 1;
inline constexpr double silent_seconds_other_host = 35;

}  // namespace expar
