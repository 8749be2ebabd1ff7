#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "expar/base/random.hpp"
#include "expar/comm/exchange.hpp"
#include "rows_of.hpp"

namespace expar {

// Element c of row i of those that `from` sends to `to`: different wherever a mistake could exchange two.
inline int element(int from, int to, int i, int c) {
    return ((from * 16 + to) * 8192 + i) * 16 + c % 16;
}

/// An exchange of count(s, d) rows from every rank s to every rank d, and what must arrive here.
struct ExchangeCase {
    RowCounts counts;
    std::vector<int> sent, received, expected;
    int cols;

    template <class Count>
    ExchangeCase(const Communicator& world, int columns, Count count) : cols(columns) {
        const int me = world.rank();
        for (int peer = 0; peer < world.size(); ++peer) {
            counts.send.push_back(count(me, peer));
            counts.recv.push_back(count(peer, me));
            for (int i = 0; i < counts.send.back(); ++i)
                for (int c = 0; c < cols; ++c) sent.push_back(element(me, peer, i, c));
            for (int i = 0; i < counts.recv.back(); ++i)
                for (int c = 0; c < cols; ++c) expected.push_back(element(peer, me, i, c));
        }
        received.assign(expected.size(), -1);
    }
    Transfer start(Exchange& exchange, Occasion occasion = {"exchange"}) {
        return exchange.start(rows_of(std::as_const(sent), cols), rows_of(received, cols), counts, occasion);
    }
};

// About half of the pairs exchange nothing.
inline auto random_counts(int seed) {
    return [random = RandomField(std::uint64_t(seed), Purpose::test)](int from, int to) {
        const auto pair = std::uint64_t(from * 16 + to);
        return random.below(2, pair) ? int(random.below(200, pair + 1000)) : 0;
    };
}

}  // namespace expar
