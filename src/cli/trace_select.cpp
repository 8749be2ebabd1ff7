#include <algorithm>
#include <memory>

#include "expar/base/error.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/partial_file.hpp"
#include "trace.hpp"

namespace expar::cli {
namespace {

struct SelectOptions {
    std::string file, out;
    std::string dataset, category;
    bool no_repetition = false;
    std::int64_t most_tokens = 0;
};

// A name that no document has is a slip of the pen.
void expect_known(const RoutingTrace& trace, const std::vector<std::string>& wanted, std::string TraceDocument::*member,
                  const std::string& flag) {
    for (const auto& name : wanted) {
        if (std::ranges::count(trace.documents, name, member) > 0) continue;
        std::vector<std::string> known;
        for (const auto& document : trace.documents) known.push_back(document.*member);
        std::ranges::sort(known);
        known.erase(std::unique(known.begin(), known.end()), known.end());
        std::string list;
        for (const auto& one : known) list += concat(list.empty() ? "" : ", ", one);
        throw UserError(concat(flag, " ", name, ": no such documents; known: ", list));
    }
}

void select(const SelectOptions& options) {
    expect_writable(options.out);
    const RoutingTrace trace = read_trace(options.file);
    const auto datasets = words_of(options.dataset), categories = words_of(options.category);
    expect_known(trace, datasets, &TraceDocument::dataset, "--dataset");
    expect_known(trace, categories, &TraceDocument::category, "--category");
    std::int64_t taken = 0;
    std::vector<bool> is_chosen;
    for (const auto& document : trace.documents) {
        bool wanted = datasets.empty() || std::ranges::count(datasets, document.dataset) > 0;
        wanted = wanted && (categories.empty() || std::ranges::count(categories, document.category) > 0);
        wanted = wanted && !(options.no_repetition && document.has_repetition);
        wanted = wanted && (options.most_tokens == 0 || taken + document.tokens <= options.most_tokens);
        if (wanted) taken += document.tokens;
        is_chosen.push_back(wanted);
    }
    if (taken == 0) throw UserError(concat(options.file, ": no document fits"));
    write_and_say(options.out, part_of(trace, is_chosen));
}

struct SplitOptions {
    std::string file, out, rest;
    double share = 0.8;
    std::uint64_t seed = 0;
};

void split(const SplitOptions& options) {
    if (!(options.share > 0 && options.share < 1))
        throw UserError(concat("--share: ", options.share, ", expected a number between 0 and 1"));
    expect_writable(options.out);
    expect_writable(options.rest);
    const RoutingTrace trace = read_trace(options.file);
    std::vector<bool> is_chosen = choose_share(trace.documents, options.share, options.seed);
    if (std::ranges::count(is_chosen, false) == 0 || std::ranges::count(is_chosen, true) == 0)
        throw UserError(concat(options.file, ": ", trace.documents.size(), " documents cannot be split so"));
    write_and_say(options.out, part_of(trace, is_chosen));
    is_chosen.flip();
    write_and_say(options.rest, part_of(trace, is_chosen));
}

}  // namespace

Runner add_trace_select(CLI::App& command) {
    const auto options = std::make_shared<SelectOptions>();
    command.add_option("TRACE", options->file, "what expar trace import has written")->required();
    command.add_option("--out", options->out, "the trace to write")->required()->type_name("FILE");
    command.add_option("--dataset", options->dataset, "of these data sets, with commas between them");
    command.add_option("--category", options->category, "of these categories, with commas between them");
    command.add_flag("--no-repetition", options->no_repetition, "without texts that repeat themselves");
    command.add_option("--max-tokens", options->most_tokens, "the first ones that fit into so many tokens")
        ->check(CLI::PositiveNumber);
    return [options](const Communicator& world) {
        judge_on_root(world, [&] { select(*options); });
        return 0;
    };
}

Runner add_trace_split(CLI::App& command) {
    const auto options = std::make_shared<SplitOptions>();
    command.add_option("TRACE", options->file, "what expar trace import has written")->required();
    command.add_option("--out", options->out, "the trace with the share of the tokens")->required()->type_name("FILE");
    command.add_option("--rest", options->rest, "the trace with the other documents")->required()->type_name("FILE");
    command.add_option("--share", options->share, "of the tokens, whole documents of which go to --out")
        ->capture_default_str();
    command.add_option("--seed", options->seed, "which documents")->capture_default_str();
    return [options](const Communicator& world) {
        judge_on_root(world, [&] { split(*options); });
        return 0;
    };
}

}  // namespace expar::cli
