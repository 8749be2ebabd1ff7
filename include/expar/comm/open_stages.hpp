#pragma once

#include <functional>
#include <vector>

namespace expar {

/// What this rank still has to post: transfers whose next messages go out once others have arrived.
///
/// Every wait moves all of them on, whatever it waits for: a peer may need a later stage of a transfer that this rank
/// will finish only afterwards.
class OpenStages {
public:
    /// Moves on without waiting; true when nothing is left to do.
    using Advance = std::function<bool()>;

    void add(const void* owner, Advance advance);
    void remove(const void* owner);
    /// Calls each of them once and forgets those that are done, or that throw. Does nothing when one of them calls it.
    void advance();

private:
    struct Entry {
        const void* owner;  // null: removed
        Advance advance;
    };
    std::vector<Entry> entries_;
    bool advancing_ = false;
};

}  // namespace expar
