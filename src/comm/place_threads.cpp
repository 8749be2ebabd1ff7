#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>

#include "expar/comm/cpu_places.hpp"
#include "expar/comm/topology.hpp"

namespace expar {
namespace {

using Mask = cpu_set_t;  // of 1,024 CPUs

Mask mask_of_process(pid_t process) {
    Mask mask;
    CPU_ZERO(&mask);
    if (sched_getaffinity(process, sizeof mask, &mask) != 0) CPU_ZERO(&mask);
    return mask;
}

std::vector<int> cpus_in(const Mask& mask) {
    std::vector<int> cpus;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
        if (CPU_ISSET(cpu, &mask)) cpus.push_back(cpu);
    return cpus;
}

// The first hardware thread of every core, then the second of each: two of a core share its units.
std::vector<int> cores_first(const std::vector<int>& cpus) {
    std::vector<std::pair<int, int>> ordered;  // which of its core, and the CPU
    for (const int cpu : cpus) {
        std::ifstream file(concat("/sys/devices/system/cpu/cpu", cpu, "/topology/thread_siblings_list"));
        int first = cpu;
        file >> first;
        ordered.emplace_back(first == cpu ? 0 : 1, cpu);
    }
    std::ranges::sort(ordered);
    std::vector<int> result;
    for (const auto& [sibling, cpu] : ordered) result.push_back(cpu);
    return result;
}

// What follows `key` in /proc/PROCESS/status.
std::string status_of(pid_t process, std::string_view key) {
    std::ifstream status(concat("/proc/", process, "/status"));
    std::string word;
    while (status >> word)
        if (word == key && status >> word) return word;
    return "";
}

// What the user and the cgroup left to mpirun, or to the daemon that it has on every other node; else what this process
// has.
std::vector<int> cpus_of_launcher() {
    for (pid_t process = getppid(); process > 1; process = std::atoi(status_of(process, "PPid:").c_str()))
        if (starts_ranks(status_of(process, "Name:"))) return cpus_in(mask_of_process(process));
    return own_cpus();
}

bool is_set(const char* variable) {
    return std::getenv(variable) != nullptr;
}

// The one place that reads what launchers leave in the environment: Open MPI 4.1 and Slurm.
Launch read_launch() {
    Launch launch;
    if (is_set("OMPI_COMM_WORLD_LOCAL_RANK")) {
        launch.launcher = Launch::Launcher::mpirun;
        const char* mapping = std::getenv("OMPI_MCA_rmaps_base_mapping_policy");
        const bool asked = is_set("OMPI_MCA_hwloc_base_binding_policy") || is_set("OMPI_MCA_hwloc_base_cpu_set") ||
                           is_set("OMPI_MCA_hwloc_base_cpu_list") || is_set("OMPI_MCA_rmaps_base_cpus_per_rank") ||
                           is_set("OMPI_MCA_orte_rankfile") || is_set("OMPI_MCA_rmaps_rank_file_path") ||
                           (mapping && std::string_view(mapping).find("PE=") != std::string_view::npos);
        if (is_set("OMPI_MCA_orte_bound_at_launch"))
            launch.bound = asked ? Launch::Bound::by_user : Launch::Bound::by_default;
    } else if (is_set("SLURM_STEP_ID") && is_set("SLURM_PROCID")) {
        launch.launcher = Launch::Launcher::srun;
        const char* kind = std::getenv("SLURM_CPU_BIND_TYPE");  // "mask_cpu:", "none"
        if (kind && *kind && std::string_view(kind).find("none") == std::string_view::npos)
            launch.bound = Launch::Bound::by_user;  // what it gives was asked for with --cpus-per-task
    }
    return launch;
}

// Every rank's, of all nodes.
std::vector<Launch> gather_launches(const Communicator& world) {
    constexpr int mask_words = sizeof(Mask) / sizeof(int);
    const Launch own = read_launch();
    const Mask mask = mask_of_process(0);
    std::array<int, mask_words + 2> mine{};
    std::copy_n(reinterpret_cast<const int*>(&mask), mask_words, mine.begin());
    mine[mask_words] = int(own.bound);
    mine[mask_words + 1] = int(own.launcher);
    const std::vector<int> all = world.all_gather(mine, {"places of threads"});
    std::vector<Launch> launches;
    for (std::size_t at = 0; at < all.size(); at += mine.size()) {
        Mask of_rank;
        std::copy_n(all.begin() + long(at), mask_words, reinterpret_cast<int*>(&of_rank));
        launches.push_back(
            {cpus_in(of_rank), Launch::Bound(all[at + mask_words]), Launch::Launcher(all[at + mask_words + 1])});
    }
    return launches;
}

std::string counted(std::size_t count, const char* what) {
    return concat(count, " ", what, count == 1 ? "" : "s");
}

std::string note_on(CpuPlan::Outcome outcome, const std::vector<Launch>& ranks, std::size_t node_cpus, int threads) {
    const Launch& first = ranks.front();
    const std::string each = counted(first.cpus.size(), "CPU");
    if (outcome == CpuPlan::Outcome::widened)
        return concat("note: mpirun had bound a rank to ", each, "; each of its ", threads,
                      " threads now has a CPU of its own");
    if (outcome != CpuPlan::Outcome::crowded) return "";
    const std::size_t wanted = ranks.size() * std::size_t(threads);
    const std::string line =
        concat("warning: ", counted(ranks.size(), "rank"), " with ", counted(std::size_t(threads), "thread"), " each ");
    if (wanted > node_cpus) return concat(line, "share ", counted(node_cpus, "CPU"), "; fewer are faster");
    const std::string cure = first.launcher == Launch::Launcher::mpirun
                                 ? concat("mpirun --bind-to none or --map-by slot:PE=", threads)
                             : first.launcher == Launch::Launcher::srun ? concat("srun --cpus-per-task=", threads)
                                                                        : std::string("a wider CPU affinity");
    return concat(line, "were given ", each, " a rank; expected ", cure);
}

void widen_to(const std::vector<int>& cpus) {
    Mask mask;
    CPU_ZERO(&mask);
    for (const int cpu : cpus) CPU_SET(std::size_t(cpu), &mask);
    static_cast<void>(sched_setaffinity(0, sizeof mask, &mask));  // refused: the threads stay where they are
}

}  // namespace

std::vector<int> own_cpus() {
    return cpus_in(mask_of_process(0));
}

ThreadPlaces place_threads(int threads, const Communicator& world) {
    const Topology topology = discover_topology(world);
    const std::vector<int> beside = topology.ranks_of(topology.node_of[std::size_t(world.rank())]);
    const std::vector<Launch> all = gather_launches(world);
    std::vector<Launch> ranks;
    for (const int rank : beside) {
        ranks.push_back(all[std::size_t(rank)]);
        ranks.back().cpus = cores_first(ranks.back().cpus);
    }
    const std::vector<int> node = cores_first(cpus_of_launcher());
    const CpuPlan plan = plan_cpus(ranks, node, threads);
    ThreadPlaces places{{}, note_on(plan.outcome, ranks, node.size(), threads)};
    if (!plan.cpus_of.empty())
        places.cpus = plan.cpus_of[std::size_t(std::ranges::find(beside, world.rank()) - beside.begin())];
    if (plan.outcome == CpuPlan::Outcome::widened) widen_to(places.cpus);
    return places;
}

}  // namespace expar
