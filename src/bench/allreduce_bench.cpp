#include "expar/bench/allreduce_bench.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "expar/base/error.hpp"
#include "expar/bench/measure_together.hpp"
#include "expar/comm/bare_allreduce.hpp"
#include "expar/train/gradient_reducer.hpp"
#include "row_loops.hpp"

namespace expar {
namespace {

// Whole numbers, so that sums are exact in float32 for any order of up to 2^20 ranks.
double value_of(int rank, std::size_t i) {
    return double(rank % 5 + 1) * double(i % 3 + 1);
}

double sum_of(int ranks, std::size_t i) {
    double sum = 0;
    for (int rank = 0; rank < ranks; ++rank) sum += value_of(rank, i);
    return sum;
}

/// One way to sum, with a vector of its own.
class Sum {
public:
    explicit Sum(std::string name) : name_(std::move(name)) {}
    virtual ~Sum() = default;
    /// This rank's numbers, again.
    virtual void fill(int rank) = 0;
    virtual void run() = 0;
    /// Elements that are not the sum over so many ranks.
    [[nodiscard]] virtual std::int64_t wrong(int ranks) const = 0;
    [[nodiscard]] const std::string& name() const { return name_; }

protected:
    template <class T>
    static void fill(std::span<T> values, std::size_t first, int rank) {
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = T(value_of(rank, first + i));
    }
    template <class T>
    static std::int64_t wrong(std::span<const T> values, std::size_t first, int ranks) {
        double expected[3];
        for (std::size_t i = 0; i < 3; ++i) expected[i] = sum_of(ranks, i);
        std::int64_t count = 0;
        for (std::size_t i = 0; i < values.size(); ++i) count += double(values[i]) != expected[(first + i) % 3] ? 1 : 0;
        return count;
    }

private:
    std::string name_;
};

class BareSum : public Sum {
public:
    BareSum(std::size_t bytes, const Communicator& world)
        : Sum("MPI_Allreduce"), world_(world.duplicate()), values_(bytes / sizeof(float)) {}
    void fill(int rank) override { Sum::fill(std::span(values_), 0, rank); }
    void run() override { bare_allreduce(world_, values_); }
    [[nodiscard]] std::int64_t wrong(int ranks) const override { return Sum::wrong(std::span(values_), 0, ranks); }

private:
    Communicator world_;
    std::vector<float> values_;
};

class CommunicatorSum : public Sum {
public:
    CommunicatorSum(std::size_t bytes, const Communicator& world)
        : Sum("communicator_sum"), world_(world), values_(bytes / sizeof(double)) {}
    void fill(int rank) override { Sum::fill(std::span(values_), 0, rank); }
    void run() override { world_.sum(std::span(values_), {"benchmark"}); }
    [[nodiscard]] std::int64_t wrong(int ranks) const override { return Sum::wrong(std::span(values_), 0, ranks); }

private:
    const Communicator& world_;
    std::vector<double> values_;
};

class ReducerSum : public Sum {
public:
    ReducerSum(std::size_t bytes, Device& device, const Communicator& world) : Sum("gradient_reducer") {
        constexpr std::size_t of_a_block = (std::size_t(1) << 20) / sizeof(float);
        for (std::size_t left = bytes / sizeof(float); left > 0; left -= std::min(left, of_a_block)) {
            BlockSpec spec;
            const std::string name = concat("block", blocks_.size());
            spec.tensors.push_back({.name = name, .rows = 1, .cols = int(std::min(left, of_a_block))});
            blocks_.push_back(std::make_unique<ParameterBlock>(device, DType::float32, std::move(spec)));
        }
        reducer_ = std::make_unique<GradientReducer>(device, blocks_, linear_placement(1, world.size(), world.size()),
                                                     Layout(world.size(), world.size()), world);
    }
    void fill(int rank) override {
        std::size_t first = 0;
        for (const auto& block : blocks_) {
            const auto values = block->flat_gradient().row<float>(0);
            Sum::fill(std::span<float>(values), first, rank);
            first += values.size();
        }
    }
    void run() override {
        for (const auto& block : blocks_) reducer_->ready(*block);
        reducer_->finish();
    }
    [[nodiscard]] std::int64_t wrong(int ranks) const override {
        std::int64_t count = 0;
        std::size_t first = 0;
        for (const auto& block : blocks_) {
            const auto values = block->flat_gradient().row<float>(0);
            count += Sum::wrong(std::span<const float>(values), first, ranks);
            first += values.size();
        }
        return count;
    }

private:
    std::vector<std::unique_ptr<ParameterBlock>> blocks_;
    std::unique_ptr<GradientReducer> reducer_;
};

/// A vector here to a vector there.
class PlainCopy {
public:
    explicit PlainCopy(std::size_t bytes) : bytes_(bytes), from_(allocated(bytes)), to_(allocated(bytes)) {}
    void run(Stores stores) {
        std::byte* to = to_.get();
        row_loops().copy_to(from_.get(), std::span(&to, 1), bytes_, stores);
        complete_stores();
    }

private:
    static constexpr std::align_val_t page{4096};
    struct Free {
        void operator()(std::byte* memory) const { ::operator delete(memory, page); }
    };
    static std::unique_ptr<std::byte, Free> allocated(std::size_t bytes) {
        std::unique_ptr<std::byte, Free> memory(static_cast<std::byte*>(::operator new(bytes, page)));
        std::memset(memory.get(), 0, bytes);
        return memory;
    }

    std::size_t bytes_;
    std::unique_ptr<std::byte, Free> from_, to_;
};

// Both kinds of stores, then the sums.
std::vector<std::vector<double>> measure(std::span<const std::unique_ptr<Sum>> sums, PlainCopy& copy,
                                         const AllreduceOptions& options, const Communicator& world) {
    std::vector<Turn> turns;
    for (const Stores stores : {Stores::ordinary, Stores::past_caches})
        turns.push_back({1, [&copy, &world, stores](std::span<double> seconds) {
                             seconds[0] = seconds_together(world, [&] { copy.run(stores); });
                         }});
    for (const auto& sum : sums)
        turns.push_back({1, [&sum, &world](std::span<double> seconds) {
                             sum->fill(world.rank());
                             seconds[0] = seconds_together(world, [&] { sum->run(); });
                         }});
    return measure_together(turns, {.patience = options.patience, .warm_up = 2, .seed = options.seed}, world);
}

}  // namespace

std::vector<AllreduceRow> bench_allreduce(std::size_t bytes, const AllreduceOptions& options,
                                          const Communicator& world) {
    if (bytes == 0 || bytes % sizeof(double) != 0)
        throw Error(concat("sum of ", bytes, " bytes, expected a multiple of ", sizeof(double)));
    const auto device = options.make_device();
    std::vector<std::unique_ptr<Sum>> sums;
    sums.push_back(std::make_unique<ReducerSum>(bytes, *device, world));
    sums.push_back(std::make_unique<CommunicatorSum>(bytes, world));
    sums.push_back(std::make_unique<BareSum>(bytes, world));
    PlainCopy copy(bytes);
    const auto times = measure(sums, copy, options, world);

    double bound = std::min(spread_of(times[0]).median, spread_of(times[1]).median);
    const int nodes = options.topology.nodes();
    if (options.link_bytes_per_second > 0)
        bound = std::max(bound, 2.0 * (nodes - 1) / nodes * double(bytes) / options.link_bytes_per_second);
    std::vector<AllreduceRow> rows;
    for (std::size_t i = 0; i < sums.size(); ++i) {
        AllreduceRow& row = rows.emplace_back();
        row.bytes = std::int64_t(bytes);
        row.algorithm = sums[i]->name();
        row.time = summary_of(times[i + 2]);
        row.ranks = world.size();
        if (world.size() > 1) row.bound_seconds = bound;  // else nothing need be done
        row.wrong_elements = sums[i]->wrong(world.size());
        world.sum(std::span(&row.wrong_elements, 1), {"benchmark"});
    }
    return rows;
}

}  // namespace expar
