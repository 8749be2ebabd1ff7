#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "expar/comm/communicator.hpp"

namespace expar {

inline constexpr std::string_view trace_format = "expar-trace-1";

/// Consecutive tokens of one text: what a trace is cut at, since tokens of one text resemble each other.
struct TraceDocument {
    std::string dataset;
    std::string category;
    bool has_repetition = false;  ///< the text repeats itself, as models do
    std::int64_t tokens = 0;

    friend bool operator==(const TraceDocument&, const TraceDocument&) = default;
};

/// Which experts a model chose, token by token. A value.
///
/// On disk: HDF5 with the root attributes format, experts, model, source and notice (where it is from, and what must
/// travel with it), `choices` uint16 [T, L, k], `layers` int32 [L], and of n documents in the order of their tokens
/// documents/{dataset, category} texts [n], documents/{tokens, has_repetition} int32 [n].
struct RoutingTrace {
    int experts = 0;                     ///< E, of every layer
    int top_k = 0;                       ///< k
    std::vector<int> layers;             ///< [L], the model's numbers of its layers with experts, ascending
    std::vector<std::uint16_t> choices;  ///< [T, L, k], by descending score; different within a token and layer
    std::vector<TraceDocument> documents;
    std::string model;
    std::string source;
    std::string notice;

    [[nodiscard]] std::int64_t tokens() const;
    /// [k] of the layer at `place` of `layers`.
    [[nodiscard]] std::span<const std::uint16_t> choices_of(std::int64_t token, int place) const {
        return std::span(choices).subspan(
            (std::size_t(token) * layers.size() + std::size_t(place)) * std::size_t(top_k), std::size_t(top_k));
    }
    /// Where a layer with that number is. Throws UserError that lists those there are.
    [[nodiscard]] int place_of(int layer) const;
    /// Throws UserError that begins with `name` and says what of the above does not hold.
    void validate(const std::string& name) const;
};

/// Throws UserError, naming the file and what is missing, misshapen or out of range. Local.
[[nodiscard]] RoutingTrace read_trace(const std::filesystem::path& path);
/// The same, read by rank 0 and given to all. Collective.
[[nodiscard]] RoutingTrace read_trace(const std::filesystem::path& path, const Communicator& world);
/// A file that appears whole or not at all. Local.
void write_trace(const std::filesystem::path& path, const RoutingTrace& trace);

/// The documents that `is_chosen` has a mark for, with their tokens: one mark for each document.
[[nodiscard]] RoutingTrace part_of(const RoutingTrace& trace, const std::vector<bool>& is_chosen);
/// Marks whole documents, in an order that the seed shuffles, until they hold that share of the tokens.
[[nodiscard]] std::vector<bool> choose_share(std::span<const TraceDocument> documents, double share,
                                             std::uint64_t seed);

}  // namespace expar
