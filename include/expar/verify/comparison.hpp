#pragma once

#include <string>
#include <vector>

#include "expar/verify/cases.hpp"
#include "expar/verify/plain_model.hpp"
#include "expar/verify/recorder.hpp"
#include "expar/verify/report.hpp"

namespace expar {

/// The model before a step.
struct StartingPoint {
    Tensors values, moment1, moment2;
};

/// Judges one recorded step of the tested side; every judgement adds rows to the report. Local.
class Comparison {
public:
    /// All must outlive it.
    Comparison(const VerifyCase& verify_case, const Layout& layout, const StartingPoint& start,
               const StepRecord& tested, VerifyReport& report);

    void acted() const;                ///< the case's feature did something
    void copies(int differing) const;  ///< all hosts of a block hold the same bits
    void with_one_rank(const StepRecord& alone) const;
    void with_float64(const std::vector<MicroBatch>& batches) const;
    void skip(const std::string& reference, const std::string& reason) const;

private:
    [[nodiscard]] VerifyRow row(const std::string& reference, const std::string& quantity, double tolerance) const;
    /// Of things that must be none.
    void count(const std::string& reference, const std::string& quantity, int wrong) const;
    void scalar(const std::string& reference, const std::string& quantity, double tested, double expected) const;
    /// Of what is not bit for bit the same.
    [[nodiscard]] double tolerance(const std::string& reference) const;
    void scalars(const std::string& reference, const StepReport& expected) const;
    void routings(const PlainResult& expected) const;
    template <class Reference>
    void tensors(const std::string& reference, const Tensors& tested, const Reference& expected, bool bits) const;
    template <class Reference>
    void changes(const std::string& reference, const Reference& expected) const;

    const VerifyCase& case_;
    Layout layout_;
    const StartingPoint& start_;
    const StepRecord& tested_;
    VerifyReport& report_;
};

}  // namespace expar
