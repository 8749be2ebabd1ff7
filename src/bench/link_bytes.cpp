#include "link_bytes.hpp"

#include <fstream>

#include "expar/base/error.hpp"

namespace expar {

LinkBytes link_bytes(const std::string& interface) {
    if (interface.empty()) return {};
    const auto count = [&](const char* name) {
        const std::string path = concat("/sys/class/net/", interface, "/statistics/", name);
        std::ifstream file(path);
        std::int64_t bytes = 0;
        if (!(file >> bytes)) throw UserError(concat("--link: cannot read ", path, ", expected a network interface"));
        return bytes;
    };
    return {count("tx_bytes"), count("rx_bytes")};
}

}  // namespace expar
