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

}  // namespace expar
