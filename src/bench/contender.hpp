#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "expar/bench/access_probe.hpp"
#include "expar/bench/dispatch_bench.hpp"
#include "expar/bench/measure_together.hpp"
#include "expar/bench/oracle.hpp"
#include "expar/comm/bare_alltoallv.hpp"

namespace expar {

/// What is timed in an iteration.
enum class Region {
    plan,
    counts,
    dispatch,         ///< with the plan
    dispatch_cached,  ///< without
    combine,
    combine_backward,
    dispatch_backward,
    copy,
};
constexpr int region_count = int(Region::copy) + 1;

/// By region; 0 where a contender has no such thing.
using RegionSeconds = std::array<double, region_count>;

/// What a region did, counted while it ran.
struct RegionCounts {
    std::int64_t rows_delivered = 0, bytes_copied = 0;
    std::int64_t bytes_intra = 0, bytes_inter = 0;  ///< that this rank handed to MPI
    std::int64_t link_sent = 0, link_received = 0;  ///< of the node, by the kernel

    [[nodiscard]] RegionCounts since(const RegionCounts& before) const;
};

/// All that a dispatcher has counted since it was made, and the link's own counters.
[[nodiscard]] RegionCounts counts_of(const Dispatcher& dispatcher, const DispatchBenchOptions& options, int rank);

/// The workload of a cell as all contenders have it.
struct CellContext {
    const Communicator& world;
    const DispatchBenchOptions& options;
    DispatchCell cell;
    DType dtype;
    std::string workload{};
    Placement placement{};
    std::vector<RankRouting> all{};
    std::int64_t first_token = 0;  ///< of this rank
    RowNumbers numbers{};          ///< of this rank

    [[nodiscard]] std::size_t row_bytes() const { return std::size_t(cell.hidden) * size_of(dtype); }
    [[nodiscard]] const RankRouting& mine() const { return all[std::size_t(world.rank())]; }
    [[nodiscard]] RoutedLayer routed() const { return {all, &placement, 0}; }
};

/// At options.step, which is kept by reference as all others are.
[[nodiscard]] CellContext context_of(const DispatchCell& cell, const Workload& workload,
                                     const DispatchBenchOptions& options, const Communicator& world);

/// What takes its turn in a round: a dispatcher, or something that it is compared with. Collective.
class Contender {
public:
    virtual ~Contender() = default;
    /// Bytes that `slots` of its buffers take on this rank, about: what is in turn exceeds the caches.
    [[nodiscard]] virtual std::size_t slot_bytes() const = 0;
    /// Makes the buffers. Called once.
    virtual void prepare(int slots) = 0;
    /// This rank's seconds.
    [[nodiscard]] virtual RegionSeconds iterate(int slot) = 0;
};

/// The loops of AccessProbe, and a plain copy.
class ProbeContender : public Contender {
public:
    ProbeContender(const CellContext& context, Stores stores) : context_(context), stores_(stores) {}
    [[nodiscard]] std::size_t slot_bytes() const override;
    void prepare(int slots) override;
    [[nodiscard]] RegionSeconds iterate(int slot) override;
    [[nodiscard]] std::int64_t copy_bytes() const { return probe_->copy_bytes(); }

private:
    const CellContext& context_;
    Stores stores_;
    std::unique_ptr<AccessProbe> probe_;
};

/// Bare MPI_Alltoallv: of distinct rows out (dispatch) and home (combine), of a row for each choice out (combine
/// backward) and home (dispatch backward).
class AlltoallvContender : public Contender {
public:
    explicit AlltoallvContender(const CellContext& context);
    [[nodiscard]] std::size_t slot_bytes() const override;
    void prepare(int slots) override;
    [[nodiscard]] RegionSeconds iterate(int slot) override;

private:
    const CellContext& context_;
    int out_, in_;  // rows of choices
    BareAlltoallv distinct_out_, distinct_home_, choices_out_, choices_home_;
    std::unique_ptr<Device> device_;
    std::vector<Matrix> sources_, targets_;
};

/// Rows that a check has found wrong, of all ranks, by what moved them.
using WrongRows = std::array<std::int64_t, region_count>;

/// A dispatcher with one combine order.
class DispatcherContender : public Contender {
public:
    DispatcherContender(const CellContext& context, const std::string& name, const std::string& order);
    ~DispatcherContender() override;
    [[nodiscard]] std::size_t slot_bytes() const override;
    void prepare(int slots) override;
    [[nodiscard]] RegionSeconds iterate(int slot) override;

    /// An iteration in which every expert applies its own transform, and each row is compared with what it must be.
    void check();
    /// The most that a check has found.
    [[nodiscard]] const WrongRows& wrong() const { return wrong_; }
    /// Of the last iteration.
    [[nodiscard]] const std::array<RegionCounts, region_count>& counts() const { return counts_; }
    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] const std::string& order() const { return order_; }

private:
    struct Slot;
    template <class Work>
    double timed(Region region, Work&& work);
    [[nodiscard]] RegionCounts counted() const;
    void dispatch(Slot& slot, RegionSeconds& seconds);
    void combine(Slot& slot, RegionSeconds& seconds);  // and its backward
    void dispatch_backward(Slot& slot, RegionSeconds& seconds);
    void count_wrong(Region region, int rows);

    const CellContext& context_;
    std::string name_, order_;
    std::unique_ptr<Device> device_;
    std::unique_ptr<Dispatcher> dispatcher_;
    Routing routing_;
    std::vector<Slot> slots_;
    std::array<RegionCounts, region_count> counts_{};
    DispatchOracle oracle_;
    WrongRows wrong_{};
};

}  // namespace expar
