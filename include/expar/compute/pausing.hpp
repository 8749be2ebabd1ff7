#pragma once

#include <functional>

#include "expar/base/device.hpp"

namespace expar {

/// A device that may be asked, between the tasks of its operations, to let its caller do something else for a moment.
class Pausing {
public:
    virtual ~Pausing() = default;

    /// Calls `call` on the driving thread, a few thousand times a second at most, while operations run; empty: nothing.
    /// It may start operations that need no scratch memory: sums of rows. Returns what was called until now.
    virtual std::function<void()> on_pause(std::function<void()> call) = 0;
};

/// Calls `call` in the pauses of a device for as long as it lives, beside what is called there already, and never
/// within itself. Nothing on a device that does not pause. These nest.
class InPauses {
public:
    InPauses(Device& device, std::function<void()> call);
    ~InPauses();
    InPauses(const InPauses&) = delete;
    InPauses& operator=(const InPauses&) = delete;

private:
    void pause();

    Pausing* device_;
    std::function<void()> call_, outer_;
    bool inside_ = false;
};

}  // namespace expar
