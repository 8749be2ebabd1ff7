// Two ranks' status files, each with half of the input as its damage, and what is said of them.
#include <cstring>

#include "comm/status_file.hpp"
#include "expar/comm/rank_status.hpp"
#include "fuzz.hpp"
#include "support/temporary_folder.hpp"

using namespace expar;

// A snapshot is smaller than its file of 4096 bytes.
constexpr fuzz::Allowance allowance{.factor = 4};

namespace {

std::string good_file(int rank) {
    StatusRecord record{};
    std::memcpy(record.format, status_format, sizeof status_format);
    record.rank = rank;
    record.ranks = 2;
    record.process = 1000 + rank;
    record.heartbeat_nanoseconds = 1'700'000'000'000'000'000 + 2'000'000'000 * rank;
    std::strcpy(record.host, "node1");
    for (StatusSlot& slot : record.slots) {
        slot.step = 7;
        slot.layer = 2;
        slot.waiting = rank;
        std::strcpy(slot.phase, "experts");
        std::strcpy(slot.waiting_phase, "dispatch");
        std::strcpy(slot.awaited, "rank 0 (480 rows)");
    }
    std::string file(status_file_bytes, '\0');
    std::memcpy(file.data(), &record, sizeof record);
    return file;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const testing_support::TemporaryFolder folder;
    static const std::string good[] = {good_file(0), good_file(1)};
    fuzz::Bytes halves[] = {{data, size / 2}, {data + size / 2, size - size / 2}};
    std::size_t bytes = 0;
    for (int rank = 0; rank < 2; ++rank) {
        const std::string file = fuzz::damaged(good[rank], halves[rank]);
        testing_support::write_text(folder / concat("rank-0000", rank), file);
        bytes += file.size();
    }
    fuzz::expect_sound(bytes, allowance, [&] {
        const std::string line = describe_end(read_statuses(folder / ""));
        fuzz::expect(one_line(line) == line, "more than one line: " + line);
    });
    return 0;
}
