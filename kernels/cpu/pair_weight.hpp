#pragma once

#include <algorithm>
#include <vector>

#include "floats.hpp"
#include "pair_kernels.hpp"
#include "right_factor.hpp"
#include "threads.hpp"

namespace expar {

[[nodiscard]] inline int whole_depth(int depth) {
    return (depth + pair_depth_multiple - 1) / pair_depth_multiple * pair_depth_multiple;
}
[[nodiscard]] inline int whole_panels(int columns) {
    return (columns + pair_panel_columns - 1) / pair_panel_columns * pair_panel_columns;
}

/// The bits of bfloat16 in scratch memory, whose unit is a float.
[[nodiscard]] inline bfloat16* pair_bits(float* memory) {
    return reinterpret_cast<bfloat16*>(memory);
}

/// In panels of pairs, rounded to bfloat16.
class PairWeight final : public RightFactor {
public:
    using RightFactor::RightFactor;
    void changed() override { plain_.fresh = transposed_.fresh = false; }

    /// Panels of depth(form), made by pack().
    [[nodiscard]] const bfloat16* panels(Form form) const { return copy(form).panels; }

    /// Packs those of `groups`' weights that have rows and have changed since.
    static void pack(const RowGroups& groups, Form form, const PairKernels& kernels, const Threads& threads) {
        constexpr int columns_at_once = 4 * pair_panel_columns;
        std::vector<PairWeight*> stale;
        for (std::size_t g = 0; g < groups.weights.size(); ++g) {
            auto& weight = static_cast<PairWeight&>(*groups.weights[g]);
            if (weight.copy(form).fresh || groups.offsets[g + 1] == groups.offsets[g]) continue;
            if (std::ranges::find(stale, &weight) != stale.end()) continue;  // it serves several groups
            weight.copy(form).reserve(std::size_t(whole_depth(weight.depth(form))) *
                                      whole_panels(weight.columns(form)));
            stale.push_back(&weight);
        }
        if (stale.empty()) return;
        const int parts = (stale.front()->columns(form) + columns_at_once - 1) / columns_at_once;
        threads.for_each_task(long(stale.size()) * parts, [&](long task, Scratch&) {
            stale[std::size_t(task / parts)]->pack_columns(form, int(task % parts) * columns_at_once, columns_at_once,
                                                           kernels);
        });
        for (PairWeight* weight : stale) weight->copy(form).fresh = true;
    }

private:
    struct Copy {
        Scratch memory;
        bfloat16* panels = nullptr;
        bool fresh = false;

        void reserve(std::size_t count) { panels = pair_bits(memory.floats(count / 2)); }
    };
    [[nodiscard]] Copy& copy(Form form) { return form == Form::plain ? plain_ : transposed_; }
    [[nodiscard]] const Copy& copy(Form form) const { return form == Form::plain ? plain_ : transposed_; }

    void pack_columns(Form form, int first, int most, const PairKernels& kernels) {
        const auto from = floats(values());
        const int count = std::min(most, columns(form) - first);
        bfloat16* to = copy(form).panels + std::ptrdiff_t(first) * whole_depth(depth(form));
        if (form == Form::plain)
            kernels.from_float32.right({from.data + first, from.stride, from.rows, count}, to);
        else
            kernels.from_float32.right_transposed({from.row(first), from.stride, count, from.cols}, to);
    }

    Copy plain_, transposed_;
};

}  // namespace expar
