#include "expar/compute/pausing.hpp"

#include <utility>

namespace expar {

InPauses::InPauses(Device& device, std::function<void()> call)
    : device_(dynamic_cast<Pausing*>(&device)), call_(std::move(call)) {
    if (device_) outer_ = device_->on_pause([this] { pause(); });
}

InPauses::~InPauses() {
    if (device_) static_cast<void>(device_->on_pause(std::move(outer_)));
}

// What is called may run operations, which pause, too.
void InPauses::pause() {
    if (std::exchange(inside_, true)) return;
    try {
        call_();
        if (outer_) outer_();
    } catch (...) {
        inside_ = false;
        throw;
    }
    inside_ = false;
}

}  // namespace expar
