#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "expar/comm/communicator.hpp"
#include "fields.hpp"

namespace expar::cli {

/// The flags of a RunConfig on a command line: what was given, until it is known whether a file comes first.
class ConfigFlags {
public:
    /// Adds --config and a flag for every field. `command` must not outlive this object.
    explicit ConfigFlags(CLI::App& command);
    ConfigFlags(const ConfigFlags&) = delete;
    ConfigFlags& operator=(const ConfigFlags&) = delete;

    /// `base`, then the file, then the flags. Read and judged on rank 0 and given to all. Collective; throws UserError
    /// on every rank.
    [[nodiscard]] RunConfig read(const Communicator& world, const RunConfig& base = {}) const;

private:
    void apply(RunConfig& config) const;

    // What stands behind a flag, perhaps nothing, and whether it was given at all.
    struct Given {
        CLI::Option* option = nullptr;
        std::vector<std::string> arguments;
    };
    static void add_flag(CLI::App& command, const Field& field, std::string_view title, Given& given);

    std::string file_;
    std::map<std::string, Given> given_;  // by flag
};

/// Parses arguments. What CLI11 refuses becomes one line, a UserError, with a suggestion for an unknown flag.
/// Returns false when help or a version was asked for and has been written to `help`.
[[nodiscard]] bool parse_arguments(CLI::App& app, int argc, const char* const* argv, std::string& help);

}  // namespace expar::cli
