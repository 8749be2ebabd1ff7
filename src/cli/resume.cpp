#include "resume.hpp"

#include <cerrno>

#include "expar/base/error.hpp"
#include "stop_request.hpp"

namespace expar::cli {
namespace {

// A word of a shell.
std::string word(const std::string& text) {
    if (text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%") ==
        std::string::npos)
        return text;
    std::string quoted = "'";
    for (const char c : text) c == '\'' ? quoted += "'\\''" : quoted += c;
    return quoted + "'";
}

}  // namespace

std::string resume_command(const std::filesystem::path& run, int ranks) {
    const std::string launcher = started_by_srun() ? concat("srun -n ", ranks, " ")
                                 : ranks > 1       ? concat("mpirun -n ", ranks, " ")
                                                   : "";
    return concat(launcher, word(program_invocation_name), " train --resume --out ", word(run.string()));
}

}  // namespace expar::cli
