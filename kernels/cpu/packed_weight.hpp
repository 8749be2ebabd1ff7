#pragma once

#include <array>
#include <span>

#include "floats.hpp"
#include "right_factor.hpp"
#include "threads.hpp"
#include "vector_kernels.hpp"

namespace expar {

/// In panels of float32. Of bfloat16 it is
/// rounded, but not narrower.
class PackedWeight final : public RightFactor {
public:
    using RightFactor::RightFactor;
    void changed() override { fresh_ = {}; }

    /// Panel p of the form, [depth, panel_columns], followed by the next. After pack().
    [[nodiscard]] const float* panel(Form form, int p, const ProductKernels& kernels) const {
        return panels_[index(form)] + p * panel_floats(form, kernels);
    }

    /// Packs those of `groups`' weights that have rows and have changed since.
    static void pack(const RowGroups& groups, Form form, const VectorKernels& kernels, const Threads& threads);

    /// For a caller who packs panels where they are used: whether the form is stale, which then has memory for them
    /// all.
    [[nodiscard]] bool begin(Form form, const ProductKernels& kernels);
    void pack_panel(Form form, int p, const VectorKernels& kernels, Scratch& scratch) const;
    void end(Form form) { fresh_[index(form)] = true; }

private:
    [[nodiscard]] static constexpr std::size_t index(Form form) { return std::size_t(form); }
    [[nodiscard]] int panel_count(Form form, const ProductKernels& kernels) const {
        return (columns(form) + kernels.panel_columns - 1) / kernels.panel_columns;
    }
    [[nodiscard]] std::ptrdiff_t panel_floats(Form form, const ProductKernels& kernels) const {
        return std::ptrdiff_t(depth(form)) * kernels.panel_columns;
    }
    std::array<Scratch, 2> memory_;
    std::array<float*, 2> panels_{};
    std::array<bool, 2> fresh_{};
};

}  // namespace expar
