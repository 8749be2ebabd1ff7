#include "layer_stack.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "expar/base/random.hpp"
#include "link_bytes.hpp"

namespace expar {
namespace {

template <class T>
T element(float value) {
    if constexpr (std::is_same_v<T, bfloat16>)
        return to_bfloat16(value);
    else
        return T(value);
}

// Descend from far above the others, which are 0, and are exact in bfloat16.
float logit_of(int choice) {
    return 8 - 0.25F * float(choice);
}

void fill_randomly(Rows rows, std::uint64_t seed, std::int64_t first_row, std::uint32_t stream) {
    const RandomField field(seed, Purpose::test, stream);
    with_element(rows.dtype(), [&](auto zero) {
        using T = decltype(zero);
        for (int r = 0; r < rows.rows(); ++r) {
            const auto row = rows.row<T>(r);
            for (std::size_t c = 0; c < row.size(); ++c)
                row[c] = element<T>((float(field.below(17, (std::uint64_t(first_row + r) << 20) + c)) - 8) / 16);
        }
    });
}

// The first columns are the logits that a router of unit rows reads.
void write_choices(Rows x, const RankRouting& routing, int experts) {
    with_element(x.dtype(), [&](auto zero) {
        using T = decltype(zero);
        for (int t = 0; t < x.rows(); ++t) {
            const auto row = x.row<T>(t);
            std::fill_n(row.begin(), experts, element<T>(0));
            const auto chosen = routing.experts_of(t);
            for (std::size_t j = 0; j < chosen.size(); ++j) row[std::size_t(chosen[j])] = element<T>(logit_of(int(j)));
        }
    });
}

void choose_by_first_columns(ParameterBlock& router) {
    const Rows weight = router.change(0);
    for (int e = 0; e < weight.rows(); ++e) {
        const auto row = weight.row<float>(e);
        std::ranges::fill(row, 0.0F);
        row[std::size_t(e)] = 1;
    }
}

// How far an element may be from what one rank has: sums of k terms in another order, rounded once for each.
double tolerance(ConstRows wanted, int top_k) {
    double largest = 0;
    with_element(wanted.dtype(), [&](auto zero) {
        for (int r = 0; r < wanted.rows(); ++r)
            for (const auto value : wanted.row<decltype(zero)>(r)) largest = std::max(largest, std::abs(double(value)));
    });
    const double rounding = wanted.dtype() == DType::bfloat16 ? 1.0 / 256 : std::numeric_limits<float>::epsilon();
    return 4 * top_k * rounding * largest;
}

int rows_that_differ(ConstRows found, ConstRows wanted, double allowed) {
    if (found.rows() != wanted.rows()) return std::max(found.rows(), wanted.rows());
    int wrong = 0;
    with_element(wanted.dtype(), [&](auto zero) {
        using T = decltype(zero);
        for (int r = 0; r < wanted.rows(); ++r) {
            const auto a = found.row<T>(r), b = wanted.row<T>(r);
            const bool same =
                allowed > 0
                    ? std::ranges::equal(
                          a, b, [&](T left, T right) { return std::abs(double(left) - double(right)) <= allowed; })
                    : std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
            wrong += !same;
        }
    });
    return wrong;
}

}  // namespace

MoeOptions LayerSetting::moe(const std::string& order) const {
    MoeOptions moe;
    moe.hidden = first().cell.hidden;
    moe.intermediate = options.intermediate;
    moe.experts = first().cell.experts;
    moe.top_k = first().cell.top_k;
    moe.order = combine_order(order);
    return moe;
}

LayerBlocks::LayerBlocks(const LayerSetting& setting, const Placement& placement, int member) {
    for (int layer = 0; layer < placement.layers(); ++layer) {
        auto& held = blocks_.emplace_back();
        const auto here = placement.experts_on(layer, member);
        for (const BlockSpec& spec : moe_blocks(setting.moe("exact"), layer)) {
            if (spec.role == Role::expert && std::ranges::find(here, spec.expert) == here.end()) continue;
            ParameterBlock& block =
                *held.emplace_back(std::make_unique<ParameterBlock>(setting.device, DType::float32, spec));
            block.initialize(setting.options.dispatch.seed);
            if (spec.role == Role::router) choose_by_first_columns(block);
        }
    }
}

std::vector<ParameterBlock*> LayerBlocks::of(int layer) const {
    std::vector<ParameterBlock*> held;
    for (const auto& block : blocks_[std::size_t(layer)]) held.push_back(block.get());
    return held;
}

void LayerBlocks::clear_gradients() {
    for (auto& layer : blocks_)
        for (auto& block : layer) block->clear_gradient();
}

LayerRows::LayerRows(const LayerSetting& setting) {
    const Communicator self = setting.world.split(setting.world.rank());
    const auto dispatcher = make_dispatcher("packed", "native", self, setting.device);
    const CellContext& first = setting.first();
    const Placement alone = linear_placement(setting.options.layers, first.cell.experts, 1);
    const MoeRuntime runtime{&setting.device, dispatcher.get(), &self, &alone};
    const MoeOptions moe = setting.moe("exact");
    LayerBlocks blocks(setting, alone, 0);
    for (int layer = 0; layer < setting.options.layers; ++layer) {
        const CellContext& context = setting.contexts[std::size_t(layer)];
        Matrix& in = x.emplace_back(setting.device, first.dtype, context.numbers.tokens, first.cell.hidden);
        Matrix& back = d_y.emplace_back(setting.device, first.dtype, context.numbers.tokens, first.cell.hidden);
        const std::uint64_t seed = setting.options.dispatch.seed;
        fill_randomly(in, seed, context.first_token, std::uint32_t(2 * layer));
        fill_randomly(back, seed, context.first_token, std::uint32_t(2 * layer + 1));
        write_choices(in, context.mine(), first.cell.experts);
        const MoeLayer one(moe, layer, runtime, blocks.of(layer));
        auto [out, state] = one.forward(in, {.first_token = context.first_token}, true);
        d_x.push_back(one.backward(in, state, back, {}));
        y.push_back(std::move(out));
    }
}

LayerStack::LayerStack(const LayerSetting& setting, const LayerRows& rows, LayerBlocks& blocks, Kind kind)
    : setting_(setting),
      rows_(rows),
      blocks_(blocks),
      kind_(std::move(kind)),
      placement_(linear_placement(setting.options.layers, setting.first().cell.experts, setting.world.size())),
      dispatcher_(setting.options.dispatch.make_dispatcher(kind_.dispatcher, setting.options.dispatch.exchange,
                                                           setting.world, setting.device)) {
    MoeRuntime runtime{&setting_.device, dispatcher_.get(), &setting_.world, &placement_, setting_.world.rank()};
    runtime.clock = &clock_;
    runtime.chunks = kind_.chunks;
    for (int layer = 0; layer < setting_.options.layers; ++layer)
        layers_.emplace_back(setting_.moe(kind_.order), layer, runtime, blocks.of(layer));
}

RegionCounts LayerStack::counted() const {
    const NodeLink& link = setting_.options.dispatch.link;
    if (!link.interface.empty()) setting_.world.barrier({"benchmark"});  // what others have sent is counted
    return counts_of(*dispatcher_, setting_.options.dispatch, setting_.world.rank());
}

void LayerStack::run_forward() {
    for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
        const TokenScope scope{.first_token = setting_.contexts[layer].first_token};
        forward_.push_back(layers_[layer].forward(rows_.x[layer], scope, true));
    }
    setting_.device.synchronize();
}

void LayerStack::run_backward() {
    for (std::size_t layer = layers_.size(); layer-- > 0;)
        d_x_[layer] = layers_[layer].backward(rows_.x[layer], forward_[layer].state, rows_.d_y[layer], {});
    setting_.device.synchronize();
}

void LayerStack::release() {
    forward_.clear();
    d_x_.clear();
}

LayerSeconds LayerStack::iterate() {
    const LayerSeconds mine = run();
    release();
    const std::vector<double> all = setting_.world.all_gather(mine, {"benchmark"});
    LayerSeconds slowest{};
    for (std::size_t way = 0; way < 2; ++way) {
        const std::size_t from = way * layer_phase_count, total = from + std::size_t(LayerPhase::total);
        std::size_t of = 0;
        for (std::size_t rank = 1; rank < std::size_t(setting_.world.size()); ++rank)
            if (all[rank * mine.size() + total] > all[of * mine.size() + total]) of = rank;
        std::copy_n(all.begin() + std::ptrdiff_t(of * mine.size() + from), layer_phase_count,
                    slowest.begin() + std::ptrdiff_t(from));
    }
    return slowest;
}

LayerSeconds LayerStack::run() {
    blocks_.clear_gradients();
    d_x_.resize(layers_.size());
    LayerSeconds mine{};
    const auto direction = [&](int way, const auto& run) {
        const auto phase = [&](LayerPhase p) -> double& { return mine[std::size_t(way * layer_phase_count + int(p))]; };
        const RegionCounts before = counted();
        const double counts_before = dispatcher_->counters().counts_seconds;
        static_cast<void>(clock_.take());
        phase(LayerPhase::total) = seconds_together(setting_.world, run);
        const PhaseSeconds seconds = clock_.take();
        const auto sum = [&](std::initializer_list<Phase> phases) {
            double all = 0;
            for (const Phase p : phases) all += seconds[std::size_t(p)];
            return all;
        };
        phase(LayerPhase::plan) = sum({Phase::plan});
        phase(LayerPhase::counts) = dispatcher_->counters().counts_seconds - counts_before;
        phase(LayerPhase::dispatch) = sum({Phase::dispatch, Phase::dispatch_backward});
        phase(LayerPhase::compute) =
            sum({Phase::router, Phase::experts, Phase::router_backward, Phase::experts_backward});
        phase(LayerPhase::combine) = sum({Phase::combine, Phase::combine_backward});
        counts_[std::size_t(way)] = counted().since(before);
    };
    direction(0, [this] { run_forward(); });
    direction(1, [this] { run_backward(); });
    return mine;
}

void LayerStack::check() {
    static_cast<void>(run());
    std::array<std::int64_t, 2> wrong{};
    for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
        const auto differ = [&](ConstRows found, ConstRows wanted) {
            const int top_k = setting_.first().cell.top_k;
            return rows_that_differ(found, wanted, kind_.order == "exact" ? 0 : tolerance(wanted, top_k));
        };
        wrong[0] += differ(forward_[layer].y, rows_.y[layer]);
        wrong[1] += differ(d_x_[layer], rows_.d_x[layer]);
    }
    release();
    setting_.world.sum(wrong, {"benchmark"});
    for (std::size_t way = 0; way < 2; ++way) wrong_[way] = std::max(wrong_[way], wrong[way]);
}

}  // namespace expar
