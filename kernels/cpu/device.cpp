#include <algorithm>
#include <cstring>

#include "expar/compute/cpu_device.hpp"
#include "expar/compute/pausing.hpp"
#include "memory_pool.hpp"
#include "operations.hpp"

namespace expar {
namespace {

class CpuDevice final : public Device, public Pausing {
public:
    CpuDevice(int threads, std::span<const int> cpus, const VectorKernels& kernels, const PairKernels* pairs)
        : threads_(threads, cpus), context_{threads_, kernels, pairs} {}

    [[nodiscard]] std::string_view name() const override { return "cpu"; }
    [[nodiscard]] MemoryKind memory() const override { return MemoryKind::host; }

    [[nodiscard]] void* allocate(std::size_t bytes) override { return pool_.allocate(bytes); }
    void release(void* data, std::size_t) noexcept override { pool_.release(data); }
    void fill_zero(void* data, std::size_t bytes, Stream&) override {
        if (bytes) std::memset(data, 0, bytes);
    }
    void copy(const void* from, void* to, std::size_t bytes, Stream&) override {
        if (bytes) std::memmove(to, from, bytes);
    }

    std::function<void()> on_pause(std::function<void()> call) override { return threads_.on_pause(std::move(call)); }

    [[nodiscard]] Stream& stream() override { return stream_; }
    void synchronize() override {}

    [[nodiscard]] const MatrixProduct& product() const override { return *product_; }
    [[nodiscard]] const RowOperations& rows() const override { return *rows_; }
    [[nodiscard]] const RoutingOperations& routing() const override { return *routing_; }
    [[nodiscard]] const ActivationOperations& activation() const override { return *activation_; }
    [[nodiscard]] const NormOperations& norm() const override { return *norm_; }
    [[nodiscard]] const AttentionOperations& attention() const override { return *attention_; }
    [[nodiscard]] const LossOperations& loss() const override { return *loss_; }
    [[nodiscard]] const UpdateOperations& update() const override { return *update_; }

private:
    MemoryPool pool_;
    Threads threads_;
    CpuContext context_;
    Stream stream_;
    std::unique_ptr<MatrixProduct> product_ = make_cpu_product(context_);
    std::unique_ptr<RowOperations> rows_ = make_cpu_rows(context_);
    std::unique_ptr<RoutingOperations> routing_ = make_cpu_routing(context_);
    std::unique_ptr<ActivationOperations> activation_ = make_cpu_activation(context_);
    std::unique_ptr<NormOperations> norm_ = make_cpu_norm(context_);
    std::unique_ptr<AttentionOperations> attention_ = make_cpu_attention(context_);
    std::unique_ptr<LossOperations> loss_ = make_cpu_loss(context_);
    std::unique_ptr<UpdateOperations> update_ = make_cpu_update(context_);
};

std::string list_of(const std::vector<InstructionSet>& sets) {
    std::string names;
    for (const InstructionSet set : sets) names += concat(names.empty() ? "" : ", ", name_of(set));
    return names;
}

const VectorKernels& kernels_of(InstructionSet set) {
    switch (set) {
        case InstructionSet::avx2:
            return avx2_kernels;
        case InstructionSet::avx512:
        case InstructionSet::avx512_bf16:
        case InstructionSet::amx:
            return avx512_kernels;
    }
    throw Error(concat("cpu: unknown instruction set ", int(set)));
}

const PairKernels* pairs_of(InstructionSet set) {
    switch (set) {
        case InstructionSet::avx512_bf16:
            return &avx512_bf16_pair_kernels;
        case InstructionSet::amx:
            return &amx_pair_kernels;
        default:
            return nullptr;
    }
}

}  // namespace

std::unique_ptr<Device> make_cpu_device(int threads) {
    const auto sets = instruction_sets();
    if (sets.empty()) throw UserError(concat("the processor '", cpu_features().model, "' lacks AVX2 and FMA"));
    return make_cpu_device(threads, sets.front());
}

std::unique_ptr<Device> make_cpu_device(int threads, InstructionSet set, std::span<const int> cpus) {
    if (threads < 1) throw UserError(concat("threads: ", threads, ", expected at least 1"));
    const auto sets = instruction_sets();
    if (std::ranges::find(sets, set) == sets.end())
        throw UserError(concat("isa: the processor '", cpu_features().model, "' lacks ", name_of(set),
                               ", expected one of ", list_of(sets)));
    return std::make_unique<CpuDevice>(threads, cpus, kernels_of(set), pairs_of(set));
}

}  // namespace expar
