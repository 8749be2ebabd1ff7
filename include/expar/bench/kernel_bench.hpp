#pragma once

#include <functional>
#include <iosfwd>
#include <span>
#include <string>
#include <vector>

#include "expar/bench/bound.hpp"
#include "expar/bench/dense_peer.hpp"
#include "expar/bench/statistics.hpp"
#include "expar/compute/cpu_device.hpp"

namespace expar {

/// What one kernel took on one shape, beside what it cannot take less than.
struct KernelRow {
    std::string kernel, shape;
    DType dtype = DType::float32;
    InstructionSet set = InstructionSet::avx2;
    int threads = 1;
    Spread seconds;
    Interval within;  ///< of the median
    int repetitions = 0;
    double bytes = 0, flops = 0;
    Rates rates;           ///< probed in turn with it, as far as the bound needs them: medians
    Rates best_rates;      ///< the fastest seen
    Bound bound;           ///< by the medians
    Bound best_bound;      ///< by the fastest
    double max_error = 0;  ///< against the reference device
    double tolerance = 0;
    std::string peer;     ///< which of its ways has the least median; empty: none
    Spread peer_seconds;  ///< in turn with it

    [[nodiscard]] double efficiency() const { return bound.seconds() / seconds.median; }
    /// Of the fastest repetition by the fastest probes: what is left when others use the machine meanwhile.
    [[nodiscard]] double best_efficiency() const { return best_bound.seconds() / seconds.min; }
    [[nodiscard]] bool passed() const { return max_error <= tolerance; }
    /// Faster than can be, beyond doubt: the bound is wrong, or what was cold is not.
    [[nodiscard]] bool bound_violated() const { return best_bound.seconds() > 1.05 * within.to; }
};

struct KernelBenchOptions {
    std::vector<InstructionSet> sets;
    int threads = 1;
    double seconds = 2;       ///< for each row at most
    std::vector<int> cpus{};  ///< one for each thread to stay on; none: the system chooses
};

/// Those of kernel_cases() whose kernel, shape and type have `filter` within. Throws UserError when none has.
[[nodiscard]] std::vector<KernelCase> chosen_kernels(const std::string& filter);

/// Measures them on every instruction set, cold: copies of the operands are used in turn, together as large as
/// cold_bytes(). Calls `done` after each. The peer is measured beside the first instruction set alone.
[[nodiscard]] std::vector<KernelRow> bench_kernels(std::span<const KernelCase> kernels,
                                                   const KernelBenchOptions& options, const DensePeer* peer,
                                                   const std::function<void(const KernelRow&)>& done);

// The table, and the same as JSON.
void print_heading(std::ostream& out);
void print_row(const KernelRow& row, std::ostream& out);
[[nodiscard]] std::string to_json(const std::vector<KernelRow>& rows, const DensePeer* peer);

}  // namespace expar
