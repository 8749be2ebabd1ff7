#pragma once

#include <functional>
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
    /// Choices of each expert, before capacity.   [layers with experts][E]
    std::vector<std::vector<std::int64_t>> expert_loads = {};

    [[nodiscard]] double loss() const { return tokens > 0 ? loss_sum / double(tokens) : 0; }
    [[nodiscard]] double bits_per_byte() const;
};

/// How a text is cut, and who looks on.
struct EvaluationPlan {
    int sequence = 256;  ///< bytes of a window
    int batch = 8;       ///< windows at a time, over all ranks
    /// Called on every rank with its share of each batch, possibly without tokens.
    std::function<void(const MicroBatch& share, const Matrix& logits)> observe = {};
    /// Asked before each batch, on every rank with the same answer: whether to give up.
    std::function<bool()> stop = {};
};

/// One for each domain: windows that do not overlap, each predicting every byte but its first. Nothing when it was
/// given up. Collective.
[[nodiscard]] std::vector<TextLoss> evaluate_text(Trainer& trainer, const Corpus& corpus, const EvaluationPlan& plan,
                                                  const Communicator& world);

/// All domains as one.
[[nodiscard]] TextLoss total_of(const std::vector<TextLoss>& domains);

}  // namespace expar::cli
