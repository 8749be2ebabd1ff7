#pragma once

#include <string>
#include <vector>

#include "expar/train/corpus.hpp"
#include "expar/train/trainer.hpp"

namespace expar::cli {

/// How well a model predicts a text.
struct TextLoss {
    std::string domain;
    std::int64_t bytes = 0;   ///< of the text
    std::int64_t tokens = 0;  ///< predicted ones
    double loss_sum = 0;      ///< nats

    [[nodiscard]] double loss() const { return tokens > 0 ? loss_sum / double(tokens) : 0; }
    [[nodiscard]] double bits_per_byte() const;
};

/// One for each domain: windows of `sequence` bytes that do not overlap, each predicting its bytes 2 … sequence,
/// `batch` windows at a time over all ranks. Collective.
[[nodiscard]] std::vector<TextLoss> evaluate_text(Trainer& trainer, const Corpus& corpus, int sequence, int batch,
                                                  const Communicator& world);

/// All domains as one.
[[nodiscard]] TextLoss total_of(const std::vector<TextLoss>& domains);

}  // namespace expar::cli
