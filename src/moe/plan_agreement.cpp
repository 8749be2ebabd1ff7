#include "plan_agreement.hpp"

#include <ios>
#include <numeric>
#include <sstream>

namespace expar {
namespace {

// FNV-1a, a number at a time, with a shift behind each: without it, 3, -1 and -1, 3 may hash alike.
class Hash {
public:
    Hash& add(std::int64_t number) {
        hash_ = (hash_ ^ std::uint64_t(number)) * 0x100000001b3;
        hash_ ^= hash_ >> 29;
        return *this;
    }
    [[nodiscard]] std::uint32_t value() const { return std::uint32_t(hash_ ^ (hash_ >> 32)); }

private:
    std::uint64_t hash_ = 0xcbf29ce484222325;
};

std::uint32_t seal_of(const Announcement& announcement, int from, int to, std::uint32_t plan_hash) {
    Hash hash;
    hash.add(plan_hash).add(announcement.rows).add(announcement.choices).add(announcement.carried);
    return hash.add(announcement.all_rows).add(announcement.all_choices).add(from).add(to).value();
}

std::string hexadecimal(std::uint32_t number) {
    std::ostringstream text;
    text << std::hex << number;
    return text.str();
}

}  // namespace

std::uint32_t hash_of_plan(int top_k, DType weight_dtype, const PlanScope& scope) {
    Hash hash;
    hash.add(scope.layer).add(top_k).add(int(weight_dtype)).add(int(scope.order));
    const Placement& placement = *scope.placement;
    hash.add(placement.experts());
    for (int m = 0; m < placement.members(); ++m) {
        hash.add(-1);
        hash.add(scope.node_of(m));
        for (const int expert : placement.experts_on(scope.layer, m)) hash.add(expert);
    }
    return hash.value();
}

std::vector<int> sealed(const SourcePlan& source, const PlanScope& scope, std::uint32_t plan_hash) {
    const auto to_others = [&scope](const std::vector<int>& counts) {
        return std::accumulate(counts.begin(), counts.end(), -counts[std::size_t(scope.member)]);
    };
    const Announcement of_all{0, 0, to_others(source.rows_to), to_others(source.returns_to), 0};
    std::vector<int> values;
    for (int m = 0; m < int(source.rows_to.size()); ++m) {
        Announcement said = of_all;
        if (m != scope.member) {
            const auto& carried = source.carried.rows_to;
            said.rows = source.rows_to[m];
            said.choices = source.returns_to[m];
            said.carried = carried.empty() ? 0 : carried[m];
        }
        const std::uint32_t seal = seal_of(said, scope.member, m, plan_hash);
        values.insert(values.end(),
                      {said.rows, said.choices, said.all_rows, said.all_choices, said.carried, int(seal)});
    }
    return values;
}

std::vector<Announcement> unsealed(std::span<const int> received, const PlanScope& scope, std::uint32_t plan_hash) {
    std::vector<Announcement> announced;
    for (int m = 0; m < int(received.size()) / Announcement::values; ++m) {
        const auto values = received.subspan(std::size_t(m) * Announcement::values, Announcement::values);
        announced.push_back({values[0], values[1], values[2], values[3], values[4]});
        const std::uint32_t expected = seal_of(announced.back(), m, scope.member, plan_hash);
        const auto seal = std::uint32_t(values[5]);
        if (seal != expected)
            throw Error(
                concat("plan of layer ", scope.layer, ": member ", m, " announces ", values[0], " rows with ",
                       values[1], " choices for member ", scope.member, " under the seal ", hexadecimal(seal),
                       ", expected ", hexadecimal(expected),
                       ": its k, order, type, placement or topology is another one, or a count changed on its way"));
    }
    return announced;
}

void expect_announced(std::span<const Announcement> announced, const DispatchPlan& plan) {
    for (int m = 0; m < int(announced.size()); ++m)
        if (plan.returns.send[m] != announced[m].choices)
            throw Error(concat("plan of layer ", plan.layer, ": member ", m, " announced ", announced[m].choices,
                               " choices for member ", plan.member, ", its headers hold ", plan.returns.send[m]));
}

}  // namespace expar
