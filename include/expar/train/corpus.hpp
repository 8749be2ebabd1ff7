#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "expar/comm/communicator.hpp"
#include "expar/model/micro_batch.hpp"

namespace expar {

/// A stretch of one document.
struct Window {
    std::string_view text;  ///< of the corpus
    int domain = 0;
};

/// Sequences of a step, by what they depend on: nothing else, in particular no rank.
struct BatchDraw {
    std::uint64_t seed = 0;
    int step = 1;         ///< counted from 1
    int micro_batch = 0;  ///< of the step
    int sequences = 1;
    int length = 1;  ///< tokens of a sequence
};

/// Text by domain, cut into documents; one byte is one token.
class Corpus {
public:
    struct Domain {
        std::string name;  ///< of its file, without folder and ending
        std::string text;
        bool whole = false;  ///< one document; otherwise zero bytes separate documents
    };
    explicit Corpus(std::vector<Domain> domains);
    Corpus(Corpus&&) noexcept = default;
    Corpus& operator=(Corpus&&) noexcept = default;

    [[nodiscard]] const std::vector<Domain>& domains() const { return domains_; }
    [[nodiscard]] std::span<const Window> documents() const { return documents_; }  ///< none is empty
    [[nodiscard]] std::int64_t bytes() const;                                       ///< of all documents
    [[nodiscard]] std::int64_t bytes_of(int domain) const;
    /// The same for the same texts in the same order, cut into documents alike, whatever their files' names.
    [[nodiscard]] std::uint64_t hash() const;

    /// `length` + 1 bytes each, from places that are equally likely among all within a document, so that documents
    /// count by their length. Throws Error when no document is long enough.
    [[nodiscard]] std::vector<Window> draw(const BatchDraw& draw) const;

    /// The documents one after the other, cut into windows of `length` bytes that do not overlap; of what is left at a
    /// document's end, at least 2 bytes are a window and less is nothing.
    [[nodiscard]] std::vector<Window> windows(int length) const;

private:
    std::vector<Domain> domains_;
    std::vector<Window> documents_;
};

/// Each window a sequence that predicts every byte but its first.
[[nodiscard]] MicroBatch batch_of(std::span<const Window> windows);

/// A rank's share of every micro-batch of a step, with first_token counted over all of them. draw.micro_batch is the
/// number of the first.
[[nodiscard]] std::vector<MicroBatch> draw_step(const Corpus& corpus, BatchDraw draw, int micro_batches,
                                                const Communicator& world);

/// Which part of a prepared folder is read.
enum class Split { train, validation };

/// The domains of files, or of folders as scripts/prepare_text.py makes them (FOLDER/train/DOMAIN.txt, …), each file a
/// domain. A file that is named itself is one document, whatever bytes it has; those of a folder hold several.
///
/// Throws UserError when a path is missing, empty, unreadable or has 2 GiB or more. Local.
[[nodiscard]] std::vector<Corpus::Domain> read_domains(std::span<const std::string> paths, Split split);

/// The corpus of them: read and judged on rank 0 and sent to all. Throws UserError on every rank as read_domains()
/// does, and when no document has `shortest` bytes. Collective.
[[nodiscard]] Corpus load_corpus(std::span<const std::string> paths, Split split, int shortest,
                                 const Communicator& world);

}  // namespace expar
