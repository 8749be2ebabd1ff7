#include "expar/store/trace.hpp"

#include <algorithm>
#include <numeric>

#include "expar/base/error.hpp"
#include "expar/base/random.hpp"

namespace expar {
namespace {

constexpr int largest_experts = 1 << 16;

}  // namespace

std::int64_t RoutingTrace::tokens() const {
    const std::size_t each = layers.size() * std::size_t(top_k);
    return each == 0 ? 0 : std::int64_t(choices.size() / each);
}

int RoutingTrace::place_of(int layer) const {
    const auto found = std::ranges::find(layers, layer);
    if (found != layers.end()) return int(found - layers.begin());
    std::string known;
    for (const int one : layers) known += concat(known.empty() ? "" : ", ", one);
    throw UserError(concat("the trace has no layer ", layer, "; it has ", known));
}

void RoutingTrace::validate(const std::string& name) const {
    const auto refuse = [&](const std::string& why) { throw UserError(concat(name, ": ", why)); };
    if (experts < 1 || experts > largest_experts) refuse(concat(experts, " experts, expected 1 to ", largest_experts));
    if (top_k < 1 || top_k > experts) refuse(concat(top_k, " choices of a token, expected 1 to ", experts));
    if (layers.empty()) refuse("no layers");
    for (std::size_t l = 0; l < layers.size(); ++l)
        if (layers[l] < 0 || (l > 0 && layers[l] <= layers[l - 1])) refuse("layers do not ascend from 0");
    const std::size_t each = layers.size() * std::size_t(top_k);
    if (choices.empty()) refuse("no tokens");
    if (choices.size() % each != 0) refuse(concat(choices.size(), " choices, expected ", each, " for each token"));
    std::int64_t in_documents = 0;
    for (const auto& document : documents) {
        if (document.tokens < 1 || document.tokens > tokens() - in_documents)
            refuse(concat("a document of ", document.tokens, " tokens, ", tokens() - in_documents, " are left"));
        in_documents += document.tokens;
    }
    if (in_documents != tokens()) refuse(concat("documents have ", in_documents, " tokens, expected all ", tokens()));
    std::vector<std::size_t> last_seen(std::size_t(experts), SIZE_MAX);
    for (std::size_t i = 0; i < choices.size(); ++i) {
        const std::size_t row = i / std::size_t(top_k);
        const auto where = [&] { return concat("token ", i / each, ", layer ", layers[row % layers.size()]); };
        if (choices[i] >= experts) refuse(concat(where(), ": expert ", choices[i], ", expected one of ", experts));
        if (last_seen[choices[i]] == row) refuse(concat(where(), ": expert ", choices[i], " is chosen twice"));
        last_seen[choices[i]] = row;
    }
}

RoutingTrace part_of(const RoutingTrace& trace, const std::vector<bool>& is_chosen) {
    if (is_chosen.size() != trace.documents.size())
        throw Error(concat("trace: ", is_chosen.size(), " marks for ", trace.documents.size(), " documents"));
    RoutingTrace part;
    part.experts = trace.experts;
    part.top_k = trace.top_k;
    part.layers = trace.layers;
    part.model = trace.model;
    part.source = trace.source;
    part.notice = trace.notice;
    auto begin = trace.choices.begin();
    for (std::size_t d = 0; d < is_chosen.size(); ++d) {
        const auto& document = trace.documents[d];
        const auto end = begin + std::ptrdiff_t(std::size_t(document.tokens) * trace.layers.size() * trace.top_k);
        if (is_chosen[d]) {
            part.documents.push_back(document);
            part.choices.insert(part.choices.end(), begin, end);
        }
        begin = end;
    }
    return part;
}

std::vector<bool> choose_share(std::span<const TraceDocument> documents, double share, std::uint64_t seed) {
    std::vector<std::size_t> order(documents.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const RandomField random(seed, Purpose::routing, 3);
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i, i)]);
    std::int64_t all = 0, taken = 0;
    for (const auto& document : documents) all += document.tokens;
    std::vector<bool> is_chosen(documents.size());
    for (const std::size_t d : order) {
        if (double(taken) >= share * double(all)) break;
        is_chosen[d] = true;
        taken += documents[d].tokens;
    }
    return is_chosen;
}

}  // namespace expar
