#pragma once

#include <functional>

namespace expar {

/// A device that may be asked, between the tasks of its operations, to let its caller do something else for a moment.
class Pausing {
public:
    virtual ~Pausing() = default;

    /// Calls `call` on the driving thread, a few thousand times a second at most, while operations run; empty: nothing.
    /// It may start operations that need no scratch memory: sums of rows.
    virtual void on_pause(std::function<void()> call) = 0;
};

}  // namespace expar
