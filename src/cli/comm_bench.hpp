#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "expar/bench/row_report.hpp"
#include "expar/comm/topology.hpp"
#include "expar/compute/cpu_device.hpp"

namespace expar::cli {

/// The flags of every benchmark of communication.
struct CommBenchFlags {
    explicit CommBenchFlags(CLI::App& command, double seconds_by_default);

    /// Throws UserError on every rank. Collective.
    void judge(const Communicator& world) const;
    /// Given, or asked of MPI. Collective.
    [[nodiscard]] Topology topology(const Communicator& world) const;

    int ranks_per_node = 0;
    double seconds;
    std::uint64_t seed = 1;
    std::string isa, json, csv;
};

/// Where the rows of a benchmark go: to the terminal and to files, on rank 0, as they are measured. Collective.
class RowOutput {
public:
    RowOutput(const CommBenchFlags& flags, const Topology& topology, std::span<const Column> columns,
              const Communicator& world);

    /// The rows of one point of a sweep, equal on all ranks.
    void add(std::vector<Cells> rows);
    /// Whoever waits for a long sweep: "[3/12] tokens 512".
    void progress(std::size_t done, std::size_t all, const std::string& what) const;
    /// Writes the files for good. The exit code: 1 when a row was wrong, 3 when one was faster than can be, else 0.
    [[nodiscard]] int finish();

private:
    const Communicator& world_;
    std::span<const Column> columns_;
    std::unique_ptr<RowFiles> files_;  // on rank 0
    bool heading_printed_ = false, wrong_ = false, violated_ = false;
};

/// The instruction set of all ranks, and a device with one thread on this rank's CPU each time it is called.
/// Collective.
[[nodiscard]] std::function<std::unique_ptr<Device>()> device_maker(const std::string& isa, const Communicator& world);

/// Throws UserError unless all values of a list are at least 1.
void expect_positive(const char* flag, std::span<const int> values);

}  // namespace expar::cli
