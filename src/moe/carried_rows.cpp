#include <algorithm>

#include "forwarding.hpp"
#include "to_array.hpp"
#include "token_nodes.hpp"

namespace expar {

Forwarders::Forwarders(const PlanScope& scope) {
    for (int m = 0; m < scope.placement->members(); ++m) {
        const auto node = std::size_t(scope.node_of(m));
        if (members_.size() <= node) members_.resize(node + 1);
        place_.push_back(int(members_[node].size()));
        members_[node].push_back(m);
    }
}

int Forwarders::words() const {
    const auto size = [](const auto& members) { return members.size(); };
    const auto most = int(std::ranges::max(members_, {}, size).size());
    return (most + served_bits - 1) / served_bits;
}

// Rows lie by the member that they go to, which is another one than they are listed by: by token.
CarriedRows carried_rows(std::span<const int> member_of, int top_k, const PlanScope& scope, Device& device) {
    const Forwarders forwarders(scope);
    const int node_here = scope.node_of(scope.member);
    TokenNodes nodes(scope);
    struct Lists {
        std::vector<int> tokens, words;
    };
    std::vector<Lists> to(std::size_t(scope.placement->members()));
    for (std::size_t first = 0; first < member_of.size(); first += std::size_t(top_k)) {
        const int token = int(first) / top_k;
        nodes.for_each(member_of.subspan(first, std::size_t(top_k)), [&](int node, std::span<const int> members) {
            if (node == node_here) {
                for (const int m : members)
                    if (m != scope.member) to[std::size_t(m)].tokens.push_back(token);
                return;
            }
            auto& [tokens, words] = to[std::size_t(forwarders.forwarder(scope.member, node))];
            tokens.push_back(token);
            words.resize(words.size() + std::size_t(forwarders.words()));
            const auto row = std::span(words).last(std::size_t(forwarders.words()));
            const auto& there = forwarders.members_of(node);
            for (const int m : members) {
                const int place = int(std::ranges::find(there, m) - there.begin());
                row[std::size_t(place / served_bits)] |= int(1u << (place % served_bits));
            }
        });
    }
    CarriedRows carried;
    std::vector<int> tokens, words;
    for (const Lists& lists : to) {
        carried.rows_to.push_back(int(lists.tokens.size()));
        tokens.insert(tokens.end(), lists.tokens.begin(), lists.tokens.end());
        words.insert(words.end(), lists.words.begin(), lists.words.end());
    }
    carried.tokens = to_array(tokens, device);
    carried.served = Matrix(device, DType::int32, int(words.size()) / forwarders.words(), forwarders.words());
    std::ranges::copy(words, static_cast<int*>(carried.served.view().data()));
    return carried;
}

}  // namespace expar
