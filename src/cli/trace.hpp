#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "expar/store/trace.hpp"
#include "subcommands.hpp"

namespace expar::cli {

// `expar trace`: recorded routing, from file to file. Rank 0 does it alone.

[[nodiscard]] Runner add_trace_import(CLI::App& command);
[[nodiscard]] Runner add_trace_inspect(CLI::App& command);
[[nodiscard]] Runner add_trace_select(CLI::App& command);
[[nodiscard]] Runner add_trace_split(CLI::App& command);
[[nodiscard]] Runner add_trace_workload(CLI::App& command);

/// Writes the trace, and says what it holds.
void write_and_say(const std::string& path, const RoutingTrace& trace);
/// "76937 tokens of 271 documents, 24 layers, 32 experts, 4 choices of a token"
[[nodiscard]] std::string summary_of(const RoutingTrace& trace);
/// The words of a list such as "a,b".
[[nodiscard]] std::vector<std::string> words_of(const std::string& list);

}  // namespace expar::cli
