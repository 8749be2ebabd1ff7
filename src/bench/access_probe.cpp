#include "expar/bench/access_probe.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "row_loops.hpp"

namespace expar {
namespace {

constexpr std::align_val_t page{4096};

// Parts of a host's area: what is sent to it, and what it answers with, forward and backward. Parts of a source's: what
// it sends, and what it makes of the answers.
constexpr int sent = 0, answers = 1, backward = 2;

int first_part(AccessProbe::Pass pass) {
    return pass == AccessProbe::Pass::forward ? 0 : backward;
}

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
      parts_(areas > 1 ? 4 : 2),
      node_(world.split(topology.node_of[world.rank()])),
      own_(node_.rank()),
      window_(std::make_unique<Window>(node_, area_bytes(served_bytes_) * std::size_t(areas))) {
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

    const std::size_t bytes = area_bytes(row_bytes_ * std::size_t(places_.tokens)) * std::size_t(areas_);
    here_.reset(static_cast<std::byte*>(::operator new(std::max<std::size_t>(bytes, 1), page)));
    std::memset(here_.get(), 0, bytes);
    std::fill_n(window_->part(own_), area_bytes(served_bytes_) * std::size_t(areas_),
                std::byte{});  // pages at their owner
    node_.barrier({"access probe"});
}

std::size_t AccessProbe::offset(int area, int part, std::size_t part_bytes) const {
    return std::size_t(area) * area_bytes(part_bytes) + std::size_t(part % parts_) * part_bytes;
}

std::byte* AccessProbe::sources(int area, int part) const {
    return here_.get() + offset(area, part, row_bytes_ * std::size_t(places_.tokens));
}

std::byte* AccessProbe::hosted(int area, int part) const {
    return window_->part(own_) + offset(area, part, served_bytes_);
}

std::span<std::byte> AccessProbe::tokens(int area, Pass pass) const {
    return {sources(area, first_part(pass)), row_bytes_ * std::size_t(places_.tokens)};
}

std::span<const std::byte> AccessProbe::combined(int area, Pass pass) const {
    return {sources(area, first_part(pass) + answers), row_bytes_ * std::size_t(places_.tokens)};
}

std::span<const std::byte> AccessProbe::served(int area, Pass pass) const {
    return {hosted(area, first_part(pass)), served_bytes_};
}

std::byte* AccessProbe::place(int area, int part, std::size_t choice) const {
    const int member = member_[choice];
    const std::size_t part_bytes = row_bytes_ * std::size_t(places_.rows_at[member]);
    return window_->part(member) + offset(area, part, part_bytes) + row_bytes_ * std::size_t(places_.row[choice]);
}

void AccessProbe::gather_places(int area, int part, int token, std::vector<std::byte*>& places) const {
    places.clear();
    if (token == places_.tokens) return;
    for (std::size_t i = std::size_t(token) * places_.top_k, end = i + places_.top_k; i < end; ++i)
        if (member_[i] >= 0) places.push_back(place(area, part, i));
}

void AccessProbe::move(RowMovement movement, int area, Stores stores) {
    const RowLoops& loops = row_loops();
    const bool stores_there = movement == RowMovement::dispatch || movement == RowMovement::combine_backward;
    const int first = first_part(
        movement == RowMovement::dispatch || movement == RowMovement::combine ? Pass::forward : Pass::backward);
    const int read_part = movement == RowMovement::combine_backward ? answers : first + answers;
    std::vector<std::byte*> read, next_read, stored;
    gather_places(area, read_part, 0, read);
    for (int t = 0; t < places_.tokens; ++t, std::swap(read, next_read)) {
        const auto row = [&](int part) { return sources(area, part) + row_bytes_ * std::size_t(t); };
        if (stores_there) gather_places(area, first + sent, t, stored);
        if (movement == RowMovement::dispatch) {
            loops.copy_to(row(sent), stored, row_bytes_, stores);
            continue;
        }
        gather_places(area, read_part, t + 1, next_read);
        if (!stores_there) loops.merge({read, next_read}, row(first + answers), row_bytes_, stores);
        for (std::size_t j = 0; j < stored.size(); ++j) {
            const std::byte* behind = next_read.empty() ? nullptr : next_read.front();
            const std::byte* next = j + 1 < read.size() ? read[j + 1] : behind;
            loops.combine_two({row(backward + sent), read[j], next}, stored[j], row_bytes_, stores);
        }
    }
    complete_stores();
}

void AccessProbe::serve(int area, Pass pass) {
    std::copy_n(hosted(area, first_part(pass) + sent), served_bytes_, hosted(area, first_part(pass) + answers));
}

void AccessProbe::copy(int area, Stores stores) {
    if (served_bytes_ == 0) return;
    std::byte* const other = hosted(area, answers);
    row_loops().copy_to(hosted(area, sent), std::span(&other, 1), served_bytes_, stores);
    complete_stores();
}

std::int64_t AccessProbe::bytes(RowMovement movement) const {
    const std::int64_t rows = movement == RowMovement::combine_backward ? 2 * std::int64_t{kept_} : kept_;
    return std::int64_t(row_bytes_) * (rows + places_.tokens);
}

}  // namespace expar
