#include "pressure_values.hpp"

#include <algorithm>
#include <cstring>

namespace expar {
namespace {

std::vector<std::byte> bytes_of(ConstRows rows) {
    std::vector<std::byte> bytes(rows.bytes());
    if (!bytes.empty()) std::memcpy(bytes.data(), rows.data(), bytes.size());
    return bytes;
}

int rows_that_differ(ConstRows found, const std::vector<std::byte>& expected) {
    if (found.bytes() != expected.size()) return std::max(found.rows(), 1);
    const auto* data = static_cast<const std::byte*>(found.data());
    int wrong = 0;
    for (std::size_t at = 0; at < expected.size(); at += found.row_bytes())
        wrong += std::memcmp(data + at, expected.data() + at, found.row_bytes()) != 0;
    return wrong;
}

}  // namespace

OracleValues::OracleValues(const PressureCase& made, int rank) : case_(made) {
    for (const PressurePlan& plan : made.plans) {
        const std::vector<RankRouting> served = plan.served();
        oracles_.emplace_back(RoutedLayer{served, &made.placement, made.layer}, rank, made.order,
                              DispatchOracle::RowShape{made.hidden, made.dtype},
                              parse_exchange(made.exchange, made.placement.members()).options.topology);
    }
}

void OracleValues::fill(int pass, Rows x, Rows d_y) const {
    oracle_of(pass).fill_tokens(x);
    oracle_of(pass).fill_output_gradients(d_y);
}

void OracleValues::apply_experts(int pass, ConstRows rows, Rows outputs) const {
    oracle_of(pass).apply_experts(rows, outputs);
}

void OracleValues::apply_experts_backward(int pass, ConstRows d_outputs, Rows d_rows) const {
    oracle_of(pass).apply_experts_backward(d_outputs, d_rows);
}

int OracleValues::wrong_rows(PressureStep step, const PressureResult& result) const {
    const DispatchOracle& oracle = oracle_of(step.pass);
    switch (step.movement) {
        case PressureMovement::dispatch:
            return oracle.wrong_expert_rows(result.rows);
        case PressureMovement::combine:
            return oracle.wrong_combined(result.rows);
        case PressureMovement::combine_backward:
            return oracle.wrong_d_outputs(result.rows);
        case PressureMovement::dispatch_backward:
            return oracle.wrong_d_x(result.rows) + oracle.wrong_d_weights(result.d_weights);
    }
    throw Error("pressure: a movement that does not exist");
}

void RandomValues::fill_with(Rows rows, std::uint64_t salt) const {
    const RandomField field(number_.seed ^ salt << 32, Purpose::test, std::uint32_t(number_.index),
                            std::uint32_t(rank_));
    with_element(rows.dtype(), [&]<class Element>(Element) {
        for (int r = 0; r < rows.rows(); ++r) {
            const std::uint64_t key = field.bits(std::uint64_t(r)) | 1;
            const auto row = rows.row<Element>(r);
            for (std::size_t c = 0; c < row.size(); ++c)
                row[c] = rounded<Element>(float(std::int64_t(key * (2 * c + 1)) >> 24) * 0x1p-38f);
        }
    });
}

void RandomValues::fill(int pass, Rows x, Rows d_y) const {
    fill_with(x, std::uint64_t(2 * pass + 1));
    fill_with(d_y, std::uint64_t(2 * pass + 2));
}

// Every expert by a number of its own. The rows lie by slot, source, token, choice, so that those of an expert are
// known from the routing.
void RandomValues::scale(int pass, ConstRows in, Rows out) const {
    const PressurePlan& plan = case_.plans[std::size_t(case_.passes[std::size_t(pass)].plan)];
    std::vector<int> rows_of(std::size_t(case_.placement.experts()), 0);
    std::int64_t token = 0;
    for (std::size_t rank = 0; rank < plan.all.size(); ++rank)
        for (int t = 0; t < plan.all[rank].tokens; ++t, ++token)
            for (int j = 0; j < plan.all[rank].top_k; ++j) {
                const std::size_t i = std::size_t(t * plan.all[rank].top_k + j);
                const int expert = plan.all[rank].experts[i];
                if (expert >= 0 && plan.kept[rank][i] && case_.placement.host_for(case_.layer, expert, token) == rank_)
                    ++rows_of[std::size_t(expert)];
            }
    int row = 0;
    for (const int expert : case_.placement.experts_on(case_.layer, rank_))
        for (int n = 0; n < rows_of[std::size_t(expert)] && row < in.rows(); ++n, ++row)
            with_element(in.dtype(), [&]<class Element>(Element) {
                const auto from = in.row<Element>(row);
                const auto to = out.row<Element>(row);
                for (std::size_t c = 0; c < from.size(); ++c)
                    to[c] = rounded<Element>(float(from[c]) * float(1 + expert) / 8);
            });
}

void RandomValues::apply_experts(int pass, ConstRows rows, Rows outputs) const {
    scale(pass, rows, outputs);
}

void RandomValues::apply_experts_backward(int pass, ConstRows d_outputs, Rows d_rows) const {
    scale(pass, d_outputs, d_rows);
}

void RandomValues::expect(PressureStep step, const PressureResult& result) {
    Results& expected = expected_[std::size_t(step.pass)];
    expected.rows[std::size_t(step.movement)] = bytes_of(result.rows);
    if (step.movement == PressureMovement::dispatch_backward) expected.d_weights = bytes_of(result.d_weights);
}

int RandomValues::wrong_rows(PressureStep step, const PressureResult& result) const {
    const Results& expected = expected_[std::size_t(step.pass)];
    int wrong = rows_that_differ(result.rows, expected.rows[std::size_t(step.movement)]);
    if (step.movement == PressureMovement::dispatch_backward)
        wrong += rows_that_differ(result.d_weights, expected.d_weights);
    return wrong;
}

}  // namespace expar
