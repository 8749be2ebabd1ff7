#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "expar/base/device.hpp"
#include "expar/bench/bench_row.hpp"
#include "expar/comm/topology.hpp"

namespace expar {

struct AllreduceOptions {
    Topology topology{};
    double link_bytes_per_second = 0;  ///< of a node, each way; no bound is set by it when 0
    std::uint64_t seed = 1;
    Patience patience{.seconds = 2, .relative_width = 0.05};
    std::function<std::unique_ptr<Device>()> make_device{};  ///< local
};

/// Sums a vector of `bytes` bytes over all ranks, one iteration of each in turn: "gradient_reducer", as training does,
/// float32 in blocks of a mebibyte; "communicator_sum", as the library adds figures, float64; "MPI_Allreduce", float32.
/// Every element of the last sum is checked. Throws Error unless `bytes` is a multiple of 8.
///
/// The bound is a plain copy of the vector by all ranks at once, since each must read its own and write the sum, or
/// what the link of a node must carry: 2 (N - 1) / N of the vector for N nodes. The same rows on every rank.
/// Collective.
[[nodiscard]] std::vector<AllreduceRow> bench_allreduce(std::size_t bytes, const AllreduceOptions& options,
                                                        const Communicator& world);

}  // namespace expar
