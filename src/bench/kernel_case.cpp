#include "expar/bench/kernel_case.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <type_traits>
#include <utility>

#include "expar/base/random.hpp"

namespace expar {
namespace {

double bytes_of(const Operand& operand) {
    return double(operand.rows) * double(operand.cols) * double(size_of(operand.weight_for.value_or(operand.dtype)));
}

// On the reference device for float64, like the rest.
void add_weights(const KernelCase& kernel, Device& device, Operands& operands) {
    for (std::size_t i = 0; i < kernel.operands.size(); ++i) {
        if (!kernel.operands[i].weight_for) continue;
        const bool wide = operands[i].dtype() == DType::float64;
        operands.weights.push_back(
            device.product().weight(operands[i], wide ? DType::float64 : *kernel.operands[i].weight_for));
    }
}

// with_real, and bfloat16 as it is stored.
template <class Work>
void with_stored(DType dtype, Work&& work) {
    if (dtype == DType::bfloat16) return work(bfloat16{});
    with_real(dtype, std::forward<Work>(work));
}

template <class T>
double number(T stored) {
    if constexpr (std::is_same_v<T, bfloat16>)
        return to_float(stored);
    else
        return double(stored);
}

template <class T>
T stored_as(double number) {
    if constexpr (std::is_same_v<T, bfloat16>)
        return to_bfloat16(float(number));
    else
        return T(number);
}

std::vector<double> numbers(ConstRows rows, int row) {
    std::vector<double> result;
    with_stored(rows.dtype(),
                [&]<class T>(T) { std::ranges::transform(rows.row<T>(row), std::back_inserter(result), number<T>); });
    return result;
}

}  // namespace

MemoryTraffic compulsory_traffic(std::span<const Operand> operands) {
    MemoryTraffic traffic;
    for (const Operand& operand : operands) switch (operand.access) {
            case Access::read:
                traffic.read += bytes_of(operand);
                break;
            case Access::written:
                traffic.written += bytes_of(operand);
                break;
            case Access::updated:
                traffic.updated += bytes_of(operand);
                break;
        }
    return traffic;
}

// A few numbers serve all: large matrices would otherwise take longer to fill than to measure. Their count is a prime,
// so that rows differ.
void fill(Rows rows, double scale, std::uint64_t seed, bool positive) {
    constexpr std::size_t period = 8191;
    const RandomField field(seed, Purpose::test);
    with_stored(rows.dtype(), [&]<class T>(T) {
        std::vector<T> some(period);
        for (std::size_t i = 0; i < period; ++i) {
            const double number = scale * field.normal(i);
            some[i] = stored_as<T>(positive ? std::abs(number) : number);
        }
        std::size_t next = 0;
        for (int r = 0; r < rows.rows(); ++r)
            for (T& value : rows.row<T>(r)) {
                value = some[next];
                if (++next == period) next = 0;
            }
    });
}

Operands make_operands(const KernelCase& kernel, Device& device) {
    Operands operands;
    for (const Operand& operand : kernel.operands) {
        Matrix& matrix = operands.matrices.emplace_back(device, operand.dtype, operand.rows, operand.cols);
        fill(matrix, operand.scale, operands.matrices.size(), operand.positive);
    }
    add_weights(kernel, device, operands);
    if (kernel.prepare) kernel.prepare(device, operands);
    device.synchronize();
    return operands;
}

Operands copy_of(const KernelCase& kernel, const Operands& operands, Device& device) {
    Operands copy;
    for (const Matrix& matrix : operands.matrices) {
        Matrix& other = copy.matrices.emplace_back(device, matrix.dtype(), matrix.rows(), matrix.cols());
        device.copy(matrix.view().data(), other.view().data(), matrix.view().bytes(), device.stream());
    }
    add_weights(kernel, device, copy);
    return copy;
}

Matrix in_float64(Device& reference, ConstRows rows) {
    Matrix result(reference, DType::float64, rows.rows(), rows.cols());
    for (int r = 0; r < rows.rows(); ++r) std::ranges::copy(numbers(rows, r), result.view().row<double>(r).begin());
    return result;
}

double relative_error(ConstRows a, ConstRows b) {
    double error = 0, largest = 0;
    for (int r = 0; r < b.rows(); ++r) {
        const auto ours = numbers(a, r), expected = numbers(b, r);
        for (std::size_t c = 0; c < expected.size(); ++c) {
            const double difference = std::abs(ours[c] - expected[c]);
            if (std::isnan(difference)) return std::numeric_limits<double>::infinity();
            error = std::max(error, difference);
            largest = std::max(largest, std::abs(expected[c]));
        }
    }
    return error == 0 ? 0 : error / largest;
}

double max_error(const KernelCase& kernel, Device& device, Device& reference) {
    const auto before = make_operands(kernel, device);
    auto after = make_operands(kernel, device);
    kernel.run(device, after);
    device.synchronize();
    if (kernel.part_error) return kernel.part_error(reference, before, after);

    Operands expected;
    for (const Matrix& matrix : before.matrices) expected.matrices.push_back(in_float64(reference, matrix));
    add_weights(kernel, reference, expected);
    kernel.run(reference, expected);
    double error = 0;
    for (std::size_t i = 0; i < expected.matrices.size(); ++i)
        if (kernel.operands[i].access != Access::read) error = std::max(error, relative_error(after[i], expected[i]));
    return error;
}

}  // namespace expar
