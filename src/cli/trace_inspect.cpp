#include <algorithm>
#include <iostream>
#include <memory>

#include "expar/base/error.hpp"
#include "expar/bench/skew.hpp"
#include "expar/bench/trace_workload.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/partial_file.hpp"
#include "inspection.hpp"
#include "trace.hpp"

namespace expar::cli {
namespace {

struct TraceInspectOptions {
    std::string file, json;
};

Json dataset_facts(const RoutingTrace& trace) {
    Json datasets = Json::array();
    for (const auto& document : trace.documents) {
        auto found =
            std::ranges::find_if(datasets, [&](const Json& one) { return one["dataset"] == document.dataset; });
        if (found == datasets.end()) {
            datasets.push_back(
                {{"dataset", document.dataset}, {"documents", 0}, {"tokens", 0}, {"with_repetition", 0}});
            found = datasets.end() - 1;
        }
        (*found)["documents"] = (*found)["documents"].get<std::int64_t>() + 1;
        (*found)["tokens"] = (*found)["tokens"].get<std::int64_t>() + document.tokens;
        (*found)["with_repetition"] = (*found)["with_repetition"].get<std::int64_t>() + document.has_repetition;
    }
    return datasets;
}

Json load_facts(const RoutingTrace& trace) {
    const Placement everything_here = linear_placement(1, trace.experts, 1);
    Json loads = Json::array();
    for (const int layer : trace.layers) {
        const auto all = make_trace_workload(trace, {.layer = layer})->routings(0);
        const Skew skew = skew_of({all, &everything_here, 0});
        loads.push_back({{"layer", layer},
                         {"expert_max_over_mean", skew.expert_max_over_mean},
                         {"expert_gini", skew.expert_gini},
                         {"zero_fraction", skew.zero_fraction}});
    }
    return loads;
}

Json facts_of(const RoutingTrace& trace) {
    return {{"kind", "trace"},
            {"tokens", trace.tokens()},
            {"layers", trace.layers},
            {"experts", trace.experts},
            {"top_k", trace.top_k},
            {"documents", trace.documents.size()},
            {"model", printable(trace.model)},
            {"source", printable(trace.source)},
            {"notice", trace.notice},
            {"datasets", dataset_facts(trace)},
            {"loads", load_facts(trace)}};
}

std::string text_of(const RoutingTrace& trace, const Json& facts) {
    std::string text = entry("trace", summary_of(trace));
    if (!trace.model.empty()) text += entry("model", printable(trace.model));
    text += entry("source", printable(trace.source));
    if (!trace.notice.empty()) text += entry("notice", printable(trace.notice.substr(0, trace.notice.find('\n'))));
    text += "\n";
    std::vector<std::vector<std::string>> rows = {{"dataset", "documents", "tokens", "with repetition"}};
    for (const auto& one : facts["datasets"])
        rows.push_back(
            {printable(one["dataset"]), one["documents"].dump(), one["tokens"].dump(), one["with_repetition"].dump()});
    text += table(rows, "lr") + "\n";
    rows = {{"layer", "max/mean of experts", "Gini", "unused"}};
    for (const auto& one : facts["loads"])
        rows.push_back({one["layer"].dump(), number_text(one["expert_max_over_mean"]), number_text(one["expert_gini"]),
                        number_text(one["zero_fraction"])});
    return text + table(rows, "rr");
}

void inspect(const TraceInspectOptions& options) {
    if (!options.json.empty()) expect_writable(options.json);
    const RoutingTrace trace = read_trace(options.file);
    const Json facts = facts_of(trace);
    std::cout << text_of(trace, facts) << std::flush;
    if (!options.json.empty())
        replace_file(options.json, facts.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace

Runner add_trace_inspect(CLI::App& command) {
    const auto options = std::make_shared<TraceInspectOptions>();
    command.add_option("TRACE", options->file, "what expar trace import has written")->required();
    command.add_option("--json", options->json, "write the same there")->type_name("FILE");
    return [options](const Communicator& world) {
        judge_on_root(world, [&] { inspect(*options); });
        return 0;
    };
}

}  // namespace expar::cli
