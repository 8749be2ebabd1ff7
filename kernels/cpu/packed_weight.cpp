#include "packed_weight.hpp"

#include <algorithm>

namespace expar {
namespace {

PackedWeight& weight_of(const RowGroups& groups, std::size_t group) {
    return static_cast<PackedWeight&>(*groups.weights[group]);
}

}  // namespace

void PackedWeight::pack(const RowGroups& groups, Form form, const VectorKernels& kernels, const Threads& threads) {
    const std::size_t at = index(form);
    const auto has_rows = [&](std::size_t g) { return groups.offsets[g + 1] > groups.offsets[g]; };
    const auto stale = [&](std::size_t g) {
        if (weight_of(groups, g).fresh_[at] || !has_rows(g)) return false;
        for (std::size_t other = 0; other < g; ++other)  // a weight may serve several groups, and is packed once
            if (groups.weights[other] == groups.weights[g] && has_rows(other)) return false;
        return true;
    };
    int panels = 0;
    for (std::size_t g = 0; g < groups.weights.size(); ++g)
        if (stale(g)) {
            PackedWeight& weight = weight_of(groups, g);
            panels = weight.panel_count(form, kernels.product);
            static_cast<void>(weight.begin(form, kernels.product));
        }
    if (panels == 0) return;
    threads.for_each_task(long(groups.weights.size()) * panels, [&](long task, Scratch& scratch) {
        const auto g = std::size_t(task / panels);
        if (stale(g)) weight_of(groups, g).pack_panel(form, int(task % panels), kernels, scratch);
    });
    for (std::size_t g = 0; g < groups.weights.size(); ++g)
        if (stale(g)) weight_of(groups, g).fresh_[at] = true;
}

bool PackedWeight::begin(Form form, const ProductKernels& kernels) {
    const std::size_t at = index(form);
    if (fresh_[at]) return false;
    panels_[at] = memory_[at].floats(std::size_t(panel_count(form, kernels)) * panel_floats(form, kernels));
    return true;
}

void PackedWeight::pack_panel(Form form, int p, const VectorKernels& kernels, Scratch& scratch) const {
    const ProductKernels& product = kernels.product;
    const auto from = floats(values());
    const int first = p * product.panel_columns;
    const int width = std::min(product.panel_columns, columns(form) - first);
    float* to = panels_[index(form)] + p * panel_floats(form, product);
    if (form == Form::plain)
        product.pack(from.data + first, from.stride, from.rows, width, to);
    else
        product.pack_transposed(from.row(first), from.stride, width, from.cols, to);
    if (dtype() == DType::float32) return;
    const long count = panel_floats(form, product);
    auto* rounded = reinterpret_cast<bfloat16*>(scratch.floats(std::size_t(count) / 2 + 1));
    kernels.conversion.round(to, rounded, count);
    kernels.conversion.widen(rounded, to, count);
}

}  // namespace expar
