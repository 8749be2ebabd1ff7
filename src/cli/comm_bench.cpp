#include "comm_bench.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <utility>

#include "commit.hpp"
#include "compute_device.hpp"
#include "expar/bench/provenance.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/partial_file.hpp"

namespace expar::cli {
namespace {

// As the shell gave it.
std::string own_command() {
    std::ifstream file("/proc/self/cmdline", std::ios::binary);
    std::string text(std::istreambuf_iterator<char>(file), {});
    while (text.ends_with('\0')) text.pop_back();
    std::ranges::replace(text, '\0', ' ');
    return text;
}

int most_ranks_of_a_node(const Topology& topology) {
    std::size_t most = 0;
    for (int node = 0; node < topology.nodes(); ++node) most = std::max(most, topology.ranks_of(node).size());
    return int(most);
}

bool any_above_zero(const Cells& row, std::span<const char* const> keys) {
    return std::ranges::any_of(row, [&](const Cell& cell) {
        const auto* count = std::get_if<std::int64_t>(&cell.value);
        return count && *count > 0 && std::ranges::find(keys, cell.key) != keys.end();
    });
}

bool is_true(const Cells& row, std::string_view key) {
    return std::ranges::any_of(row, [&](const Cell& cell) { return cell.key == key && cell.value == CellValue(true); });
}

}  // namespace

CommBenchFlags::CommBenchFlags(CLI::App& command, double seconds_by_default) : seconds(seconds_by_default) {
    command.add_option("--seconds", seconds, "to measure for each point of the sweep at most")->capture_default_str();
    command.add_option("--seed", seed, "of the workload and of the order of measuring")->capture_default_str();
    command.add_option("--ranks-per-node", ranks_per_node, "take that many consecutive ranks for a node; 0: ask MPI")
        ->capture_default_str();
    command.add_option("--isa", isa, isa_help)->type_name("NAME");
    command.add_option("--json", json, "write the rows there")->type_name("FILE");
    command.add_option("--csv", csv, "write the rows there")->type_name("FILE");
}

void CommBenchFlags::judge(const Communicator& world) const {
    if (!(seconds > 0)) throw UserError(concat("--seconds: ", seconds, ", expected more than 0"));
    if (ranks_per_node < 0) throw UserError(concat("--ranks-per-node: ", ranks_per_node, ", expected at least 0"));
    judge_on_root(world, [&] {
        if (!json.empty()) expect_writable(json);
        if (!csv.empty()) expect_writable(csv);
    });
}

Topology CommBenchFlags::topology(const Communicator& world) const {
    return ranks_per_node > 0 ? topology_of(world.size(), ranks_per_node) : discover_topology(world);
}

RowOutput::RowOutput(const CommBenchFlags& flags, const Topology& topology, std::span<const Column> columns,
                     const Communicator& world)
    : world_(world), columns_(columns) {
    const auto set = choose_instruction_set(flags.isa, world);
    Cells provenance = provenance_of({.version = EXPAR_VERSION,
                                      .commit = commit,
                                      .command = own_command(),
                                      .instruction_set = std::string(name_of(set))},
                                     topology, world);
    if (world.rank() != 0) return;
    const std::string note = crowding_note(most_ranks_of_a_node(topology), int(sysconf(_SC_NPROCESSORS_ONLN)));
    if (!note.empty()) std::cerr << note << std::endl;
    provenance.push_back({"crowded", !note.empty()});
    files_ = std::make_unique<RowFiles>(std::move(provenance), flags.json, flags.csv);
}

void RowOutput::add(std::vector<Cells> rows) {
    constexpr std::array counts = {"wrong_rows", "wrong_elements"};
    for (const Cells& row : rows) {
        wrong_ = wrong_ || any_above_zero(row, counts);
        violated_ = violated_ || is_true(row, "bound_violated");
    }
    judge_on_root(world_, [&] {
        if (!std::exchange(heading_printed_, true)) std::cout << heading_line(columns_) << "\n";
        for (Cells& row : rows) {
            std::cout << row_line(columns_, row) << "\n";
            files_->add(std::move(row));
        }
        std::cout << std::flush;
        files_->save();
    });
}

void RowOutput::progress(std::size_t done, std::size_t all, const std::string& what) const {
    if (world_.rank() == 0 && all > 1) std::cerr << concat("[", done, "/", all, "] ", what, "\n") << std::flush;
}

int RowOutput::finish() {
    judge_on_root(world_, [&] { files_->finish(); });
    constexpr int wrong = 1, bound_violated = 3;
    return wrong_ ? wrong : violated_ ? bound_violated : EXIT_SUCCESS;
}

std::function<std::unique_ptr<Device>()> device_maker(const std::string& isa, const Communicator& world) {
    const InstructionSet set = choose_instruction_set(isa, world);
    return [set, cpus = places_for(1, world, std::cerr)] { return make_cpu_device(1, set, cpus); };
}

void expect_positive(const char* flag, std::span<const int> values) {
    if (values.empty()) throw UserError(concat(flag, ": nothing, expected numbers of at least 1"));
    for (const int value : values)
        if (value < 1) throw UserError(concat(flag, ": ", value, ", expected at least 1"));
}

}  // namespace expar::cli
