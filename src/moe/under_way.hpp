#pragma once

#include <deque>
#include <optional>
#include <utility>

#include "expar/moe/dispatcher.hpp"

namespace expar {

/// Movements of one kind that have begun, finished in the order in which they did.
template <class Result>
class UnderWay {
public:
    void start(Moving<Result> moving) { open_.push_back(std::move(moving)); }
    void progress() {
        for (Moving<Result>& moving : open_) moving.progress();
    }
    [[nodiscard]] Result finish_first() {
        Moving<Result> first = std::move(open_.front());
        open_.pop_front();
        return first.finish();
    }

private:
    std::deque<Moving<Result>> open_;
};

}  // namespace expar
