#include "expar/verify/golden_check.hpp"

#include <algorithm>
#include <map>
#include <memory>

#include "expar/moe/moe_layer.hpp"

namespace expar {
namespace {

MoeOptions options_of(const GoldenBlock& golden) {
    MoeOptions options;
    options.hidden = golden.hidden;
    options.intermediate = golden.intermediate;
    options.experts = golden.experts;
    options.top_k = golden.top_k;
    options.activation = activation_named(golden.activation);
    options.convention = router_convention(golden.router);
    options.shared = golden.shared == "none"  ? SharedExpert::none
                     : golden.shared == "sum" ? SharedExpert::sum
                                              : SharedExpert::gated;
    options.shared_intermediate = golden.shared_intermediate;
    return options;
}

// "layers.0.experts.3.up.weight" is "experts.3.up.weight" in the file.
std::string name_in_file(const std::string& name) {
    return name.substr(std::string("layers.0.").size());
}

void fill(const GoldenTensor& from, int first_row, Rows out) {
    with_real(out.dtype(), [&](auto zero) {
        using T = decltype(zero);
        for (int r = 0; r < out.rows(); ++r)
            for (int c = 0; c < out.cols(); ++c)
                out.row<T>(r)[c] = T(from.values[std::size_t(first_row + r) * from.cols + c]);
    });
}

class GoldenRun {
public:
    GoldenRun(const GoldenBlock& golden, const std::string& name, DType dtype, Device& device,
              const Communicator& world)
        : golden_(golden),
          name_(name),
          dtype_(dtype),
          device_(device),
          world_(world),
          options_(options_of(golden)),
          placement_(linear_placement(1, golden.experts, world.size())),
          dispatcher_(make_packed_dispatcher("native", world, device)),
          first_(int(std::int64_t(golden.tokens) * world.rank() / world.size())),
          tokens_(int(std::int64_t(golden.tokens) * (world.rank() + 1) / world.size()) - first_) {
        std::vector<ParameterBlock*> held;
        for (const BlockSpec& spec : moe_blocks(options_, 0)) {
            const auto here = placement_.experts_on(0, world.rank());
            if (spec.role == Role::expert && std::ranges::count(here, spec.expert) == 0) continue;
            blocks_.push_back(std::make_unique<ParameterBlock>(device, dtype, spec));
            held.push_back(blocks_.back().get());
            for (int i = 0; i < int(spec.tensors.size()); ++i)
                fill(golden.tensor(name_in_file(spec.tensors[i].name)), 0, held.back()->change(i));
        }
        const MoeRuntime runtime{&device, dispatcher_.get(), &world, &placement_, world.rank()};
        layer_ = std::make_unique<MoeLayer>(options_, 0, runtime, held);
    }

    VerifyReport run() {
        const Matrix x = slice_of("input");
        auto [y, state] = layer_->forward(x, {}, false);
        add("output", whole(y, golden_.hidden), golden_.tensor("output").values);
        add("weights", whole(state.routing.weights, golden_.top_k), golden_.tensor("weights").values);
        compare_choices(state.routing);
        const RouterStatistics statistics = sum_over_ranks({state.statistics}, world_)[0];
        add("balance_loss", {balance_loss(statistics, golden_.top_k)}, {golden_.balance_loss});

        const Matrix d_x = layer_->backward(x, state, slice_of("d_output"), {});
        add("input_gradient", whole(d_x, golden_.hidden), golden_.tensor("d_input").values);
        for (const std::string& weight : golden_.weight_names())
            add("gradient of " + weight, gradient_of(weight), golden_.tensor("d_" + weight).values);

        // The balance loss alone: nothing comes from above.
        for (const auto& block : blocks_)
            device_.fill_zero(block->flat_gradient().data(), block->flat_gradient().bytes(), device_.stream());
        Matrix nothing(device_, dtype_, tokens_, golden_.hidden);
        nothing.zero(device_.stream());
        const auto share = balance_gradient(statistics, golden_.top_k, 1, golden_.tokens);
        MoeState again = layer_->forward(x, {}, false).state;  // the first was consumed
        const Matrix d_balance = layer_->backward(x, again, nothing, {share, 0});
        add("balance input_gradient", whole(d_balance, golden_.hidden), golden_.tensor("d_balance_input").values);
        add("balance gradient of router.weight", gradient_of("router.weight"),
            golden_.tensor("d_balance_router.weight").values);
        return std::move(report_);
    }

private:
    Matrix slice_of(const std::string& tensor) const {
        Matrix rows(device_, dtype_, tokens_, golden_.hidden);
        fill(golden_.tensor(tensor), first_, rows);
        return rows;
    }

    // Every rank's rows in their place, on all ranks.
    std::vector<double> whole(ConstRows mine, int cols) const {
        std::vector<double> all(std::size_t(golden_.tokens) * cols);
        put(mine, std::size_t(first_) * cols, all);
        world_.sum(std::span<double>(all), {"golden"});
        return all;
    }

    // Summed over the ranks that hold the weight: for an expert there is one.
    std::vector<double> gradient_of(const std::string& weight) const {
        std::vector<double> all(golden_.tensor(weight).values.size());
        for (const auto& block : blocks_)
            for (int i = 0; i < int(block->spec().tensors.size()); ++i)
                if (name_in_file(block->spec().tensors[i].name) == weight) put(block->gradient(i), 0, all);
        world_.sum(std::span<double>(all), {"golden"});
        return all;
    }

    static void put(ConstRows rows, std::size_t first, std::vector<double>& all) {
        with_real(rows.dtype(), [&](auto zero) {
            for (int r = 0; r < rows.rows(); ++r)
                std::ranges::copy(rows.row<decltype(zero)>(r), all.begin() + first + std::size_t(r) * rows.cols());
        });
    }

    void compare_choices(const Routing& routing) {
        std::vector<double> choices(golden_.choices.size());
        std::ranges::copy(routing.experts.host(), choices.begin() + std::size_t(first_) * golden_.top_k);
        world_.sum(std::span<double>(choices), {"golden"});
        add("choices", choices, {golden_.choices.begin(), golden_.choices.end()}, 0);
    }

    // A few dozen float32 terms per sum and four products in a row; float64 has 29 bits more.
    double tolerance() const { return dtype_ == DType::float64 ? 1e-12 : 1e-5; }
    void add(const std::string& quantity, const std::vector<double>& tested, const std::vector<double>& expected) {
        add(quantity, tested, expected, tolerance());
    }
    void add(const std::string& quantity, const std::vector<double>& tested, const std::vector<double>& expected,
             double tolerance) {
        VerifyRow row;
        row.case_name = name_ + (dtype_ == DType::float64 ? " float64" : " float32");
        row.ranks = row.ep = world_.size();
        row.reference = "transformers";
        row.quantity = quantity;
        row.tolerance = tolerance;
        compare(std::span(tested.data(), tested.size()), std::span(expected.data(), expected.size()), row);
        report_.rows.push_back(row);
    }

    const GoldenBlock& golden_;
    std::string name_;
    DType dtype_;
    Device& device_;
    const Communicator& world_;
    MoeOptions options_;
    Placement placement_;
    std::unique_ptr<Dispatcher> dispatcher_;
    int first_;
    int tokens_;
    std::vector<std::unique_ptr<ParameterBlock>> blocks_;
    std::unique_ptr<MoeLayer> layer_;
    VerifyReport report_;
};

}  // namespace

VerifyReport verify_golden(const GoldenBlock& golden, const std::string& name, DType dtype, Device& device,
                           const Communicator& world) {
    return GoldenRun(golden, name, dtype, device, world).run();
}

}  // namespace expar
