#include "expar/moe/parameter_block.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "expar/base/random.hpp"

namespace expar {
namespace {

// FNV-1a: a tensor's random stream follows its name, so that adding a tensor changes no other.
std::uint32_t hash_of(const std::string& name) {
    std::uint32_t hash = 2166136261u;
    for (const char c : name) hash = (hash ^ std::uint8_t(c)) * 16777619u;
    return hash;
}

int columns_of(const BlockSpec& spec) {
    if (spec.count() > std::size_t(std::numeric_limits<int>::max()))
        throw Error(concat("parameters: ", spec.name(), " has ", spec.count(), " elements, expected at most ",
                           std::numeric_limits<int>::max()));
    return int(spec.count());
}

}  // namespace

std::size_t BlockSpec::count() const {
    return std::accumulate(tensors.begin(), tensors.end(), std::size_t{0},
                           [](std::size_t sum, const TensorSpec& tensor) { return sum + tensor.count(); });
}

std::string BlockSpec::name() const {
    std::string common = tensors.empty() ? "" : tensors.front().name;
    for (const auto& tensor : tensors) {
        std::size_t same = 0;
        while (same < common.size() && same < tensor.name.size() && common[same] == tensor.name[same]) ++same;
        common.resize(same);
    }
    return common.substr(0, common.rfind('.'));
}

ParameterBlock::ParameterBlock(Device& device, DType dtype, BlockSpec spec)
    : spec_(std::move(spec)),
      value_(device, dtype, 1, columns_of(spec_)),
      gradient_(device, dtype, 1, columns_of(spec_)),
      clear_(spec_.tensors.size(), true) {}

std::size_t ParameterBlock::offset(int tensor) const {
    std::size_t sum = 0;
    for (int i = 0; i < tensor; ++i) sum += spec_.tensors[i].count();
    return sum;
}

ConstRows ParameterBlock::value(int first, int tensors) const {
    return part(flat_value(), first, tensors);
}

Rows ParameterBlock::gradient(int first, int tensors) {
    return part(flat_gradient(), first, tensors);
}

Rows ParameterBlock::flat_gradient() {
    Device& device = gradient_.device();
    for (std::size_t i = 0; i < clear_.size(); ++i) {
        if (!clear_[i]) continue;
        const Rows zeros = overwrite_gradient(int(i), 1);
        device.fill_zero(zeros.data(), zeros.bytes(), device.stream());
    }
    return gradient_;
}

void ParameterBlock::clear_gradient() {
    clear_.assign(clear_.size(), true);
}

bool ParameterBlock::gradient_is_clear(int first, int tensors) const {
    return std::all_of(clear_.begin() + first, clear_.begin() + first + tensors, [](bool clear) { return clear; });
}

Rows ParameterBlock::overwrite_gradient(int first, int tensors) {
    std::fill_n(clear_.begin() + first, tensors, false);
    return part(Rows(gradient_), first, tensors);
}

Weight& ParameterBlock::weight(int first, int tensors, DType dtype) {
    for (const Reading& reading : readings_)
        if (reading.first == first && reading.tensors == tensors && reading.weight->dtype() == dtype)
            return *reading.weight;
    readings_.push_back({first, tensors, value_.device().product().weight(value(first, tensors), dtype)});
    return *readings_.back().weight;
}

Rows ParameterBlock::change(int tensor) {
    return part(change_flat(), tensor, 1);
}

Rows ParameterBlock::change_flat() {
    for (const Reading& reading : readings_) reading.weight->changed();
    return value_;
}

template <class View>
View ParameterBlock::part(View flat, int first, int tensors) const {
    const int cols = spec_.tensors.at(first).cols;
    int rows = 0;
    for (int i = first; i < first + tensors; ++i) {
        const TensorSpec& tensor = spec_.tensors.at(i);
        if (tensor.cols != cols)
            throw Error(concat("parameters: ", tensor.name, " has ", tensor.cols, " columns, ",
                               spec_.tensors[first].name, " has ", cols));
        rows += tensor.rows;
    }
    return {flat.columns(int(offset(first)), cols).data(), rows, cols, flat.dtype()};
}

void ParameterBlock::initialize(std::uint64_t seed) {
    for (std::size_t i = 0; i < spec_.tensors.size(); ++i) {
        const TensorSpec& tensor = spec_.tensors[i];
        const RandomField random(seed, Purpose::initial_weights, hash_of(tensor.name));
        const Rows values = change(int(i));
        with_real(values.dtype(), [&](auto zero) {
            using T = decltype(zero);
            for (int r = 0; r < values.rows(); ++r) {
                const auto row = values.row<T>(r);
                for (int c = 0; c < values.cols(); ++c)
                    row[c] = tensor.initial == TensorSpec::Initial::ones
                                 ? T(1)
                                 : T(tensor.std * random.normal(std::uint64_t(r) * std::uint64_t(values.cols()) + c));
            }
        });
    }
}

}  // namespace expar
