#include <cstdlib>
#include <exception>
#include <iostream>
#include <string_view>
#include <vector>

#include "expar/base/error.hpp"
#include "flags.hpp"
#include "mpi_environment.hpp"
#include "stop_request.hpp"
#include "subcommands.hpp"

namespace expar::cli {
namespace {

// A call that MPI or HDF5 does not return from: the only thing left is to say so and end the run.
WaitPolicy policy_of_program() {
    WaitPolicy policy;
    policy.on_stuck_call = [](const std::string& line) {
        std::cerr << line << std::endl;
        MPI_Abort(MPI_COMM_WORLD, 1);
    };
    return policy;
}

int run(int argc, char** argv, const Communicator& world) {
    CLI::App app("expar: train Mixture-of-Experts models on MPI ranks, each of which hosts a part of the experts.",
                 "expar");
    app.set_version_flag("--version", "expar " EXPAR_VERSION);
    app.footer("expar SUBCOMMAND --help lists the flags of one. Run it on several ranks with: mpirun -n 4 expar ...");
    std::vector<std::pair<CLI::App*, Runner>> runners;
    for (const auto& subcommand : subcommands) {
        auto* command = app.add_subcommand(std::string(subcommand.name), std::string(subcommand.summary));
        runners.emplace_back(command, subcommand.add(*command));
    }
    std::string help;
    if (argc < 2)
        help = app.help();
    else if (parse_arguments(app, argc, argv, help)) {
        for (const auto& [command, runner] : runners)
            if (command->parsed()) return runner(world);
        throw UserError("no subcommand; see expar --help");
    }
    if (world.rank() == 0) std::cout << help << std::flush;
    return EXIT_SUCCESS;
}

// A UserError is known to every rank; of any other exception the others know nothing.
int run_and_report(int argc, char** argv, const Communicator& world) {
    try {
        return run(argc, argv, world);
    } catch (const UserError& error) {
        if (world.rank() == 0) std::cerr << concat("expar: ", error.what(), "\n") << std::flush;
        return 2;
    } catch (const std::exception& error) {
        std::cerr << concat("[rank ", world.rank(), "] ", error.what(), "\n") << std::flush;
        world.abort(1);
    }
}

}  // namespace
}  // namespace expar::cli

int main(int argc, char** argv) {
    // Only what saves its work may outlive such a signal.
    if (argc > 1 && std::string_view(argv[1]) == "train") expar::cli::catch_stop_signals();
    const expar::cli::MpiEnvironment mpi(argc, argv);  // so that it outlives every Communicator
    const expar::Communicator world(MPI_COMM_WORLD, expar::cli::policy_of_program());
    return expar::cli::run_and_report(argc, argv, world);
}
