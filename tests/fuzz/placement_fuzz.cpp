// A placement as a checkpoint keeps it: how many members, how many layers, a count for each, then experts.
#include "checkpoint_parts.hpp"
#include "expar/moe/placement.hpp"
#include "fuzz.hpp"

using namespace expar;

// A vector of 24 bytes and a number of 4 for each place, twice, where the input has a byte or four.
constexpr fuzz::Allowance allowance{.factor = 128, .constant = std::size_t{1} << 15};

namespace {

// Small numbers mostly; 0xFF is followed by any.
std::int32_t number(fuzz::Bytes& input) {
    const unsigned small = input.byte();
    return small < 0xFF ? std::int32_t(small) - 2 : std::int32_t(input.two_bytes() << 16 | input.two_bytes());
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Bytes input(data, size);
    const std::size_t members = input.byte(), places = input.byte();
    std::vector<std::int32_t> counts, experts;
    while (counts.size() < places) counts.push_back(number(input));
    while (!input.empty()) experts.push_back(number(input));
    const std::size_t bytes = (counts.size() + experts.size()) * sizeof(std::int32_t);
    fuzz::expect_sound(bytes, allowance, [&] {
        const Placement placement = unpack_placement(members, counts, experts);
        for (int layer = 0; layer < placement.layers(); ++layer)
            for (int expert = 0; expert < placement.experts(); ++expert)
                fuzz::expect(!placement.hosts_of(layer, expert).empty(), "an expert is nowhere");
    });
    return 0;
}
