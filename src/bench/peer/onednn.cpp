#include <omp.h>

#include <dnnl.hpp>
#include <vector>

#include "dense_peer.hpp"

namespace expar {
namespace {

using dnnl::memory;

memory::data_type type_of(DType dtype) {
    return dtype == DType::float32 ? memory::data_type::f32 : memory::data_type::bf16;
}

// A matrix of rows x columns, as it is stored or transposed.
memory::desc describe(int rows, int columns, bool transposed, DType dtype) {
    const memory::dims strides = transposed ? memory::dims{1, rows} : memory::dims{columns, 1};
    return {{rows, columns}, type_of(dtype), strides};
}

// OpenMP's number of threads, which is as before once this is gone.
class ThreadCount {
public:
    explicit ThreadCount(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
    ThreadCount(const ThreadCount&) = delete;
    ThreadCount& operator=(const ThreadCount&) = delete;
    ~ThreadCount() { omp_set_num_threads(before_); }

private:
    int before_;
};

struct Shared {
    dnnl::engine engine{dnnl::engine::kind::cpu, 0};
    dnnl::stream stream{engine};
};

// The operands of one product, as they are stored.
struct Operands {
    memory a, b, c;
};

class OneDnn final : public DensePeer {
public:
    explicit OneDnn(int threads) : threads_(threads) {}

    [[nodiscard]] std::string name() const override { return dense_peer_built_with(); }

    [[nodiscard]] std::vector<Way> ways(const KernelCase::DenseProduct& product, DType dtype) const override {
        std::vector<Way> ways;
        if (dtype == DType::float32) ways.push_back(sgemm(product));
        try {
            ways.push_back(matmul(product, dtype));
        } catch (const dnnl::error& error) {
            if (error.status != dnnl_unimplemented) throw;  // of this type on this processor
        }
        return ways;
    }

private:
    // Its threads are OpenMP's; primitives ask for their number when they are made and when they run.
    template <class Work>
    [[nodiscard]] auto on_threads(Work work) const {
        return [work, threads = threads_]() mutable {
            const ThreadCount count(threads);
            work();
        };
    }

    [[nodiscard]] memory random(const memory::desc& desc, DType dtype, std::uint64_t seed) const {
        memory plain(describe(int(desc.dims()[0]), int(desc.dims()[1]), false, DType::float32), shared_.engine);
        fill({plain.get_data_handle(), int(desc.dims()[0]), int(desc.dims()[1]), DType::float32}, 1, seed);
        if (dtype == DType::float32) return plain;
        return reordered(plain, desc);
    }

    [[nodiscard]] memory reordered(memory from, const memory::desc& desc) const {
        memory to(desc, shared_.engine);
        dnnl::stream stream = shared_.stream;
        dnnl::reorder(from, to).execute(stream, from, to);
        stream.wait();
        return to;
    }

    [[nodiscard]] Operands operands(const KernelCase::DenseProduct& p, DType dtype) const {
        const auto stored = [&](int rows, int columns, bool transposed) {
            return transposed ? describe(columns, rows, false, dtype) : describe(rows, columns, false, dtype);
        };
        return {random(stored(p.rows, p.depth, p.a_transposed), dtype, 1),
                random(stored(p.depth, p.columns, p.b_transposed), dtype, 2),
                memory(describe(p.rows, p.columns, false, p.wide_c ? wide(dtype) : dtype), shared_.engine)};
    }

    [[nodiscard]] std::function<float(int, int)> reader(const memory& c) const {
        return [=, this](int row, int column) {
            const auto dims = c.get_desc().dims();
            const memory plain = reordered(c, describe(int(dims[0]), int(dims[1]), false, DType::float32));
            return static_cast<const float*>(plain.get_data_handle())[row * dims[1] + column];
        };
    }

    [[nodiscard]] Way sgemm(const KernelCase::DenseProduct& p) const {
        const Operands o = operands(p, DType::float32);
        const auto floats = [](const memory& m) { return static_cast<float*>(m.get_data_handle()); };
        return {"oneDNN sgemm", on_threads([=] {
                    dnnl::sgemm(p.a_transposed ? 'T' : 'N', p.b_transposed ? 'T' : 'N', p.rows, p.columns, p.depth, 1,
                                floats(o.a), p.a_transposed ? p.rows : p.depth, floats(o.b),
                                p.b_transposed ? p.depth : p.columns, 0, floats(o.c), p.columns);
                }),
                reader(o.c)};
    }

    // The primitive, with a weight in the layout that it asks for.
    [[nodiscard]] Way matmul(const KernelCase::DenseProduct& p, DType dtype) const {
        const Operands o = operands(p, dtype);
        const auto a = describe(p.rows, p.depth, p.a_transposed, dtype);
        const auto b = describe(p.depth, p.columns, p.b_transposed, dtype);
        dnnl::matmul primitive;
        memory weight(b, shared_.engine, o.b.get_data_handle());
        on_threads([&] {
            const memory::desc wanted =
                p.constant_b ? memory::desc(b.dims(), type_of(dtype), memory::format_tag::any) : b;
            const dnnl::matmul::primitive_desc description({a, wanted, o.c.get_desc()}, shared_.engine);
            primitive = dnnl::matmul(description);
            if (description.weights_desc() != b) weight = reordered(weight, description.weights_desc());
        })();
        const memory left(a, shared_.engine, o.a.get_data_handle());
        return {
            p.constant_b ? "oneDNN matmul, packed" : "oneDNN matmul",
            on_threads([=, stream = shared_.stream, keep = o]() mutable {
                primitive.execute(stream, {{DNNL_ARG_SRC, left}, {DNNL_ARG_WEIGHTS, weight}, {DNNL_ARG_DST, keep.c}});
                stream.wait();
            }),
            reader(o.c)};
    }

    int threads_;
    Shared shared_;
};

dnnl::cpu_isa isa_of(InstructionSet set) {
    switch (set) {
        case InstructionSet::avx2:
            return dnnl::cpu_isa::avx2;
        case InstructionSet::avx512:
            return dnnl::cpu_isa::avx512_core;
        case InstructionSet::avx512_bf16:
            return dnnl::cpu_isa::avx512_core_bf16;
        case InstructionSet::amx:
            return dnnl::cpu_isa::avx512_core_amx;
    }
    return dnnl::cpu_isa::all;
}

}  // namespace

std::unique_ptr<DensePeer> make_dense_peer(int threads, InstructionSet set) {
    (void)dnnl::set_max_cpu_isa(isa_of(set));  // refused once it has run: the first call decides
    return std::make_unique<OneDnn>(threads);
}

std::string dense_peer_built_with() {
    const dnnl_version_t* version = dnnl_version();
    return concat("oneDNN ", version->major, ".", version->minor, ".", version->patch);
}

}  // namespace expar
