#include "expar/train/optimizer.hpp"

#include "expar/train/schedule.hpp"

namespace expar {

Optimizer::Optimizer(Device& device, const TrainOptions& options,
                     std::span<const std::unique_ptr<ParameterBlock>> blocks)
    : device_(device), kind_(options.optimizer == "sgd" ? Kind::sgd : Kind::adamw), options_(options) {
    if (options.optimizer != "adamw" && options.optimizer != "sgd")
        throw UserError(concat("unknown optimizer '", options.optimizer, "'; known: adamw, sgd"));
    for (const auto& block : blocks) {
        blocks_.push_back(block.get());
        Moments& moments = moments_.emplace_back();
        if (kind_ != Kind::adamw) continue;
        const ConstRows values = block->flat_value();
        moments.first = Matrix(device, values.dtype(), 1, values.cols());
        moments.second = Matrix(device, values.dtype(), 1, values.cols());
        moments.first.zero(device.stream());
        moments.second.zero(device.stream());
    }
}

void Optimizer::update(int step, double gradient_scale) {
    const double rate = learning_rate_at(step, options_);
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
        const bool router = blocks_[i]->spec().role == Role::router;
        const AdamW now{.learning_rate = router ? rate * options_.router_learning_rate_scale : rate,
                        .beta1 = options_.beta1,
                        .beta2 = options_.beta2,
                        .epsilon = options_.epsilon,
                        .weight_decay = options_.weight_decay,
                        .gradient_scale = gradient_scale,
                        .step = step};
        update_block(*blocks_[i], moments_[i], now);
    }
}

void Optimizer::update_block(ParameterBlock& block, Moments& moments, const AdamW& step) const {
    const auto& tensors = block.spec().tensors;
    const Rows values = block.change_flat();
    for (int i = 0; i < int(tensors.size()); ++i) {
        const int first = int(block.offset(i));
        const int count = int(tensors[i].count());
        const auto part = [&](Rows flat) { return flat.columns(first, count); };
        AdamW options = step;
        if (!tensors[i].decays()) options.weight_decay = 0;
        if (kind_ == Kind::adamw)
            device_.update().adamw(options, part(block.flat_gradient()), part(values), part(moments.first),
                                   part(moments.second), device_.stream());
        else
            device_.update().sgd(options.learning_rate, options.weight_decay, options.gradient_scale,
                                 part(block.flat_gradient()), part(values), device_.stream());
    }
}

}  // namespace expar
