#include "process_memory.hpp"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

namespace expar::cli {
namespace {

std::int64_t status_bytes(const std::string& key) {
    std::ifstream status("/proc/self/status");
    std::string word;
    std::int64_t kibibytes = 0;
    while (status >> word)
        if (word == key && status >> kibibytes) return kibibytes << 10;
    return 0;
}

// The least limit of a group and those around it. A file says "max" where there is none.
std::int64_t least_limit(const std::filesystem::path& root, std::filesystem::path group, const char* file) {
    std::int64_t least = 0;
    for (group = group.relative_path();; group = group.parent_path()) {
        std::ifstream limit(root / group / file);
        if (std::int64_t bytes = 0; limit >> bytes && (least == 0 || bytes < least)) least = bytes;
        if (group.empty()) return least;
    }
}

// Lines of "9:memory:/group" (version 1) and "0::/group" (version 2).
std::int64_t group_limit_bytes() {
    std::ifstream groups("/proc/self/cgroup");
    std::int64_t least = 0;
    for (std::string line; std::getline(groups, line);) {
        const auto first = line.find(':'), second = line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1), group = line.substr(second + 1);
        std::int64_t limit = 0;
        if (controllers.empty()) limit = least_limit("/sys/fs/cgroup", group, "memory.max");
        if (controllers == "memory") limit = least_limit("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
        if (limit > 0 && (least == 0 || limit < least)) least = limit;
    }
    return least;
}

}  // namespace

std::int64_t resident_bytes() {
    return status_bytes("VmRSS:");
}

std::int64_t peak_resident_bytes() {
    return status_bytes("VmHWM:");
}

std::int64_t memory_limit_bytes() {
    const std::int64_t machine = std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
    const std::int64_t group = group_limit_bytes();
    return group > 0 && (machine <= 0 || group < machine) ? group : std::max<std::int64_t>(machine, 0);
}

}  // namespace expar::cli
