#include "expar/comm/open_stages.hpp"

namespace expar {

void OpenStages::add(const void* owner, Advance advance) {
    entries_.push_back({owner, std::move(advance)});
}

// Only marked: the list may be under way.
void OpenStages::remove(const void* owner) {
    for (Entry& entry : entries_)
        if (entry.owner == owner) entry.owner = nullptr;
}

void OpenStages::advance() {
    if (entries_.empty() || advancing_) return;
    struct Flag {
        explicit Flag(bool& up) : flag(up) { flag = true; }
        ~Flag() { flag = false; }
        bool& flag;
    };
    const Flag under_way(advancing_);
    // By index and with a copy: what is called may add entries.
    for (std::size_t i = 0; i < entries_.size(); ++i) {
        const auto [owner, advance] = entries_[i];
        if (!owner) continue;
        try {
            if (advance()) remove(owner);
        } catch (...) {
            remove(owner);
            throw;
        }
    }
    std::erase_if(entries_, [](const Entry& entry) { return entry.owner == nullptr; });
}

}  // namespace expar
