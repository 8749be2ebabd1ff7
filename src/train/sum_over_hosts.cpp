#include "sum_over_hosts.hpp"

#include "expar/compute/update.hpp"

namespace expar {

// Every rank has back-propagated its share of one objective, divided by the whole step's tokens before: what remains is
// to add.
void sum_over_hosts(Device& device, std::span<const ConstRows> parts, Rows out) {
    device.update().sum_in_order(parts, out, device.stream());
}

}  // namespace expar
