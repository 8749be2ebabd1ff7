#pragma once

#include <array>
#include <vector>

#include "expar/base/buffer.hpp"
#include "expar/bench/oracle.hpp"
#include "pressure_case.hpp"
#include "pressure_tools.hpp"

namespace expar {

/// What a movement left on this rank: rows, and of some numbers for the choices.
struct PressureResult {
    ConstRows rows;
    ConstRows d_weights{};
};

/// What the passes of a case move, what experts do, and what must come out.
class PressureValues {
public:
    virtual ~PressureValues() = default;
    virtual void fill(int pass, Rows x, Rows d_y) const = 0;
    virtual void apply_experts(int pass, ConstRows rows, Rows outputs) const = 0;
    virtual void apply_experts_backward(int pass, ConstRows d_outputs, Rows d_rows) const = 0;
    [[nodiscard]] virtual int wrong_rows(PressureStep step, const PressureResult& result) const = 0;
};

/// Of the oracle: equal in all passes.
class OracleValues : public PressureValues {
public:
    OracleValues(const PressureCase& made, int rank);
    void fill(int pass, Rows x, Rows d_y) const override;
    void apply_experts(int pass, ConstRows rows, Rows outputs) const override;
    void apply_experts_backward(int pass, ConstRows d_outputs, Rows d_rows) const override;
    [[nodiscard]] int wrong_rows(PressureStep step, const PressureResult& result) const override;

private:
    [[nodiscard]] const DispatchOracle& oracle_of(int pass) const {
        return oracles_[std::size_t(case_.passes[std::size_t(pass)].plan)];
    }
    const PressureCase& case_;
    std::vector<DispatchOracle> oracles_;  // of plans
};

/// Random bits, others in every pass. `expected` holds what must come out, if it is known.
class RandomValues : public PressureValues {
public:
    struct Results {
        std::array<std::vector<std::byte>, pressure_movements> rows;
        std::vector<std::byte> d_weights;
    };
    RandomValues(const PressureCase& made, const PressureNumber& number, int rank)
        : case_(made), number_(number), rank_(rank), expected_(made.passes.size()) {}
    void expect(PressureStep step, const PressureResult& result);

    void fill(int pass, Rows x, Rows d_y) const override;
    void apply_experts(int pass, ConstRows rows, Rows outputs) const override;
    void apply_experts_backward(int pass, ConstRows d_outputs, Rows d_rows) const override;
    [[nodiscard]] int wrong_rows(PressureStep step, const PressureResult& result) const override;

private:
    void fill_with(Rows rows, std::uint64_t salt) const;
    void scale(int pass, ConstRows in, Rows out) const;
    const PressureCase& case_;
    PressureNumber number_;
    int rank_;
    std::vector<Results> expected_;  // of passes
};

}  // namespace expar
