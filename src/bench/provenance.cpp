#include "expar/bench/provenance.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <vector>

#include "expar/base/error.hpp"
#include "expar/bench/probe.hpp"
#include "expar/comm/cpu_places.hpp"
#include "expar/comm/mpi_library.hpp"
#include "expar/compute/cpu_device.hpp"

extern char** environ;

namespace expar {
namespace {

std::string host_name() {
    char name[256] = {};
    gethostname(name, sizeof name - 1);
    return name;
}

std::string utc_now() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    gmtime_r(&now, &parts);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text;
}

std::string system_name() {
    utsname names{};
    uname(&names);
    return concat(names.sysname, " ", names.release);
}

std::string joined(std::span<const std::string> texts) {
    std::string all;
    for (const std::string& text : texts) all += concat(all.empty() ? "" : "; ", text);
    return all;
}

std::vector<std::string> environment() {
    std::vector<std::string> all;
    for (char** entry = environ; entry && *entry; ++entry) all.emplace_back(*entry);
    return all;
}

}  // namespace

std::string mpi_settings(std::span<const std::string> environment) {
    constexpr std::array<std::string_view, 6> prefixes = {"OMPI_MCA_",  "PRTE_MCA_", "MPICH_",
                                                          "MPIR_CVAR_", "UCX_",      "I_MPI_"};
    // What Open MPI's launcher tells its ranks, which nobody has set.
    constexpr std::array<std::string_view, 5> internal = {"OMPI_MCA_orte_", "OMPI_MCA_ess", "OMPI_MCA_pmix",
                                                          "OMPI_MCA_shmem_", "OMPI_MCA_initial_wdir"};
    std::vector<std::string> settings;
    for (const std::string& entry : environment) {
        const auto begins = [&](std::string_view prefix) { return entry.starts_with(prefix); };
        if (std::ranges::any_of(prefixes, begins) && std::ranges::none_of(internal, begins)) settings.push_back(entry);
    }
    std::ranges::sort(settings);
    return joined(settings);
}

std::string crowding_note(int ranks, int cores) {
    if (ranks <= cores) return "";
    return concat("warning: ", ranks, " ranks share ", cores,
                  " cores: these times tell how the system shares them out, not what the machine can do");
}

Cells provenance_of(const ProgramFacts& program, const Topology& topology, const Communicator& world) {
    const auto hosts = world.gather(host_name(), 0, {"provenance"});
    const auto cpus = world.gather(text_of_cpus(own_cpus()), 0, {"provenance"});
    if (world.rank() != 0) return {};
    std::vector<std::string> distinct = hosts;
    std::ranges::sort(distinct);
    distinct.erase(std::ranges::unique(distinct).begin(), distinct.end());
    std::vector<std::string> binding;
    for (std::size_t rank = 0; rank < cpus.size(); ++rank) binding.push_back(concat(rank, ": ", cpus[rank]));
    const int cores = int(sysconf(_SC_NPROCESSORS_ONLN));
    return {{"command", program.command},
            {"version", program.version},
            {"commit", program.commit},
            {"time", utc_now()},
            {"hosts", joined(distinct)},
            {"system", system_name()},
            {"cpu", cpu_features().model},
            {"cores", cell_value(cores)},
            {"instruction_set", program.instruction_set},
            {"last_cache_bytes", cell_value(std::int64_t(sysconf(_SC_LEVEL3_CACHE_SIZE)))},
            {"cold_bytes", cell_value(std::int64_t(cold_bytes()))},
            {"ranks", cell_value(world.size())},
            {"nodes", cell_value(topology.nodes())},
            {"binding", joined(binding)},
            {"mpi", mpi_library()},
            {"mpi_settings", mpi_settings(environment())}};
}

}  // namespace expar
