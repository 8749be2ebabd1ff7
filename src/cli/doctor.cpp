#include <mpi.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <sstream>

#include "expar/comm/cpu_places.hpp"
#include "expar/comm/mpi_library.hpp"
#include "expar/comm/topology.hpp"
#include "expar/compute/cpu_device.hpp"
#include "expar/store/hdf5_file.hpp"
#include "subcommands.hpp"

namespace expar::cli {
namespace {

std::string thread_level() {
    int level = MPI_THREAD_SINGLE;
    MPI_Query_thread(&level);
    switch (level) {
        case MPI_THREAD_SINGLE:
            return "single: no threads beside the one of MPI";
        case MPI_THREAD_FUNNELED:
            return "funneled: threads may compute, one calls MPI";
        case MPI_THREAD_SERIALIZED:
            return "serialized";
        default:
            return "multiple";
    }
}

std::string shared_memory() {
    struct statvfs status {};
    if (statvfs("/dev/shm", &status) != 0) return "none at /dev/shm; MPI falls back to slower ways within a node";
    const auto mebibytes = [&](auto blocks) { return (std::uint64_t(blocks) * status.f_frsize) >> 20; };
    std::string text = concat(mebibytes(status.f_blocks), " MiB at /dev/shm, ", mebibytes(status.f_bavail), " free");
    if (mebibytes(status.f_blocks) < 256) text += "; little: ranks of a node may fail to start or copy twice";
    return text;
}

std::string host_name() {
    char name[256] = {};
    gethostname(name, sizeof name - 1);
    return name;
}

int numa_nodes() {
    int nodes = 0;
    std::error_code none;
    for (std::filesystem::directory_iterator entry("/sys/devices/system/node", none), end; !none && entry != end;
         entry.increment(none)) {
        const auto name = entry->path().filename().string();
        if (name.starts_with("node") && name.find_first_of("0123456789") == 4) ++nodes;
    }
    return nodes;
}

std::string yes(bool has, const char* without) {
    return has ? "yes" : concat("no; ", without);
}

std::string usable_sets() {
    const auto sets = instruction_sets();
    if (sets.empty()) return "none: without AVX2 the fast kernels do not run here";
    std::string text;
    for (const InstructionSet set : sets) text += concat(text.empty() ? "" : ", ", name_of(set));
    return concat(text, "; used: ", name_of(sets.front()), sets.size() > 1 ? ", unless --isa names another" : "");
}

void print(const std::string& what, const std::string& value) {
    std::cout << what << std::string(std::max<std::size_t>(1, 20 - what.size()), ' ') << value << "\n";
}

void print_machine() {
    const CpuFeatures cpu = cpu_features();
    const Hdf5Library hdf5 = hdf5_library();
    print("MPI", mpi_library());
    print("thread level", thread_level());
    print("shared memory", shared_memory());
    print("CPU", cpu.model);
    print("instruction sets", usable_sets());
    print("bfloat16 hardware",
          yes(cpu.avx512_bf16 || cpu.amx_bf16, "--dtype bf16 saves memory and wire alone: products are float32"));
    const int nodes = numa_nodes();
    print("NUMA nodes", nodes > 0 ? std::to_string(nodes) : "unknown: the system does not say");
    print("cores", std::to_string(sysconf(_SC_NPROCESSORS_ONLN)));
    print("HDF5", concat(hdf5.version, hdf5.parallel ? ", parallel" : ", serial",
                         "; rank 0 writes checkpoints, so either serves"));
    print("GPU", "none used: this build has the reference and the CPU kernels");
}

int run_doctor(const Communicator& world) {
    const Topology topology = discover_topology(world);
    const auto places =
        world.gather(concat(host_name(), ", may run on cores ", text_of_cpus(own_cpus())), 0, {"doctor"});
    if (world.rank() != 0) return 0;
    std::cout << "expar " EXPAR_VERSION "\n";
    print_machine();
    print("ranks", concat(world.size(), " on ", topology.nodes(), " nodes",
                          world.size() == 1 ? "; more with: mpirun -n 4 expar doctor" : ""));
    for (int rank = 0; rank < world.size(); ++rank)
        print(concat("  rank ", rank), concat("node ", topology.node_of[rank], ", ", places[rank]));
    std::cout << std::flush;
    return 0;
}

}  // namespace

Runner add_doctor(CLI::App&) {
    return run_doctor;
}

}  // namespace expar::cli
