#include "expar/train/corpus.hpp"

#include <algorithm>
#include <utility>

#include "expar/base/random.hpp"
#include "expar/store/digest.hpp"

namespace expar {

Corpus::Corpus(std::vector<Domain> domains) : domains_(std::move(domains)) {
    for (std::size_t domain = 0; domain < domains_.size(); ++domain) {
        std::string_view rest = domains_[domain].text;
        while (!rest.empty()) {
            const std::string_view document = domains_[domain].whole ? rest : rest.substr(0, rest.find('\0'));
            if (!document.empty()) documents_.push_back({document, int(domain)});
            rest.remove_prefix(std::min(rest.size(), document.size() + 1));
        }
    }
}

std::int64_t Corpus::bytes() const {
    std::int64_t bytes = 0;
    for (const Window& document : documents_) bytes += std::int64_t(document.text.size());
    return bytes;
}

std::int64_t Corpus::bytes_of(int domain) const {
    std::int64_t bytes = 0;
    for (const Window& document : documents_)
        if (document.domain == domain) bytes += std::int64_t(document.text.size());
    return bytes;
}

std::uint64_t Corpus::hash() const {
    Hash hash;
    for (const Domain& domain : domains_) {
        const std::uint64_t kind[] = {domain.text.size(), domain.whole};
        hash.add(std::as_bytes(std::span(kind)));
        hash.add(std::as_bytes(std::span(domain.text)));
    }
    return hash.value();
}

std::vector<Window> Corpus::draw(const BatchDraw& draw) const {
    const std::size_t length = std::size_t(draw.length) + 1;
    std::vector<std::uint64_t> places_before;  // starts of windows in all documents before this one
    std::uint64_t places = 0;
    for (const Window& document : documents_) {
        places_before.push_back(places);
        if (document.text.size() >= length) places += document.text.size() - length + 1;
    }
    if (places == 0) throw Error(concat("corpus: no document has the ", length, " bytes of a sequence and its target"));

    const RandomField random(draw.seed, Purpose::batches, std::uint32_t(draw.micro_batch), std::uint32_t(draw.step));
    std::vector<Window> drawn;
    for (int sequence = 0; sequence < draw.sequences; ++sequence) {
        const std::uint64_t place = random.below(places, std::uint64_t(sequence));
        // The last document that begins no later: those without a place begin where the next one does.
        const auto next = std::ranges::upper_bound(places_before, place);
        const std::size_t index = std::size_t(next - places_before.begin()) - 1;
        const Window& document = documents_[index];
        drawn.push_back({document.text.substr(place - places_before[index], length), document.domain});
    }
    return drawn;
}

std::vector<Window> Corpus::windows(int length) const {
    std::vector<Window> windows;
    for (const Window& document : documents_)
        for (std::size_t begin = 0; begin + 2 <= document.text.size(); begin += std::size_t(length))
            windows.push_back({document.text.substr(begin, std::size_t(length)), document.domain});
    return windows;
}

MicroBatch batch_of(std::span<const Window> windows) {
    MicroBatch batch;
    std::vector<int> bytes;
    for (const Window& window : windows) {
        bytes.clear();
        for (const char byte : window.text) bytes.push_back(static_cast<unsigned char>(byte));
        batch.append(bytes);
    }
    return batch;
}

std::vector<MicroBatch> draw_step(const Corpus& corpus, BatchDraw draw, int micro_batches, const Communicator& world) {
    std::vector<MicroBatch> shares;
    std::int64_t first_token = 0;
    for (int m = 0; m < micro_batches; ++m, ++draw.micro_batch) {
        MicroBatch batch = batch_of(corpus.draw(draw));
        batch.first_token = first_token;
        first_token += batch.token_count();
        shares.push_back(batch.share_of(world.rank(), world.size()));
    }
    return shares;
}

}  // namespace expar
