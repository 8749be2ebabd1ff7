#pragma once

#include <map>
#include <memory>
#include <string>
#include <tuple>

#include "expar/compute/cpu_device.hpp"
#include "expar/moe/dispatcher.hpp"

namespace expar {

/// Devices and dispatchers, made when they are first asked for: on all ranks in the same order. They are used again by
/// the cases that follow, so that memory of theirs is.
class PressureTools {
public:
    explicit PressureTools(const Communicator& world) : world_(world) {}

    [[nodiscard]] const Communicator& world() const { return world_; }
    [[nodiscard]] Device& device(const std::string& name) {
        auto& device = devices_[name];
        if (!device) device = name == "reference" ? make_reference_device() : make_cpu_device(1);
        return *device;
    }
    [[nodiscard]] Dispatcher& dispatcher(const std::string& kind, const std::string& exchange,
                                         const std::string& device_name) {
        auto& dispatcher = dispatchers_[{kind, exchange, device_name}];
        if (!dispatcher) dispatcher = make_dispatcher(kind, exchange, world_, device(device_name));
        return *dispatcher;
    }
    void clear() {
        dispatchers_.clear();
        devices_.clear();
    }

private:
    const Communicator& world_;
    std::map<std::string, std::unique_ptr<Device>> devices_;
    std::map<std::tuple<std::string, std::string, std::string>, std::unique_ptr<Dispatcher>> dispatchers_;
};

}  // namespace expar
