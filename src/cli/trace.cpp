#include "trace.hpp"

#include <iostream>
#include <sstream>
#include <utility>

namespace expar::cli {

void write_and_say(const std::string& path, const RoutingTrace& trace) {
    write_trace(path, trace);
    std::cout << "wrote " << path << ": " << summary_of(trace) << std::endl;
}

std::string summary_of(const RoutingTrace& trace) {
    const auto count = [](auto number, const char* what) { return concat(number, " ", what, number == 1 ? "" : "s"); };
    return concat(count(trace.tokens(), "token"), " of ", count(trace.documents.size(), "document"), ", ",
                  count(trace.layers.size(), "layer"), ", ", count(trace.experts, "expert"), ", ",
                  count(trace.top_k, "choice"), " of a token");
}

std::vector<std::string> words_of(const std::string& list) {
    std::vector<std::string> words;
    std::istringstream in(list);
    for (std::string word; std::getline(in, word, ',');) words.push_back(word);
    return words;
}

Runner add_trace(CLI::App& command) {
    command.require_subcommand(1);
    const auto add = [&](const char* name, const char* summary, Runner (*adder)(CLI::App&)) {
        auto& part = *command.add_subcommand(name, summary);
        return std::pair<const CLI::App*, Runner>(&part, adder(part));
    };
    const std::vector runners = {
        add("import", "read what another program has recorded", add_trace_import),
        add("inspect", "say what a trace holds and how uneven it is", add_trace_inspect),
        add("select", "keep some documents", add_trace_select),
        add("split", "cut into two by documents", add_trace_split),
        add("workload", "write the routing that a benchmark's workload stands for", add_trace_workload)};
    return [runners](const Communicator& world) {
        for (const auto& [chosen, run] : runners)
            if (chosen->parsed()) return run(world);
        return 2;  // CLI11 has asked for one
    };
}

}  // namespace expar::cli
