#pragma once

#include <CLI/CLI.hpp>
#include <array>
#include <functional>
#include <string_view>

#include "expar/comm/communicator.hpp"

namespace expar::cli {

/// What a subcommand does once its arguments are parsed: the exit code. Collective. Throws UserError on every rank
/// together; any other exception ends all ranks.
using Runner = std::function<int(const Communicator& world)>;

// Each adds its flags to `command` and returns what is to run. One file a subcommand.
[[nodiscard]] Runner add_train(CLI::App& command);
[[nodiscard]] Runner add_verify(CLI::App& command);
[[nodiscard]] Runner add_eval(CLI::App& command);
[[nodiscard]] Runner add_generate(CLI::App& command);
[[nodiscard]] Runner add_export(CLI::App& command);
[[nodiscard]] Runner add_inspect(CLI::App& command);
[[nodiscard]] Runner add_trace(CLI::App& command);
[[nodiscard]] Runner add_bench(CLI::App& command);
[[nodiscard]] Runner add_doctor(CLI::App& command);

struct Subcommand {
    std::string_view name;
    std::string_view summary;
    Runner (*add)(CLI::App& command);
};

inline constexpr std::array subcommands = {
    Subcommand{"train", "train a model on text", add_train},
    Subcommand{"verify", "prove that these ranks compute what one rank computes", add_verify},
    Subcommand{"eval", "measure a model's bits per byte on text", add_eval},
    Subcommand{"generate", "let a model continue a text", add_generate},
    Subcommand{"export", "write a model for transformers", add_export},
    Subcommand{"inspect", "say what a run or a file of it holds", add_inspect},
    Subcommand{"trace", "import and cut recorded routing", add_trace},
    Subcommand{"bench", "measure what a part of it costs", add_bench},
    Subcommand{"doctor", "say what this machine offers and what is missing", add_doctor},
};

}  // namespace expar::cli
