#include "evaluation.hpp"

#include "progress.hpp"

namespace expar::cli {

double TextLoss::bits_per_byte() const {
    return bits_of(loss());
}

std::vector<TextLoss> evaluate_text(Trainer& trainer, const Corpus& corpus, const EvaluationPlan& plan,
                                    const Communicator& world) {
    std::vector<TextLoss> losses;
    for (std::size_t d = 0; d < corpus.domains().size(); ++d)
        losses.push_back({.domain = corpus.domains()[d].name, .bytes = corpus.bytes_of(int(d))});
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
    }
    return total;
}

}  // namespace expar::cli
