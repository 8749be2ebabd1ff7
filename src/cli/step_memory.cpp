#include "step_memory.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace expar::cli {
namespace {

constexpr double wide_bytes = 4;  // an element of scores, statistics and indices

// Rows at the experts of the busiest rank over the mean: in the layer where it has most, and in each of the others.
struct BusiestRank {
    double worst = 1, others = 1;
};

// The expected largest of so many normal numbers, within 0.1 up to 256 of them.
double largest_of_normal(double count) {
    return std::max(0.0, std::sqrt(2 * std::log(count)) - 0.6);
}

// Of a router that has learned nothing yet: tokens choose much alike, as if few of them drew top_k experts and the
// others followed. A rank's share of these draws has a hypergeometric variance, layers and ranks are as good as
// independent. Three draws are what the loads of the first steps show on 2 to 8 ranks with a top_k of 1 to 4.
BusiestRank busiest_rank(const ModelOptions& model, int members) {
    constexpr double draws = 3;
    double layers = 0;
    for (int l = 0; l < model.layers; ++l) layers += model.is_moe(l);
    if (members == 1 || layers == 0) return {};
    const double unchosen = double(model.experts - model.top_k) / std::max(1, model.experts - 1);
    const double spread = std::sqrt((members - 1.0) / model.top_k * unchosen / draws);
    const double worst = std::min(1 + spread * largest_of_normal(members * layers), double(members));
    const double mean = 1 + spread * largest_of_normal(members) / std::sqrt(layers);
    return {worst, layers > 1 ? std::min(worst, (layers * mean - worst) / (layers - 1)) : worst};
}

// Memory of a pool until this object is gone.
class Lease {
public:
    Lease(PoolModel& pool, double row_bytes) : pool_(&pool), row_bytes_(row_bytes) {}
    Lease(Lease&& other) noexcept
        : pool_(other.pool_), row_bytes_(other.row_bytes_), blocks_(std::exchange(other.blocks_, {})) {}
    Lease& operator=(Lease&& other) noexcept {
        end();
        blocks_ = std::exchange(other.blocks_, {});
        return *this;
    }
    ~Lease() { end(); }

    Lease& rows(double elements) { return take(row_bytes_ * elements); }
    Lease& wide(double elements) { return take(wide_bytes * elements); }
    void end() {
        for (const std::size_t block : blocks_) pool_->give(block);
        blocks_.clear();
    }

private:
    Lease& take(double bytes) {
        if (bytes > 0) blocks_.push_back(pool_->take(bytes));
        return *this;
    }
    PoolModel* pool_;
    double row_bytes_;
    std::vector<std::size_t> blocks_;
};

// What a layer's backward needs, as far as it is kept.
struct Layer {
    Lease x, rest, moe;
};

class Step {
public:
    explicit Step(const StepShape& shape) : shape_(shape), t_(shape.tokens) {
        const ModelOptions& model = shape.model;
        h_ = model.hidden;
        q_ = double(model.heads) * model.head_size;
        k_ = double(model.kv_heads) * model.head_size;
        busiest_ = busiest_rank(model, shape.members);
        for (int l = 0; l < model.layers; ++l)
            if (model.is_moe(l)) worst_ = l;  // the last, where most is kept beside it
        // A token's choices are distinct experts: the chance that none of them is at a given other member.
        const double elsewhere = 1 - 1.0 / shape.members;
        sent_ = t_ * (shape.members - 1) * (1 - std::pow(elsewhere, model.top_k));
        returned_of_served_ = elsewhere;
    }

    double peak_bytes() {
        std::vector<Layer> layers;
        Lease x = lease();
        x.rows(t_ * h_);
        for (int l = 0; l < shape_.model.layers; ++l) {
            Layer& layer = layers.emplace_back(Layer{std::move(x), lease(), lease()});
            x = forward(l, layer);
            if (shape_.recompute) forget(layer);
        }
        Lease d = head();
        x.end();
        for (int l = shape_.model.layers; l-- > 0;) {
            if (shape_.recompute) forward(l, layers[std::size_t(l)]);
            feed_forward_backward(l);
            layers[std::size_t(l)].moe.end();
            d = attention_backward();
            layers.pop_back();
        }
        return pool_.peak_bytes();
    }

private:
    static void forget(Layer& layer) {
        layer.rest.end();
        layer.moe.end();
    }
    [[nodiscard]] Lease lease() { return {pool_, shape_.row_bytes}; }
    // SwiGLU has a gate beside its value.
    [[nodiscard]] int tensors() const { return shape_.model.activation == "swiglu" ? 2 : 1; }

    void enter(int l) {
        served_ = t_ * shape_.model.top_k * (l == worst_ ? busiest_.worst : busiest_.others);
        returned_ = served_ * returned_of_served_;
    }

    Lease forward(int l, Layer& layer) {
        const ModelOptions& model = shape_.model;
        enter(l);
        layer.rest.rows(t_ * h_).rows(t_ * h_).wide(t_).rows(t_ * (q_ + 2 * k_));
        if (model.qk_norm != "none") layer.rest.rows(t_ * (q_ + k_)).wide(t_ * model.heads).wide(t_ * model.kv_heads);
        layer.rest.rows(t_ * q_).wide(t_ * model.heads);
        layer.rest.rows(t_ * h_).wide(t_);
        if (model.is_moe(l)) return moe_forward(layer);
        Lease y = lease(), activated = lease();
        y.rows(t_ * h_);
        layer.moe.rows(t_ * model.dense_intermediate * tensors());
        activated.rows(t_ * model.dense_intermediate);
        return y;
    }

    Lease moe_forward(Layer& layer) {
        const ModelOptions& model = shape_.model;
        const double experts = model.experts, choices = t_ * model.top_k;
        layer.moe.wide(t_ * experts).wide(choices).wide(t_ * experts).wide(t_).wide(choices);
        layer.moe.wide(sent_).wide(served_).wide(served_).wide(returned_).wide(choices);
        Lease travelling = lease();
        travelling.rows(sent_ * h_).rows(sent_ * h_);
        if (model.shared_intermediate > 0) {
            layer.moe.rows(t_ * h_).rows(t_ * model.shared_intermediate * tensors());
            lease().rows(t_ * model.shared_intermediate);
        }
        layer.moe.rows(served_ * h_);
        travelling.end();
        layer.moe.rows(served_ * h_).rows(served_ * model.intermediate * tensors());
        lease().rows(served_ * model.intermediate);
        home(travelling);
        Lease y = lease();
        y.rows(t_ * h_);
        return y;
    }

    // Rows on their way back, and where they arrive.
    void home(Lease& travelling) const {
        if (!shape_.reduced) {
            travelling.rows(returned_ * h_).rows(returned_ * h_);
            return;
        }
        const double own = t_ * (1 - std::pow(1 - 1.0 / shape_.members, shape_.model.top_k));
        travelling.rows((own + sent_) * h_).rows(sent_ * h_);
    }

    // Logits and loss, and the gradient of the last layer's output.
    Lease head() {
        const double logits = t_ * shape_.model.vocabulary;
        Lease state = lease();
        state.rows(t_ * h_).wide(t_).wide(logits).wide(t_);
        lease().wide(t_);
        if (shape_.row_bytes < wide_bytes) state.rows(logits);
        Lease d_normed = lease(), d = lease();
        d_normed.rows(t_ * h_);
        d.rows(t_ * h_);
        return d;
    }

    void feed_forward_backward(int l) {
        const ModelOptions& model = shape_.model;
        enter(l);
        Lease d_x = lease();
        if (!model.is_moe(l)) {
            d_x.rows(t_ * h_);
            lease().rows(t_ * model.dense_intermediate);
            return;
        }
        Lease travelling = lease(), d_outputs = lease(), d_rows = lease();
        travelling.rows(sent_ * h_).rows(sent_ * h_);
        if (model.shared_intermediate > 0) {
            d_x.rows(t_ * h_);
            lease().rows(t_ * model.shared_intermediate);
        }
        d_outputs.rows(served_ * h_).wide(served_);
        travelling.end();
        d_rows.rows(served_ * h_);
        lease().rows(served_ * model.intermediate);
        home(travelling);
        d_x.rows(t_ * h_).wide(t_ * model.top_k);
        travelling.end();
        lease().wide(t_ * model.experts);
    }

    Lease attention_backward() {
        Lease d_x = lease(), inside = lease();
        d_x.rows(t_ * h_);
        inside.rows(t_ * q_).rows(t_ * (q_ + 2 * k_));
        if (shape_.model.qk_norm != "none") inside.rows(t_ * (q_ + k_));
        inside.rows(t_ * h_);
        return d_x;
    }

    StepShape shape_;
    double t_, h_, q_, k_;
    BusiestRank busiest_;
    int worst_ = -1;             // layer
    double sent_;                // rows to other ranks, and from them
    double returned_of_served_;  // what part of them goes back to other ranks
    double served_ = 0;          // rows at the experts of this rank, of the layer entered
    double returned_ = 0;        // rows back to other ranks, and from them
    PoolModel pool_;
};

}  // namespace

std::size_t PoolModel::take(double bytes) {
    const std::size_t wanted = size_class_of(std::size_t(std::min(bytes, 0x1p60))).index;  // more than any machine has
    const PoolChoice choice = choose_block(wanted, [this](std::size_t index) { return !free_[index].empty(); });
    if (choice.drop != PoolChoice::none) {
        bytes_ -= blocks_[free_[choice.drop].back()].touched;
        free_[choice.drop].pop_back();
    }
    std::size_t block = blocks_.size();
    if (choice.take == PoolChoice::none) {
        blocks_.push_back({wanted, 0});
    } else {
        block = free_[choice.take].back();
        free_[choice.take].pop_back();
    }
    bytes_ += std::max(0.0, bytes - blocks_[block].touched);
    blocks_[block].touched = std::max(blocks_[block].touched, bytes);
    most_bytes_ = std::max(most_bytes_, bytes_);
    return block;
}

void PoolModel::give(std::size_t block) {
    free_[blocks_[block].index].push_back(block);
}

double peak_bytes_of_step(const StepShape& shape) {
    return Step(shape).peak_bytes();
}

}  // namespace expar::cli
