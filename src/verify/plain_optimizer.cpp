#include "expar/verify/plain_optimizer.hpp"

#include <cmath>

#include "expar/base/error.hpp"

namespace expar {

double plain_gradient_norm(const PlainWeights& gradients) {
    double sum = 0;
    for (const auto& [name, values] : gradients) sum += plain_dot(values, values);
    return std::sqrt(sum);
}

double plain_clip_factor(double norm, double clip) {
    return clip > 0 && norm > clip ? clip / norm : 1;
}

PlainState plain_update(const PlainOptimizer& optimizer, int step, const PlainState& state,
                        const PlainWeights& gradients) {
    if (optimizer.kind != "adamw" && optimizer.kind != "sgd")
        throw Error(concat("plain reference: unknown optimizer '", optimizer.kind, "'"));
    const double clip_factor = plain_clip_factor(plain_gradient_norm(gradients), optimizer.clip);
    PlainState next = state;
    for (auto& [name, weights] : next.weights) {
        const double rate = optimizer.learning_rate * (name.ends_with("router.weight") ? optimizer.router_scale : 1);
        const double decay = name.ends_with("norm.weight") ? 0 : optimizer.weight_decay;
        auto& moment1 = next.moment1[name];
        auto& moment2 = next.moment2[name];
        moment1.resize(weights.size());
        moment2.resize(weights.size());
        for (std::size_t i = 0; i < weights.size(); ++i) {
            const double gradient = gradients.at(name)[i] * clip_factor;
            double direction = gradient;
            if (optimizer.kind == "adamw") {
                moment1[i] = optimizer.beta1 * moment1[i] + (1 - optimizer.beta1) * gradient;
                moment2[i] = optimizer.beta2 * moment2[i] + (1 - optimizer.beta2) * gradient * gradient;
                const double mean = moment1[i] / (1 - std::pow(optimizer.beta1, step));
                const double square = moment2[i] / (1 - std::pow(optimizer.beta2, step));
                direction = mean / (std::sqrt(square) + optimizer.epsilon);
            }
            weights[i] -= rate * (direction + decay * weights[i]);
        }
    }
    return next;
}

}  // namespace expar
