#include "expar/bench/machine_probe.hpp"

#include <algorithm>
#include <array>

#include "expar/bench/access_probe.hpp"
#include "expar/bench/measure_together.hpp"
#include "expar/bench/probe.hpp"
#include "expar/comm/bare_alltoallv.hpp"

namespace expar {
namespace {

constexpr double giga = 1e9;

ProbeRow row_of(const std::string& pattern, std::int64_t bytes, const std::vector<double>& seconds,
                const Communicator& world) {
    ProbeRow row{.pattern = pattern, .bytes = bytes};
    row.time = summary_of(seconds);
    row.ranks = world.size();
    if (bytes > 0 && row.time.median > 0) row.gb_per_second = double(bytes) / row.time.median / giga;
    return row;
}

class Machine {
public:
    Machine(const MachineProbeOptions& options, const Communicator& world) : options_(options), world_(world) {}

    [[nodiscard]] std::vector<ProbeRow> memory() const {
        using Loop = double (MemoryProbe::*)(std::size_t);
        constexpr std::array<std::pair<const char*, Loop>, 4> loops = {{{"read", &MemoryProbe::read},
                                                                        {"write", &MemoryProbe::write},
                                                                        {"copy", &MemoryProbe::copy},
                                                                        {"update in place", &MemoryProbe::update}}};
        MemoryProbe probe(1);
        const std::size_t piece = MemoryProbe::piece_for(double(2 * options_.bytes));
        std::vector<Turn> turns;
        for (const auto& [name, loop] : loops)
            turns.push_back({1, [&probe, loop, piece, this](std::span<double> seconds) {
                                 world_.barrier({"benchmark"});
                                 seconds[0] = (probe.*loop)(piece);
                             }});
        const auto values = measured(turns, 1);
        std::vector<ProbeRow> rows;
        for (std::size_t i = 0; i < loops.size(); ++i)
            rows.push_back(row_of(loops[i].first, std::int64_t(piece), values[i], world_));
        return rows;
    }

    [[nodiscard]] std::vector<ProbeRow> pattern(int top_k, std::size_t row_bytes) const {
        const int tokens = std::max(1, int(options_.bytes / row_bytes) / top_k);
        const int experts = std::max(2 * top_k, world_.size());
        const auto all = make_workload("uniform", {world_.size(), tokens, experts, top_k}, 1)->routings(0);
        const Placement placement = linear_placement(1, experts, world_.size());
        const RowPlaces places = row_places({all, &placement, 0}, world_.rank());
        const double of_node = 2.0 * double(row_bytes) * tokens * (1 + top_k) * world_.size() / nodes();
        const int areas = int(double(cold_bytes()) / of_node) + 1;
        AccessProbe probe(world_, options_.topology, places, row_bytes, areas);
        return measured_patterns(probe, concat("k=", top_k, ", rows of ", row_bytes, " bytes"));
    }

    [[nodiscard]] ProbeRow barrier() const {
        const std::vector<Turn> turns = {{1, [this](std::span<double> seconds) {
                                              seconds[0] =
                                                  seconds_together(world_, [this] { world_.barrier({"benchmark"}); });
                                          }}};
        ProbeRow row = row_of("barrier", 0, measured(turns, 10).front(), world_);
        row.alpha_seconds = row.time.median;
        return row;
    }

    // Equal rows for all; the least of them stands for what it takes without bytes.
    [[nodiscard]] std::vector<ProbeRow> alltoallv() const {
        constexpr std::array<int, 4> columns = {2, 1024, 65536, 1048576};  // float32
        const auto device = options_.make_device();
        const std::vector<int> one(std::size_t(world_.size()), 1);
        std::vector<ProbeRow> rows;
        for (const int cols : columns) {
            const BareAlltoallv all_to_all(world_, {one, one}, cols, DType::float32);
            Matrix send(*device, DType::float32, world_.size(), cols),
                recv(*device, DType::float32, world_.size(), cols);
            send.zero(device->stream());
            recv.zero(device->stream());
            const std::vector<Turn> turns = {{1, [&](std::span<double> seconds) {
                                                  seconds[0] =
                                                      seconds_together(world_, [&] { all_to_all.run(send, recv); });
                                              }}};
            const auto bytes = std::int64_t(send.view().bytes());
            rows.push_back(row_of("MPI_Alltoallv", bytes, measured(turns, 3).front(), world_));
            rows.back().alpha_seconds = rows.front().time.median;
        }
        return rows;
    }

    // There and back between the first two ranks, halved; the others wait.
    [[nodiscard]] std::vector<ProbeRow> messages() const {
        constexpr std::array<int, 4> columns = {2, 1024, 65536, 1048576};
        const auto device = options_.make_device();
        std::vector<ProbeRow> rows;
        for (const int cols : columns) {
            Matrix values(*device, DType::float32, 1, cols);
            values.zero(device->stream());
            const auto turn = [&](std::span<double> seconds) {
                seconds[0] = seconds_together(world_, [&] { there_and_back(values); }) / 2;
            };
            const std::vector<Turn> turns = {{1, turn}};
            const auto bytes = std::int64_t(values.view().bytes());
            rows.push_back(row_of("message", bytes, measured(turns, 3).front(), world_));
            rows.back().alpha_seconds = rows.front().time.median;
        }
        return rows;
    }

private:
    [[nodiscard]] int nodes() const { return options_.topology.nodes(); }

    [[nodiscard]] std::vector<std::vector<double>> measured(std::span<const Turn> turns, int warm_up) const {
        return measure_together(turns, {.patience = options_.patience, .warm_up = warm_up}, world_);
    }

    void there_and_back(Matrix& values) const {
        if (world_.rank() > 1) return;
        const int other = 1 - world_.rank();
        const auto send = [&] { world_.start_send(values, other, {"benchmark"}).finish(); };
        const auto receive = [&] { world_.start_receive(values, other, {"benchmark"}).finish(); };
        if (world_.rank() == 0) send();
        receive();
        if (world_.rank() == 1) send();
    }

    // Both kinds of stores in turn; the faster counts.
    [[nodiscard]] std::vector<ProbeRow> measured_patterns(AccessProbe& probe, const std::string& shape) const {
        constexpr std::array names = {"dispatch", "combine", "combine backward", "dispatch backward", "copy"};
        constexpr int parts = int(names.size());
        std::vector<Turn> turns;
        for (const Stores stores : {Stores::ordinary, Stores::past_caches})
            turns.push_back({parts, [&probe, stores, area = 0, this](std::span<double> seconds) mutable {
                                 area = (area + 1) % probe.areas();
                                 take_patterns(probe, area, stores, seconds);
                             }});
        const auto values = measured(turns, probe.areas() + 1);
        std::vector<ProbeRow> rows;
        for (int part = 0; part < parts; ++part) {
            const auto &ordinary = values[std::size_t(part)], &past = values[std::size_t(parts + part)];
            const bool past_is_faster = spread_of(past).median < spread_of(ordinary).median;
            double bytes = double(part + 1 == parts ? probe.copy_bytes() : probe.bytes(RowMovement(part)));
            world_.max(std::span(&bytes, 1), {"benchmark"});
            rows.push_back(row_of(concat(names[std::size_t(part)], ", ", shape, past_is_faster ? ", past caches" : ""),
                                  std::int64_t(bytes), past_is_faster ? past : ordinary, world_));
        }
        return rows;
    }

    void take_patterns(AccessProbe& probe, int area, Stores stores, std::span<double> seconds) const {
        const auto move = [&](RowMovement movement) {
            return seconds_together(world_, [&] { probe.move(movement, area, stores); });
        };
        const auto serve = [&](AccessProbe::Pass pass) {
            world_.barrier({"benchmark"});
            probe.serve(area, pass);
        };
        seconds[0] = move(RowMovement::dispatch);
        serve(AccessProbe::Pass::forward);
        seconds[1] = move(RowMovement::combine);
        seconds[2] = move(RowMovement::combine_backward);
        serve(AccessProbe::Pass::backward);
        seconds[3] = move(RowMovement::dispatch_backward);
        seconds[4] = seconds_together(world_, [&] { probe.copy(area, stores); });
    }

    const MachineProbeOptions& options_;
    const Communicator& world_;
};

}  // namespace

void probe_machine(const MachineProbeOptions& options, const Communicator& world,
                   const std::function<void(std::vector<ProbeRow>)>& done) {
    const Machine machine(options, world);
    done(machine.memory());
    for (const std::size_t row_bytes : options.row_bytes)
        for (const int top_k : options.top_k) done(machine.pattern(top_k, row_bytes));
    done({machine.barrier()});
    if (world.size() == 1) return;
    done(machine.alltoallv());
    done(machine.messages());
}

}  // namespace expar
