#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>

namespace expar {

/// What a reader in a process of its own may use.
struct IsolationLimits {
    double seconds = 20;                              ///< of a clock, and of a processor
    std::size_t memory_bytes = std::size_t{1} << 28;  ///< beyond what this process has when it starts the other
};

/// Enough for a file of that size, whatever disk it lies on. Local.
[[nodiscard]] IsolationLimits limits_for(const std::filesystem::path& path);

/// Runs `work`, which reads a file that nobody vouches for, in a forked child and gives back the bytes that it yields:
/// HDF5's parser crashes on some damaged files. A UserError of `work` is thrown here as it was; a crash, a limit or
/// another exception becomes a UserError that names `path` and what happened. The bytes come from a process that a
/// damaged file may have led astray: whoever unpacks them checks every size.
///
/// Forks without exec, so that `work` is any function and a test or a library user needs no second program. That is
/// safe with MPI because the child makes no MPI call, runs no handler or destructor of its parent (it leaves with
/// _exit) and touches none of the network's memory; call it where no request of this rank is open and no thread of
/// this process may hold a lock that `work` takes. Local; blocks, at most limits.seconds.
[[nodiscard]] std::string isolated(const std::filesystem::path& path, const IsolationLimits& limits,
                                   const std::function<std::string()>& work);

}  // namespace expar
