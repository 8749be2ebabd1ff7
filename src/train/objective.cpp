#include "expar/train/objective.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace expar {
namespace {

double per(std::int64_t tokens) {
    return tokens > 0 ? 1 / double(tokens) : 0;
}

}  // namespace

Objective::Objective(const ModelOptions& model, std::span<const MicroBatch> shares, const Communicator& world)
    : model_(model), balance_scope_(scope_named(model.balance_scope)), world_(world) {
    std::array<std::int64_t, 2> tokens{};
    for (const MicroBatch& share : shares) {
        tokens[0] += share.token_count();
        tokens[1] += share.loss_count();
    }
    world.sum(tokens, {"tokens of a step"});
    routed_tokens_ = tokens[0];
    loss_tokens_ = tokens[1];
    for (int layer = 0; layer < model.layers; ++layer) moe_layers_ += model.is_moe(layer) ? 1 : 0;
}

ObjectiveScales Objective::add(const TransformerState& state) {
    const std::vector<RouterStatistics> own = state.statistics();
    const std::vector<RouterStatistics> all = own.empty() ? own : sum_over_ranks(own, world_);

    std::array<double, 2> sums{state.loss_sum, 0};
    if (balance_scope_ == Scope::rank)
        for (const auto& layer : own) sums[1] += double(layer.tokens) * balance_loss(layer, model_.top_k);
    world_.sum(sums, {"loss of a micro-batch"});
    if (balance_scope_ == Scope::all)
        for (const auto& layer : all) sums[1] += double(layer.tokens) * balance_loss(layer, model_.top_k);
    loss_sum_ += sums[0];
    balance_sum_ += sums[1];
    found_.routers.resize(all.size(), RouterStatistics(model_.experts));
    for (std::size_t i = 0; i < all.size(); ++i) {
        const RouterStatistics& layer = all[i];
        found_.routers[i] += layer;
        z_sum_ += layer.squared_log_sum_exp;
        found_.load_max_over_mean = std::max(found_.load_max_over_mean, layer.max_over_mean());
        found_.dropped += layer.dropped;
        found_.choices += layer.tokens * model_.top_k;
    }
    return scales(own, all);
}

ObjectiveScales Objective::scales(const std::vector<RouterStatistics>& own, const std::vector<RouterStatistics>& all) {
    ObjectiveScales scales;
    scales.loss = per(loss_tokens_);
    d_probabilities_.clear();
    for (std::size_t i = 0; i < own.size(); ++i) {
        if (model_.balance_coefficient == 0 || routed_tokens_ == 0) {
            d_probabilities_.emplace_back();
            continue;
        }
        d_probabilities_.push_back(balance_gradient(statistics_of(balance_scope_, own[i], all[i]), model_.top_k,
                                                    model_.balance_coefficient, routed_tokens_));
    }
    for (const auto& d_probability : d_probabilities_)
        scales.routers.push_back({d_probability, model_.z_coefficient * per(routed_tokens_)});
    return scales;
}

bool Objective::finite() const {
    return std::isfinite(loss_sum_) && std::isfinite(balance_sum_) && std::isfinite(z_sum_);
}

ObjectiveValue Objective::value() const {
    ObjectiveValue value = found_;
    const double balance = balance_sum_ * per(routed_tokens_);
    const double z = z_sum_ * per(routed_tokens_);
    value.loss = loss_sum_ * per(loss_tokens_);
    value.balance_loss = balance / std::max(1, moe_layers_);
    value.z_loss = z / std::max(1, moe_layers_);
    value.objective = value.loss + model_.balance_coefficient * balance + model_.z_coefficient * z;
    return value;
}

}  // namespace expar
