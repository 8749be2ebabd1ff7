#include "expar/comm/staged_transfers.hpp"

#include <string>
#include <utility>

namespace expar {

class StagedTransfers::Work : public Transfer::Work {
public:
    Work(Transfer first, std::function<Transfer()> start_second, std::shared_ptr<Turns> turns)
        : first_(std::move(first)),
          start_second_(std::move(start_second)),
          turns_(std::move(turns)),
          turn_(turns_->dealt++) {}

    [[nodiscard]] bool has_stages() const override { return true; }

    // Stages move on all that are open, of which this is one.
    bool advance() override {
        if (state_ == State::advancing) return false;
        if (state_ == State::failed) throw Error("transfer of two stages: failed before");
        state_ = State::advancing;
        try {
            const bool done = advance_stages();
            state_ = State::idle;
            return done;
        } catch (...) {
            state_ = State::failed;
            throw;
        }
    }

    [[nodiscard]] std::string outstanding() const override {
        if (!start_second_) return second_.outstanding();
        const std::string first = first_.outstanding();
        return first.empty() ? "the first stage of an earlier transfer" : first;
    }

private:
    enum class State { idle, advancing, failed };

    bool advance_stages() {
        if (start_second_ && first_.progress() && turns_->next == turn_) {
            second_ = start_second_();
            start_second_ = nullptr;
            ++turns_->next;
        }
        return !start_second_ && second_.progress();
    }

    Transfer first_, second_;
    std::function<Transfer()> start_second_;  // empty: started
    std::shared_ptr<Turns> turns_;
    std::uint64_t turn_;
    State state_ = State::idle;
};

Transfer StagedTransfers::join(Transfer first, std::function<Transfer()> start_second, Occasion occasion) {
    auto work = std::make_unique<Work>(std::move(first), std::move(start_second), turns_);
    return {std::move(work), comm_.policy(), occasion, comm_.world_rank(comm_.rank())};
}

}  // namespace expar
