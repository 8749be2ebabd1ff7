#pragma once

#include <string>
#include <utility>

#include "expar/comm/communicator.hpp"

namespace expar {

/// Runs `work` on rank 0 alone. When it throws a UserError there, every rank throws the same one: how arguments and
/// files are judged. Collective; blocks.
template <class Work>
void judge_on_root(const Communicator& world, Work&& work) {
    std::string complaint;
    if (world.rank() == 0) {
        try {
            std::forward<Work>(work)();
        } catch (const UserError& error) {
            complaint = error.what();
            if (complaint.empty()) complaint = "refused";
        }
    }
    complaint = world.broadcast(std::move(complaint), 0, {"verdict of rank 0"});
    if (!complaint.empty()) throw UserError(complaint);
}

/// Runs `work` on every rank. When it throws a UserError on some of them, every rank throws that of the lowest: what
/// can fail on one rank alone, such as a disk. `work` may not communicate. Collective; blocks.
template <class Work>
void judge_everywhere(const Communicator& world, Work&& work) {
    std::string complaint;
    try {
        std::forward<Work>(work)();
    } catch (const UserError& error) {
        complaint = error.what();
        if (complaint.empty()) complaint = "refused";
    }
    int first = complaint.empty() ? 0 : world.size() - world.rank();  // 0: nobody
    world.max(std::span(&first, 1), {"verdict of all ranks"});
    if (first == 0) return;
    throw UserError(world.broadcast(std::move(complaint), world.size() - first, {"verdict of all ranks"}));
}

}  // namespace expar
