#include <iomanip>
#include <iostream>
#include <memory>
#include <sstream>

#include "expar/base/error.hpp"
#include "expar/bench/skew.hpp"
#include "expar/bench/workload.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/hdf5_file.hpp"
#include "expar/store/partial_file.hpp"
#include "inspection.hpp"
#include "trace.hpp"

namespace expar::cli {
namespace {

struct WorkloadOptions {
    std::string workload = "uniform", out;
    WorkloadShape shape{.ranks = 2, .tokens = 4096, .experts = 8, .top_k = 2};
    int ranks_per_node = 0;
    std::uint64_t seed = 0, step = 0;
};

std::string hexadecimal(std::uint64_t value) {
    std::ostringstream text;
    text << std::hex << std::setfill('0') << std::setw(16) << value;
    return text.str();
}

// For programs that move the same rows another way.
void write_routing(const WorkloadOptions& options, std::span<const RankRouting> all) {
    std::vector<std::int32_t> tokens, experts;
    std::vector<float> weights;
    for (const auto& rank : all) {
        tokens.push_back(rank.tokens);
        experts.insert(experts.end(), rank.experts.begin(), rank.experts.end());
        weights.insert(weights.end(), rank.weights.begin(), rank.weights.end());
    }
    PartialFile partial(options.out);
    Hdf5File file = Hdf5File::create(partial.temporary());
    const Hdf5File::Shape shape = {std::int64_t(experts.size()) / options.shape.top_k, options.shape.top_k};
    file.set_attribute("", "format", std::string("expar-workload-1"));
    file.set_attribute("", "workload", options.workload);
    file.set_attribute("", "seed", std::int64_t(options.seed));
    file.set_attribute("", "step", std::int64_t(options.step));
    file.set_attribute("", "experts", std::int64_t(options.shape.experts));
    file.set_attribute("", "hash", hexadecimal(hash_of(all)));
    file.write("tokens", tokens, {std::int64_t(tokens.size())});
    file.write("experts", experts, shape);
    file.write("weights", weights, shape);
    file.close();
    partial.commit();
}

void say(const WorkloadOptions& options) {
    const auto all = make_workload(options.workload, options.shape, options.seed)->routings(options.step);
    const Placement placement = linear_placement(1, options.shape.experts, options.shape.ranks);
    const int per_node = options.ranks_per_node > 0 ? options.ranks_per_node : options.shape.ranks;
    const Skew skew = skew_of({all, &placement, 0});
    const MovedRows moved = moved_rows({all, &placement, 0}, topology_of(options.shape.ranks, per_node));
    std::cout << entry("workload", concat(options.workload, ", seed ", options.seed, ", step ", options.step))
              << entry("hash", hexadecimal(hash_of(all)))
              << entry("max/mean", concat(number_text(skew.rank_max_over_mean), " of ranks, ",
                                          number_text(skew.expert_max_over_mean), " of experts"))
              << entry("Gini",
                       concat(number_text(skew.rank_gini), " of ranks, ", number_text(skew.expert_gini), " of experts"))
              << entry("unused", concat(number_text(skew.zero_fraction), " of experts"))
              << entry("rows",
                       concat("Y0 ", moved.total.y0, ", Y1 ", moved.total.y1, " leave their rank; X0 ", moved.total.x0,
                              ", X1 ", moved.total.x1, ", X2 ", moved.total.x2, " leave their node"))
              << entry("busiest", concat("Y0 ", moved.busiest.y0, ", Y1 ", moved.busiest.y1, "; X0 ", moved.busiest.x0,
                                         ", X1 ", moved.busiest.x1, ", X2 ", moved.busiest.x2))
              << std::flush;
    if (!options.out.empty()) write_routing(options, all);
}

}  // namespace

Runner add_trace_workload(CLI::App& command) {
    const auto options = std::make_shared<WorkloadOptions>();
    std::string known;
    for (const auto& kind : workload_kinds()) known += concat("\n  ", kind.form, "  ", kind.summary);
    command.footer("Workloads:" + known);
    command.add_option("--workload", options->workload, "which one, see below")->capture_default_str();
    command.add_option("--ranks", options->shape.ranks, "how many it is for")->capture_default_str();
    command.add_option("--ranks-per-node", options->ranks_per_node, "of consecutive ranks (default: all)")
        ->check(CLI::PositiveNumber);
    command.add_option("--tokens", options->shape.tokens, "of a rank, in the mean")->capture_default_str();
    command.add_option("--experts", options->shape.experts, "of the layer, dealt to ranks in order")
        ->capture_default_str();
    command.add_option("--top-k", options->shape.top_k, "experts of a token")->capture_default_str();
    command.add_option("--seed", options->seed, "which of all that it could be")->capture_default_str();
    command.add_option("--step", options->step, "of those that change from step to step")->capture_default_str();
    command.add_option("--out", options->out, "write tokens [R], experts and weights [T, k] as HDF5")
        ->type_name("FILE");
    return [options](const Communicator& world) {
        judge_on_root(world, [&] {
            if (!options->out.empty()) expect_writable(options->out);
            say(*options);
        });
        return 0;
    };
}

}  // namespace expar::cli
