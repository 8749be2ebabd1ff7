// Text to train on. After an odd first byte it is a file of a prepared folder, in which zero bytes separate documents.
#include <algorithm>

#include "expar/train/corpus.hpp"
#include "fuzz.hpp"
#include "support/temporary_folder.hpp"

using namespace expar;

// The text, and 24 bytes for each document, of which a growing vector holds three times as many; windows the same.
constexpr fuzz::Allowance allowance{.factor = 160};
constexpr int length = 4;

namespace {

// Every byte that is no separator is in a document, and what is drawn or cut lies within one.
void check(const Corpus& corpus, std::string_view text, bool prepared) {
    const auto separators = prepared ? std::ranges::count(text, '\0') : 0;
    fuzz::expect(corpus.bytes() == std::int64_t(text.size()) - separators, "bytes were lost");
    std::int64_t longest = 0;
    for (const Window& document : corpus.documents()) longest = std::max(longest, std::int64_t(document.text.size()));
    for (const Window& window : corpus.windows(length))
        fuzz::expect(window.text.size() >= 2 && window.text.size() <= length + 1, "a window of another length");
    if (longest <= length) return;
    for (const Window& window : corpus.draw({.seed = 1, .sequences = 4, .length = length}))
        fuzz::expect(window.text.size() == length + 1, "a sequence of another length");
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const testing_support::TemporaryFolder folder;
    fuzz::Bytes input(data, size);
    const bool prepared = input.byte() % 2 == 1;
    const std::string text(input.rest());
    std::filesystem::create_directories(folder / "train");
    testing_support::write_text(folder / "train/domain.txt", text);
    const std::string path = (folder / (prepared ? "" : "train/domain.txt")).string();
    fuzz::expect_sound(size, allowance,
                       [&] { check(Corpus(read_domains(std::span(&path, 1), Split::train)), text, prepared); });
    return 0;
}
