#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "expar/base/random.hpp"
#include "expar/bench/workload.hpp"
#include "expar/moe/dispatch_plan.hpp"

namespace expar {

/// Random numbers one after the other; equal for equal (seed, stream).
class Dice {
public:
    Dice(std::uint64_t seed, std::uint32_t stream, std::uint32_t substream = 0)
        : field_(seed, Purpose::test, stream, substream) {}
    /// In [0, bound).
    [[nodiscard]] int below(int bound) { return int(field_.below(std::uint64_t(bound), next_++)); }
    [[nodiscard]] int between(int first, int last) { return first + below(last - first + 1); }
    /// Once in `times`.
    [[nodiscard]] bool once_in(int times) { return below(times) == 0; }
    template <class List>
    [[nodiscard]] const auto& one_of(const List& list) {
        return list[std::size_t(below(int(list.size())))];
    }

private:
    RandomField field_;
    std::uint64_t next_ = 0;
};

/// Routing for which one plan is made.
struct PressurePlan {
    std::string name;                    ///< how it was drawn
    std::vector<RankRouting> all;        ///< [ranks]; expert -1: no choice
    std::vector<std::vector<int>> kept;  ///< [ranks][T k]; 0: dropped for capacity
    std::size_t row_bytes = 0;           ///< as PlanScope is told: right, too few, or not known

    /// As those see it who serve: a dropped choice is none.
    [[nodiscard]] std::vector<RankRouting> served() const;
};

enum class PressureMovement { dispatch, combine, combine_backward, dispatch_backward };
inline constexpr int pressure_movements = 4;
[[nodiscard]] std::string_view name_of(PressureMovement movement);

/// Rows that go through a plan, forward and backward. Several may share a plan.
struct PressurePass {
    int plan = 0;
    bool lends_outputs = true;  ///< else experts write into memory of the caller
    bool keeps_rows = false;    ///< all is checked at the end of the case, else at once, and given back at once
};

struct PressureStep {
    int pass = 0;
    PressureMovement movement = PressureMovement::dispatch;
};

/// All of a case, the same on every rank.
struct PressureCase {
    std::string dispatcher, exchange, device;
    std::string nodes;  ///< the option of the exchange that says which ranks play a node; empty: all of them
    CombineOrder order = CombineOrder::exact;
    DType dtype = DType::bfloat16;
    int hidden = 1, layer = 0;
    /// Rows and weights have random bits, and must come out as from `packed`, one movement after the other; else the
    /// oracle says what they must be.
    bool random_values = false;
    Placement placement;
    std::vector<PressurePlan> plans;
    std::vector<PressurePass> passes;
    /// In which order all ranks start movements: any in which a pass's own are in order.
    std::vector<PressureStep> steps;

    [[nodiscard]] std::string describe() const;
};

/// Which of all cases: it follows from these alone.
struct PressureNumber {
    std::uint64_t seed = 1;
    int ranks = 1;
    int index = 0;
};
[[nodiscard]] PressureCase make_pressure_case(const PressureNumber& number);
/// Whether devices and dispatchers are made anew before it.
[[nodiscard]] bool begins_anew(const PressureNumber& number);
/// The last case at or before it that begins anew.
[[nodiscard]] int beginning_of(PressureNumber number);

}  // namespace expar
