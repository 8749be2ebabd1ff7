#include <iostream>
#include <memory>

#include "expar/comm/rank_status.hpp"
#include "expar/comm/verdict.hpp"
#include "run_folder.hpp"
#include "subcommands.hpp"

namespace expar::cli {

Runner add_inspect(CLI::App& command) {
    struct Options {
        std::string path;
        bool end = false;
    };
    const auto options = std::make_shared<Options>();
    command.add_option("RUN", options->path, "folder of a run")->required();
    command.add_flag("--end", options->end, "say in one line how the run ended: which rank died, where, who waited")
        ->required();
    return [options](const Communicator& world) {
        judge_on_root(world, [&] {
            const RunFolder run{options->path};
            if (!std::filesystem::is_directory(run.root))
                throw UserError(concat(options->path, ": no such folder of a run"));
            std::cout << describe_end(read_statuses(run.status())) << std::endl;
        });
        return 0;
    };
}

}  // namespace expar::cli
