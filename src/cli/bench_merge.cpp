#include <algorithm>
#include <iostream>

#include "bench.hpp"
#include "expar/base/read_file.hpp"
#include "expar/bench/merge_rows.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/partial_file.hpp"

namespace expar::cli {
namespace {

struct MergeCommand {
    std::vector<std::string> files;
    std::string json, csv;
};

// Which benchmark's rows they are.
std::span<const Column> columns_of(const Cells& row) {
    const auto has = [&](std::string_view key) { return std::ranges::find(row, key, &Cell::key) != row.end(); };
    if (has("pattern")) return probe_columns();
    if (has("algorithm")) return allreduce_columns();
    return dispatch_columns();
}

void merge(const MergeCommand& command) {
    constexpr std::size_t most_bytes = std::size_t{1} << 30;
    std::vector<RowFile> files;
    std::string names;
    for (const std::string& name : command.files) {
        files.push_back(rows_of_json(read_file(name, most_bytes), name));
        names += concat(names.empty() ? "" : "; ", name);
    }
    RowFile merged = merge_rows(files);
    merged.provenance.push_back({"merged", names});
    RowFiles written(merged.provenance, command.json, command.csv);
    for (const Cells& row : merged.rows) {
        if (&row == &merged.rows.front()) std::cout << heading_line(columns_of(row)) << "\n";
        std::cout << row_line(columns_of(row), row) << "\n";
        written.add(row);
    }
    std::cout << std::flush;
    written.finish();
}

}  // namespace

Runner add_bench_merge(CLI::App& command) {
    const auto asked = std::make_shared<MergeCommand>();
    command.add_option("FILES", asked->files, "what --json of several launches has written")->required();
    command.add_option("--json", asked->json, "write the merged rows there")->type_name("FILE");
    command.add_option("--csv", asked->csv, "write the merged rows there")->type_name("FILE");
    return [asked](const Communicator& world) {
        judge_on_root(world, [&] { merge(*asked); });
        return 0;
    };
}

}  // namespace expar::cli
