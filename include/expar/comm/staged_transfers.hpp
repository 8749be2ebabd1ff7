#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "expar/comm/communicator.hpp"

namespace expar {

/// Transfers of two stages, as one: the second starts once what the first brought is here.
///
/// Second stages start in the order in which the transfers did, which is the same on all ranks, as an Exchange asks
/// for; every wait starts those that are due, whatever it waits for.
class StagedTransfers {
public:
    /// Local. The communicator must outlive the transfers.
    explicit StagedTransfers(const Communicator& comm) : comm_(comm), turns_(std::make_shared<Turns>()) {}

    /// `start_second` runs once, within a wait, progress() or finish() of any transfer; what it refers to must live
    /// until the transfer is over.
    [[nodiscard]] Transfer join(Transfer first, std::function<Transfer()> start_second, Occasion occasion);

private:
    struct Turns {
        std::uint64_t dealt = 0, next = 0;
    };
    class Work;

    const Communicator& comm_;
    std::shared_ptr<Turns> turns_;  // shared with transfers that may outlive this
};

}  // namespace expar
