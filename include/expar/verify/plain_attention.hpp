#pragma once

#include <span>
#include <string>
#include <vector>

#include "expar/model/model_options.hpp"
#include "expar/verify/plain_math.hpp"

namespace expar {

/// Causal attention of one layer within each sequence, with rotary positions and an optional norm on queries and keys.
///
/// Borrows the weights; `options` must be resolved. Keeps nothing between forward and backward.
/// offsets  [sequences + 1], the first row of each sequence; positions count from 0 in each
class PlainAttention {
public:
    PlainAttention(const ModelOptions& options, const PlainWeights& weights, int layer);

    /// [T, hidden] -> [T, hidden]
    [[nodiscard]] std::vector<double> forward(std::span<const double> x, std::span<const int> offsets) const;

    /// The gradient with respect to x; adds those with respect to the weights to `gradients`.
    [[nodiscard]] std::vector<double> backward(std::span<const double> x, std::span<const int> offsets,
                                               std::span<const double> d_y, PlainWeights& gradients) const;

private:
    /// One of the four projections, by name: query, key, value, output.
    [[nodiscard]] std::vector<double> projected(std::span<const double> x, const std::string& name) const;
    [[nodiscard]] std::vector<double> projected_backward(std::span<const double> x, const std::string& name,
                                                         std::span<const double> d_y, PlainWeights& gradients) const;

    /// Queries or keys as they meet: projected, normed, turned by their position.
    [[nodiscard]] std::vector<double> turned(std::span<const double> x, std::span<const int> offsets,
                                             const std::string& name) const;
    [[nodiscard]] std::vector<double> turned_backward(std::span<const double> x, std::span<const int> offsets,
                                                      const std::string& name, std::span<const double> d_turned,
                                                      PlainWeights& gradients) const;
    [[nodiscard]] int inputs_of(const std::string& name) const;

    ModelOptions options_;
    const PlainWeights& weights_;
    std::string prefix_;
};

}  // namespace expar
