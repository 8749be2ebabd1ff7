#include "window_pool.hpp"

#include <algorithm>
#include <utility>

namespace expar {
namespace {

// Regions begin on a line, so that rows of two of them share none.
std::size_t in_lines(std::size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

}  // namespace

void WindowPool::reclaim() {
    const bool any_free = std::ranges::any_of(regions_, [](const auto& region) { return region->holders == 0; });
    if (!any_free) return;
    std::erase_if(regions_, [over = movements_over_()](const auto& region) {
        return region->holders == 0 && region->busy_until <= over;
    });
}

bool WindowPool::waits_for_others() const {
    return std::ranges::any_of(regions_, [](const auto& region) { return region->holders == 0; });
}

// Calls work(gap, index of the region behind it) for the gaps in order, until it returns true.
template <class Work>
void WindowPool::for_each_gap(Work work) const {
    auto region = regions_.begin();
    for (std::int32_t s = 0; s < std::int32_t(segments_.size()); ++s) {
        std::uint64_t offset = 0;
        const auto close = [&](std::uint64_t end) {
            return end > offset && work(Gap{{s, offset}, end - offset}, region - regions_.begin());
        };
        for (; region != regions_.end() && (*region)->place.segment == s; ++region) {
            if (close((*region)->place.offset)) return;
            offset = (*region)->place.offset + (*region)->bytes;
        }
        if (close(segments_[std::size_t(s)].bytes(group_.rank()))) return;
    }
}

WindowPool::Hold WindowPool::reserve(std::size_t bytes) {
    reclaim();
    auto region = std::make_shared<Region>();
    region->bytes = in_lines(bytes);
    std::ptrdiff_t behind = -1;
    for_each_gap([&](const Gap& gap, std::ptrdiff_t next) {
        if (gap.bytes < region->bytes) return false;
        region->place = gap.place;
        behind = next;
        return true;
    });
    if (behind < 0) return {};
    regions_.insert(regions_.begin() + behind, region);
    return Hold(std::move(region));
}

std::size_t WindowPool::room() {
    reclaim();
    std::size_t largest = 0;
    for_each_gap([&](const Gap& gap, std::ptrdiff_t) {
        largest = std::max(largest, gap.bytes);
        return false;
    });
    return largest;
}

// By half of what is there at least, so that a pool that becomes large does so in few steps.
void WindowPool::grow(std::size_t bytes) {
    const std::size_t more = bytes == 0 ? 0 : in_lines(std::max(bytes, bytes_ / 2));
    segments_.emplace_back(group_, more);
    bytes_ += more;
}

WindowPool::Hold WindowPool::find(const void* data, std::size_t bytes) const {
    const auto* first = static_cast<const std::byte*>(data);
    for (const auto& region : regions_) {
        const std::byte* begin = at(group_.rank(), region->place);
        if (begin <= first && first + bytes <= begin + region->bytes) return Hold(region);
    }
    return {};
}

PoolPlace WindowPool::place_of(const void* data, const Hold& hold) const {
    PoolPlace place = hold.region()->place;
    place.offset += std::uint64_t(static_cast<const std::byte*>(data) - at(group_.rank(), place));
    return place;
}

std::byte* WindowPool::at(int member, PoolPlace place) const {
    if (place.segment < 0) return nullptr;
    return segments_[std::size_t(place.segment)].part(member) + place.offset;
}

}  // namespace expar
