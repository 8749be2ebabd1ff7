#include "expar/verify/verify.hpp"

#include <array>

#include "expar/verify/cases.hpp"
#include "expar/verify/comparison.hpp"

namespace expar {
namespace {

std::vector<MicroBatch> batches_of(const VerifyCase& verify_case, int step, int ranks) {
    std::vector<MicroBatch> batches;
    for (int m = 0; m < verify_accumulation; ++m) batches.push_back(verify_case.batch(step, m, ranks));
    return batches;
}

// One case in one layout: the tested trainer on all ranks, the references on rank 0.
class CaseRun {
public:
    CaseRun(const VerifyCase& verify_case, const Layout& layout, Device& device, const Communicator& world)
        : case_(verify_case),
          model_(verify_case.model.resolved()),
          layout_(layout),
          world_(world),
          self_(MPI_COMM_SELF, *world.policy()),
          tested_(model_, options(verify_case, layout.ep(), verify_case.train.dispatcher),
                  verify_case.placement(layout), device, world),
          alone_(model_, alone_options(verify_case), linear_placement(model_.layers, model_.experts, 1), device,
                 self_) {}

    void run(VerifyReport& report) {
        for (int step = 1; step <= verify_steps; ++step) {
            const auto batches = batches_of(case_, step, world_.size());
            const StartingPoint start{gather_tensors(Part::value, model_, tested_, world_),
                                      gather_tensors(Part::moment1, model_, tested_, world_),
                                      gather_tensors(Part::moment2, model_, tested_, world_)};
            const StepRecord tested = record_step(model_, tested_, batches, world_);
            const int differing = count_differing_copies(model_, tested_, world_);
            if (world_.rank() == 0) judge_alone(start, batches, tested, differing, report);
            world_.barrier({"verify"});
        }
    }

private:
    static TrainOptions options(const VerifyCase& verify_case, int ep, const std::string& dispatcher) {
        TrainOptions train = verify_case.train;
        train.ep = ep;
        train.dispatcher = dispatcher;
        return train;
    }

    static TrainOptions alone_options(const VerifyCase& verify_case) {
        TrainOptions train = options(verify_case, 1, "packed");
        train.chunks = 1;
        return train;
    }

    // The others wait: what this rank alone has seen is no verdict that all of them know.
    void judge_alone(const StartingPoint& start, const std::vector<MicroBatch>& batches, const StepRecord& tested,
                     int differing_copies, VerifyReport& report) {
        try {
            judge(start, batches, tested, differing_copies, report);
        } catch (const UserError& error) {
            throw Error(concat("verify: ", case_.name, " on one rank: ", error.what()));
        }
    }

    void judge(const StartingPoint& start, const std::vector<MicroBatch>& batches, const StepRecord& tested,
               int differing_copies, VerifyReport& report) {
        const Comparison comparison(case_, layout_, start, tested, report);
        comparison.acted();
        comparison.copies(differing_copies);
        if (case_.depends_on_layout && layout_.ranks() > 1) {
            comparison.skip("one_rank", "a scope of this case is a rank");
        } else if (layout_.ep() > 1 && case_.train.combine != "exact" && case_.train.dtype == "bf16") {
            comparison.skip("one_rank", "partial sums are rounded on the way, and may turn a choice of near equals");
        } else {
            set_tensors(Part::value, start.values, alone_);
            set_tensors(Part::moment1, start.moment1, alone_);
            set_tensors(Part::moment2, start.moment2, alone_);
            alone_.set_steps_done(tested.report.step - 1);
            comparison.with_one_rank(record_step(model_, alone_, batches, self_));
        }
        comparison.with_float64(batches);
    }

    const VerifyCase& case_;
    ModelOptions model_;
    Layout layout_;
    const Communicator& world_;
    Communicator self_;
    Trainer tested_;
    Trainer alone_;
};

VerifyRow skipped_row(const VerifyCase& verify_case, const Layout& layout, const std::string& reason) {
    VerifyRow row;
    row.case_name = verify_case.name;
    row.dispatcher = verify_case.train.dispatcher;
    row.ranks = layout.ranks();
    row.ep = layout.ep();
    row.dp = layout.dp();
    row.reference = "one_rank";
    row.quantity = "all";
    row.skipped = reason;
    row.passed = true;
    return row;
}

std::vector<VerifyCase> cases_of(const VerifyOptions& options) {
    std::vector<VerifyCase> cases;
    for (const std::string& dispatcher : options.dispatchers)
        for (VerifyCase& verify_case : verify_cases()) {
            verify_case.train.dtype = options.dtype;
            verify_case.train.dispatcher = dispatcher;
            cases.push_back(std::move(verify_case));
        }
    return cases;
}

}  // namespace

VerifyReport verify_training(Device& device, const VerifyOptions& options, const Communicator& world,
                             const std::function<void(const std::string&)>& progress) {
    VerifyReport report;
    for (const VerifyCase& verify_case : cases_of(options)) {
        for (int ep = 1; ep <= world.size(); ++ep) {
            if (world.size() % ep != 0) continue;
            const Layout layout(world.size(), ep);
            if (world.rank() == 0)
                progress(concat(verify_case.name, ", ", verify_case.train.dispatcher, ", ", layout.describe()));
            if (const std::string reason = verify_case.cannot_express(layout); !reason.empty())
                report.rows.push_back(skipped_row(verify_case, layout, reason));
            else
                CaseRun(verify_case, layout, device, world).run(report);
        }
    }
    std::array<int, 1> failed{world.rank() == 0 && !report.passed()};
    world.sum(std::span<int>(failed), {"verdict"});
    if (world.rank() != 0) {
        VerifyRow verdict;
        verdict.passed = failed[0] == 0;
        report.rows = {verdict};
    }
    return report;
}

}  // namespace expar
