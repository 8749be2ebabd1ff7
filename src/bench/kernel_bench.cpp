#include "expar/bench/kernel_bench.hpp"

#include <algorithm>
#include <utility>

#include "expar/bench/kernel_cases.hpp"
#include "expar/bench/probe.hpp"

namespace expar {
namespace {

std::string line_of(const KernelCase& kernel) {
    return concat(kernel.kernel, " ", kernel.shape, " ", name_of(kernel.dtype));
}

std::string kernel_names() {
    std::vector<std::string> names;
    for (const KernelCase& kernel : kernel_cases(DType::float32))
        if (std::ranges::find(names, kernel.kernel) == names.end()) names.push_back(kernel.kernel);
    std::string all;
    for (const std::string& name : names) all += concat(all.empty() ? "" : ", ", name);
    return all;
}

// As many copies of the operands as it takes for the first to be cold again after the last.
std::vector<Operands> cold_copies(const KernelCase& kernel, Device& device) {
    constexpr std::size_t most = 4096;
    std::vector<Operands> copies;
    copies.push_back(make_operands(kernel, device));
    std::size_t bytes = 0;
    for (const Matrix& matrix : copies.front().matrices) bytes += matrix.view().bytes();
    const std::size_t count = std::min(most, (cold_bytes() + bytes - 1) / bytes);
    while (copies.size() < count) copies.push_back(copy_of(kernel, copies.front(), device));
    for (Operands& copy : copies) kernel.run(device, copy);  // packs weights, and touches every page
    return copies;
}

// What is measured in turn, all on threads of the same CPUs, and where the medians go.
class Round {
public:
    explicit Round(std::span<const int> cpus) : cpus_(cpus) {}

    void add(std::function<double()> kind, std::function<void(const std::vector<double>&)> use) {
        kinds_.push_back([cpus = cpus_, run = std::move(kind)] {
            keep_threads_on(cpus);
            return run();
        });
        uses_.push_back(std::move(use));
    }
    void run(const Patience& patience) const {
        const auto values = measure_in_turn(kinds_, patience);
        for (std::size_t i = 0; i < values.size(); ++i) uses_[i](values[i]);
    }

private:
    std::span<const int> cpus_;
    std::vector<std::function<double()>> kinds_;
    std::vector<std::function<void(const std::vector<double>&)>> uses_;
};

// Those of the four loops that the bound of this traffic needs.
void add_memory_probes(const MemoryTraffic& traffic, MemoryProbe& probe, KernelRow& row, Round& round) {
    const std::size_t piece = MemoryProbe::piece_for(traffic.bytes());
    const auto add = [&](double bytes, double (MemoryProbe::*loop)(std::size_t), double Bandwidth::*rate) {
        if (bytes <= 0) return;
        round.add([&probe, loop, piece] { return (probe.*loop)(piece); },
                  [&row, rate, piece](const std::vector<double>& values) {
                      const Spread seconds = spread_of(values);
                      row.rates.bandwidth.*rate = double(piece) / seconds.median;
                      row.best_rates.bandwidth.*rate = double(piece) / seconds.min;
                  });
    };
    add(traffic.read - traffic.written, &MemoryProbe::read, &Bandwidth::read);
    add(traffic.written - traffic.read, &MemoryProbe::write, &Bandwidth::write);
    add(std::min(traffic.read, traffic.written), &MemoryProbe::copy, &Bandwidth::copy);
    add(traffic.updated, &MemoryProbe::update, &Bandwidth::update);
}

void add_dense_probes(DenseProbe& own, const DensePeer* peer, KernelRow& row, Round& round) {
    const auto use = [&row](const std::vector<double>& values) {
        const Spread seconds = spread_of(values);
        for (const auto& [rates, least] : {std::pair{&row.rates, seconds.median}, {&row.best_rates, seconds.min}})
            rates->flops_per_second = std::max(rates->flops_per_second, DenseProbe::flops / least);
    };
    round.add([&own] { return own.run(); }, use);
    if (peer == nullptr) return;
    for (const auto& way : peer->ways(DenseProbe::product, row.dtype))
        round.add([run = way.run] { return seconds_of(run); }, use);
}

void add_peer(const KernelCase& kernel, const DensePeer* peer, KernelRow& row, Round& round) {
    if (peer == nullptr || kernel.dense.rows == 0) return;
    for (const auto& way : peer->ways(kernel.dense, kernel.dtype))
        round.add([run = way.run] { return seconds_of(run); },
                  [&row, name = way.name](const std::vector<double>& values) {
                      const Spread seconds = spread_of(values);
                      if (!row.peer.empty() && row.peer_seconds.median <= seconds.median) return;
                      row.peer = name;
                      row.peer_seconds = seconds;
                  });
}

class Bench {
public:
    Bench(const KernelBenchOptions& options, const DensePeer* peer)
        : options_(options), peer_(peer), memory_(options.threads) {}

    KernelRow measure(const KernelCase& kernel, InstructionSet set) {
        KernelRow row;
        row.kernel = kernel.kernel;
        row.shape = kernel.shape;
        row.dtype = kernel.dtype;
        row.set = set;
        row.threads = options_.threads;
        row.bytes = kernel.traffic.bytes();
        row.flops = kernel.flops;
        row.tolerance = kernel.tolerance;
        row.max_error = max_error(kernel, *device_for(set), *make_reference_device());
        time(kernel, set, row);
        row.bound = bound_of(kernel.traffic, kernel.flops, row.rates);
        row.best_bound = bound_of(kernel.traffic, kernel.flops, row.best_rates);
        return row;
    }

private:
    [[nodiscard]] std::unique_ptr<Device> device_for(InstructionSet set) const {
        return make_cpu_device(options_.threads, set, options_.cpus);
    }

    void time(const KernelCase& kernel, InstructionSet set, KernelRow& row) {
        const auto device = device_for(set);
        const DensePeer* peer = set == options_.sets.front() ? peer_ : nullptr;
        auto copies = cold_copies(kernel, *device);
        DenseProbe dense(*device, kernel.dtype);
        std::size_t next = 0;
        Round round(options_.cpus);
        round.add(
            [&] {
                Operands& operands = copies[next++ % copies.size()];
                return seconds_of([&] {
                    kernel.run(*device, operands);
                    device->synchronize();
                });
            },
            [&row](const std::vector<double>& seconds) {
                row.seconds = spread_of(seconds);
                row.within = median_within(seconds);
                row.repetitions = int(seconds.size());
            });
        add_peer(kernel, peer, row, round);
        add_dense_probes(dense, peer, row, round);
        add_memory_probes(kernel.traffic, memory_, row, round);
        round.run({.seconds = options_.seconds});
    }

    const KernelBenchOptions& options_;
    const DensePeer* peer_;
    MemoryProbe memory_;
};

}  // namespace

std::vector<KernelCase> chosen_kernels(const std::string& filter) {
    std::vector<KernelCase> kernels;
    for (const DType dtype : kernel_dtypes())
        for (KernelCase& kernel : kernel_cases(dtype))
            if (line_of(kernel).find(filter) != std::string::npos) kernels.push_back(std::move(kernel));
    if (kernels.empty())
        throw UserError(concat("--filter: nothing has '", filter, "' within; kernels: ", kernel_names()));
    return kernels;
}

std::vector<KernelRow> bench_kernels(std::span<const KernelCase> kernels, const KernelBenchOptions& options,
                                     const DensePeer* peer, const std::function<void(const KernelRow&)>& done) {
    Bench bench(options, peer);
    std::vector<KernelRow> rows;
    for (const KernelCase& kernel : kernels)
        for (const InstructionSet set : options.sets) {
            rows.push_back(bench.measure(kernel, set));
            done(rows.back());
        }
    return rows;
}

}  // namespace expar
