#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "expar/train/corpus.hpp"
#include "expar/train/trainer.hpp"

namespace expar {

/// How well a model predicts the text of one domain.
struct DomainScore {
    std::string domain;
    std::int64_t bytes = 0;      ///< of the domain
    std::int64_t predicted = 0;  ///< those of them that were predicted: all but each window's first
    double bits_per_byte = 0;    ///< mean over the predicted bytes
};

/// Scores Corpus::windows of `sequence` bytes, `batch` of them over all ranks at a time. Collective over `world`, which
/// must be the trainer's. Every domain of the corpus has an entry.
[[nodiscard]] std::vector<DomainScore> score_domains(Trainer& trainer, const Corpus& corpus, int sequence, int batch,
                                                     const Communicator& world);

/// The domains together: sums, and the mean over all predicted bytes.
[[nodiscard]] DomainScore score_of_all(const std::vector<DomainScore>& domains);

}  // namespace expar
