#include "expar/train/evaluation.hpp"

#include <algorithm>
#include <numbers>

namespace expar {

std::vector<DomainScore> score_domains(Trainer& trainer, const Corpus& corpus, int sequence, int batch,
                                       const Communicator& world) {
    const std::vector<Window> windows = corpus.windows(sequence);
    std::vector<DomainScore> scores;
    auto begin = windows.begin();
    for (int domain = 0; domain < int(corpus.domains().size()); ++domain) {
        DomainScore& score = scores.emplace_back();
        score.domain = corpus.domains()[domain].name;
        score.bytes = corpus.bytes_of(domain);
        const auto end =
            std::find_if(begin, windows.end(), [&](const Window& window) { return window.domain > domain; });
        double loss_sum = 0;
        while (begin != end) {
            const auto next = begin + std::min<std::ptrdiff_t>(batch, end - begin);
            const MicroBatch all = batch_of({begin, next});
            const auto found = trainer.evaluate(all.share_of(world.rank(), world.size()));
            loss_sum += found.loss_sum;
            score.predicted += found.tokens;
            begin = next;
        }
        if (score.predicted > 0) score.bits_per_byte = loss_sum / double(score.predicted) / std::numbers::ln2;
    }
    return scores;
}

DomainScore score_of_all(const std::vector<DomainScore>& domains) {
    DomainScore all{.domain = "all"};
    double bits = 0;
    for (const DomainScore& domain : domains) {
        all.bytes += domain.bytes;
        all.predicted += domain.predicted;
        bits += domain.bits_per_byte * double(domain.predicted);
    }
    if (all.predicted > 0) all.bits_per_byte = bits / double(all.predicted);
    return all;
}

}  // namespace expar
