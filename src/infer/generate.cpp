#include "expar/infer/generate.hpp"

#include <algorithm>

#include "expar/comm/verdict.hpp"

namespace expar {
namespace {

void check(const Transformer& model, std::span<const int> prompt, const GenerateOptions& options) {
    options.validate();
    if (prompt.empty()) throw UserError("generate: the prompt is empty; expected at least one token");
    for (const int token : prompt)
        if (token < 0 || token >= model.options().vocabulary)
            throw UserError(concat("generate: token ", token, " of the prompt; the model knows 0 to ",
                                   model.options().vocabulary - 1));
}

// The logits' last row on the first member, nothing elsewhere → the token, everywhere.
int sample_together(ConstRows logits, const SamplerOptions& options, int position, const Transformer& model,
                    const Communicator& group) {
    int token = -1;
    judge_on_root(group, [&] {
        token = sample(logits.slice(logits.rows() - 1, 1), options, std::uint64_t(position), model.device());
    });
    group.broadcast(Rows(&token, 1, 1, DType::int32), 0, {"sampled token"});
    return token;
}

}  // namespace

void GenerateOptions::validate() const {
    if (tokens < 0) throw UserError(concat("tokens is ", tokens, "; expected at least 0"));
    if (context < 0) throw UserError(concat("context is ", context, "; expected at least 0"));
    sampler.validate();
}

std::vector<int> generate(const Transformer& model, const Communicator& group, std::span<const int> prompt,
                          const GenerateOptions& options, const std::function<void(int token)>& appended) {
    check(model, prompt, options);
    const bool reads = group.rank() == 0;
    const int context = options.context > 0 ? options.context : int(prompt.size()) + options.tokens;
    KvCache cache(model.device(), model.dtype(), model.options(), reads ? context : 0);
    std::vector<int> text(prompt.begin(), prompt.end());
    int start = 0;  // of the part of the text that the cache is about
    for (int i = 0; i < options.tokens; ++i) {
        const int length = int(text.size());
        if (length - start > context) {
            start = length - std::max(1, context / 2);
            cache.clear();
        }
        std::span<const int> unread;
        if (reads) unread = std::span(text).subspan(std::size_t(start + cache.length()));
        const Matrix logits = model.extend(unread, cache);
        text.push_back(sample_together(logits, options.sampler, length, model, group));
        if (appended) appended(text.back());
    }
    return {text.begin() + std::ptrdiff_t(prompt.size()), text.end()};
}

}  // namespace expar
