#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "expar/base/matrix.hpp"
#include "expar/comm/window.hpp"

namespace expar {

/// Where memory of a member lies in the pool, as it is told to the others.
struct PoolPlace {
    std::int32_t segment = -1;  ///< -1: no memory, of no rows
    std::uint64_t offset = 0;
};

/// The memory of a window dispatcher in which rows live: of every member a part, which it alone hands out and all read
/// and write.
///
/// It consists of segments, each a Window, so that what is lent stays where it is when the pool grows. All calls but
/// grow() and destruction are local.
class WindowPool {
public:
    /// A run of bytes of this member's part. It is handed out again when nobody holds it here and all movements up to
    /// busy_until are over for all members.
    struct Region {
        PoolPlace place;
        std::size_t bytes = 0;
        int holders = 0;
        std::uint64_t busy_until = 0;
    };
    /// Holds a region. It may outlive the pool.
    class Hold {
    public:
        Hold() = default;
        explicit Hold(std::shared_ptr<Region> region) : region_(std::move(region)) {
            if (region_) ++region_->holders;
        }
        Hold(Hold&& other) noexcept : region_(std::move(other.region_)) {}
        Hold& operator=(Hold&& other) noexcept {
            std::swap(region_, other.region_);
            return *this;
        }
        ~Hold() {
            if (region_) --region_->holders;
        }
        [[nodiscard]] Region* region() const { return region_.get(); }
        [[nodiscard]] Hold again() const { return Hold(region_); }
        [[nodiscard]] explicit operator bool() const { return region_ != nullptr; }

    private:
        std::shared_ptr<Region> region_;
    };

    WindowPool(const Communicator& group, std::function<std::uint64_t()> movements_over)
        : group_(group), movements_over_(std::move(movements_over)) {}

    /// Empty when there is no room now.
    [[nodiscard]] Hold reserve(std::size_t bytes);
    /// Whether room will come without growing, once movements of others are over.
    [[nodiscard]] bool waits_for_others() const;
    /// The largest run of free bytes.
    [[nodiscard]] std::size_t room();
    /// Gives this member room for `bytes` in one run at least, none when 0. Collective. Throws UserError, on all
    /// members alike, when the node has not enough memory.
    void grow(std::size_t bytes);

    /// The region that these bytes lie in; empty when in none.
    [[nodiscard]] Hold find(const void* data, std::size_t bytes) const;
    [[nodiscard]] PoolPlace place_of(const void* data, const Hold& hold) const;
    [[nodiscard]] std::byte* at(int member, PoolPlace place) const;
    [[nodiscard]] std::byte* data(const Hold& hold) const { return at(group_.rank(), hold.region()->place); }
    [[nodiscard]] std::size_t bytes() const { return bytes_; }  ///< of this member's part

private:
    struct Gap {
        PoolPlace place;
        std::size_t bytes;
    };
    void reclaim();
    template <class Work>
    void for_each_gap(Work work) const;

    const Communicator& group_;
    std::function<std::uint64_t()> movements_over_;
    std::vector<Window> segments_;
    std::vector<std::shared_ptr<Region>> regions_;  // by segment, then offset
    std::size_t bytes_ = 0;
};

}  // namespace expar
