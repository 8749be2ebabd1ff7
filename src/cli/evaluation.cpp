#include "evaluation.hpp"

#include <algorithm>
#include <functional>

#include "progress.hpp"

namespace expar::cli {
namespace {

void add(const std::vector<std::vector<std::int64_t>>& loads, std::vector<std::vector<std::int64_t>>& sums) {
    if (sums.size() < loads.size()) sums.resize(loads.size());
    for (std::size_t layer = 0; layer < loads.size(); ++layer) {
        sums[layer].resize(loads[layer].size());
        std::ranges::transform(sums[layer], loads[layer], sums[layer].begin(), std::plus<>());
    }
}

std::vector<std::vector<std::int64_t>> no_loads(const ModelOptions& model) {
    std::vector<std::vector<std::int64_t>> loads;
    for (int layer = 0; layer < model.layers; ++layer)
        if (model.is_moe(layer)) loads.emplace_back(model.experts);
    return loads;
}

}  // namespace

double TextLoss::bits_per_byte() const {
    return bits_of(loss());
}

std::vector<TextLoss> evaluate_text(Trainer& trainer, const Corpus& corpus, const EvaluationPlan& plan,
                                    const Communicator& world) {
    std::vector<TextLoss> losses;
    for (std::size_t d = 0; d < corpus.domains().size(); ++d)
        losses.push_back({.domain = corpus.domains()[d].name,
                          .bytes = corpus.bytes_of(int(d)),
                          .expert_loads = no_loads(trainer.transformer().options())});
    const std::vector<Window> windows = corpus.windows(plan.sequence);
    std::size_t begin = 0;
    while (begin < windows.size()) {
        if (plan.stop && plan.stop()) return {};
        const int domain = windows[begin].domain;
        std::size_t end = begin;
        while (end < windows.size() && end - begin < std::size_t(plan.batch) && windows[end].domain == domain) ++end;
        const MicroBatch micro_batch = batch_of(std::span(windows).subspan(begin, end - begin));
        const MicroBatch share = micro_batch.share_of(world.rank(), world.size());
        const auto found = trainer.evaluate(share);
        if (plan.observe) plan.observe(share, found.logits);
        losses[std::size_t(domain)].loss_sum += found.loss_sum;
        losses[std::size_t(domain)].tokens += found.tokens;
        std::vector<std::vector<std::int64_t>> loads;
        for (const auto& layer : found.routers) loads.push_back(layer.choices);
        add(loads, losses[std::size_t(domain)].expert_loads);
        begin = end;
    }
    return losses;
}

TextLoss total_of(const std::vector<TextLoss>& domains) {
    TextLoss total{.domain = "all"};
    for (const auto& domain : domains) {
        total.bytes += domain.bytes;
        total.tokens += domain.tokens;
        total.loss_sum += domain.loss_sum;
        add(domain.expert_loads, total.expert_loads);
    }
    return total;
}

}  // namespace expar::cli
