#include "expar/bench/access_probe.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "row_loops.hpp"

namespace expar {
namespace {

constexpr std::align_val_t page{4096};

// Halves of a host's area: what is sent to it, and what it answers with.
constexpr int sent = 0, answers = 1;

}  // namespace

void AccessProbe::Free::operator()(std::byte* memory) const {
    ::operator delete(memory, page);
}

AccessProbe::AccessProbe(const Communicator& world, const Topology& topology, RowPlaces places, std::size_t row_bytes,
                         int areas)
    : places_(std::move(places)),
      row_bytes_(row_bytes),
      served_bytes_(row_bytes * std::size_t(places_.rows_at[world.rank()])),
      areas_(areas),
      node_(world.split(topology.node_of[world.rank()])),
      own_(node_.rank()),
      window_(std::make_unique<Window>(node_, 2 * served_bytes_ * std::size_t(areas))) {
    const std::vector<int> ranks = topology.ranks_of(topology.node_of[world.rank()]);
    const int rows_here = places_.rows_at[world.rank()];
    for (std::size_t i = 0; i < places_.host.size(); ++i) {
        const auto member = std::ranges::find(ranks, places_.host[i]);
        const bool away = places_.host[i] >= 0 && member == ranks.end();
        if (away) places_.row[i] = rows_here > 0 ? places_.row[i] % rows_here : 0;
        if (away && rows_here == 0) places_.host[i] = -1;
        kept_ += places_.host[i] >= 0;
        member_.push_back(places_.host[i] < 0 ? -1 : away ? own_ : int(member - ranks.begin()));
    }
    // The rows that each rank of the node hosts, for where its areas lie.
    std::vector<int> rows_at;
    for (const int rank : ranks) rows_at.push_back(places_.rows_at[rank]);
    places_.rows_at = std::move(rows_at);

    const std::size_t bytes = 2 * row_bytes_ * std::size_t(places_.tokens) * std::size_t(areas_);
    here_.reset(static_cast<std::byte*>(::operator new(std::max<std::size_t>(bytes, 1), page)));
    std::memset(here_.get(), 0, bytes);
    std::memset(window_->part(own_), 0, 2 * served_bytes_ * std::size_t(areas_));  // pages where their owner is
    node_.barrier({"access probe"});
}

std::byte* AccessProbe::sources(int area, int half) const {
    return here_.get() + row_bytes_ * std::size_t(places_.tokens) * std::size_t(2 * area + half);
}

std::span<std::byte> AccessProbe::tokens(int area) const {
    return {sources(area, 0), row_bytes_ * std::size_t(places_.tokens)};
}

std::span<const std::byte> AccessProbe::combined(int area) const {
    return {sources(area, 1), row_bytes_ * std::size_t(places_.tokens)};
}

std::span<const std::byte> AccessProbe::served(int area) const {
    return {window_->part(own_) + served_bytes_ * std::size_t(2 * area), served_bytes_};
}

std::byte* AccessProbe::place(int area, int half, std::size_t choice) const {
    const int member = member_[choice];
    const std::size_t first_row = std::size_t(places_.rows_at[member]) * std::size_t(2 * area + half);
    return window_->part(member) + row_bytes_ * (first_row + std::size_t(places_.row[choice]));
}

void AccessProbe::gather_places(int area, int half, int token, std::vector<std::byte*>& places) const {
    places.clear();
    for (std::size_t i = std::size_t(token) * places_.top_k, end = i + places_.top_k; i < end; ++i)
        if (member_[i] >= 0) places.push_back(place(area, half, i));
}

void AccessProbe::move(RowMovement movement, int area, Stores stores) {
    const RowLoops& loops = row_loops();
    std::vector<std::byte*> there, also;
    there.reserve(places_.top_k);
    also.reserve(places_.top_k);
    for (int t = 0; t < places_.tokens; ++t) {
        std::byte* in = sources(area, 0) + row_bytes_ * std::size_t(t);
        std::byte* out = sources(area, 1) + row_bytes_ * std::size_t(t);
        switch (movement) {
            case RowMovement::dispatch:
                gather_places(area, sent, t, there);
                loops.copy_to(in, there, row_bytes_, stores);
                break;
            case RowMovement::combine:
            case RowMovement::dispatch_backward:
                gather_places(area, answers, t, there);
                loops.merge(there, out, row_bytes_, stores);
                break;
            case RowMovement::combine_backward:
                gather_places(area, answers, t, there);
                gather_places(area, sent, t, also);
                for (std::size_t j = 0; j < there.size(); ++j)
                    loops.combine_two(in, there[j], also[j], row_bytes_, stores);
                break;
        }
    }
    complete_stores();
}

void AccessProbe::serve(int area) {
    std::byte* half = window_->part(own_) + served_bytes_ * std::size_t(2 * area);
    std::memcpy(half + served_bytes_, half, served_bytes_);
}

void AccessProbe::copy(int area, Stores stores) {
    std::byte* half = window_->part(own_) + served_bytes_ * std::size_t(2 * area);
    std::byte* const other = half + served_bytes_;
    row_loops().copy_to(half, std::span(&other, 1), served_bytes_, stores);
    complete_stores();
}

std::int64_t AccessProbe::bytes(RowMovement movement) const {
    const std::int64_t rows = movement == RowMovement::combine_backward ? 2 * std::int64_t{kept_} : kept_;
    return std::int64_t(row_bytes_) * (rows + places_.tokens);
}

}  // namespace expar
