#include "prometheus_file.hpp"

#include <fstream>

#include "expar/base/error.hpp"
#include "expar/store/partial_file.hpp"

namespace expar::cli {
namespace {

constexpr std::chrono::seconds shortest_pause{1};

// "# HELP", "# TYPE", then a line for each value.
class Text {
public:
    void begin(std::string_view name, std::string_view type, std::string_view help) {
        name_ = name;
        text_ += concat("# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
    }
    void value(std::string_view labels, double number) {
        std::ostringstream out;
        out.precision(15);
        out << name_ << labels << ' ' << number << '\n';
        text_ += out.str();
    }
    void gauge(std::string_view name, std::string_view help, double number) {
        begin(name, "gauge", help);
        value("", number);
    }
    [[nodiscard]] std::string take() { return std::move(text_); }

private:
    std::string name_, text_;
};

}  // namespace

std::string prometheus_text(const StepReport& report, std::int64_t total_tokens, const std::vector<int>& layers) {
    Text text;
    text.begin("expar_steps_total", "counter", "Training steps done.");
    text.value("", report.step);
    text.begin("expar_tokens_total", "counter", "Tokens trained on.");
    text.value("", double(total_tokens));
    text.gauge("expar_loss_nats", "Mean cross entropy of the last step.", report.loss);
    text.gauge("expar_balance_loss", "1 when the experts are evenly loaded.", report.balance_loss);
    text.gauge("expar_z_loss", "Mean squared log-sum-exp of the router.", report.z_loss);
    text.gauge("expar_learning_rate", "Learning rate of the last step.", report.learning_rate);
    text.gauge("expar_gradient_norm", "Norm of the gradient before clipping.", report.norm.total());
    text.gauge("expar_tokens_per_second", "Of all ranks, in the last step.", double(report.tokens) / report.seconds);
    text.gauge("expar_step_seconds", "Time of the last step.", report.seconds);
    text.gauge("expar_communication_share", "Share of dispatch and combine in the last step.",
               report.communication_share);
    text.gauge("expar_router_entropy_nats", "Mean entropy of the router's softmax.", report.router_entropy);
    text.gauge("expar_load_max_over_mean", "Choices of the busiest expert over the mean.", report.load_max_over_mean);
    text.gauge("expar_rank_load_max_over_mean", "Rows of the busiest rank over the mean.",
               report.rank_load_max_over_mean);
    text.gauge("expar_dropped_choices", "Choices without a place in the last step.", double(report.dropped));
    text.begin("expar_phase_seconds", "gauge", "Time in a phase of the last step, of the slowest rank.");
    for (int i = 0; i < phase_count; ++i)
        if (report.phase_seconds[std::size_t(i)] > 0)
            text.value(concat("{phase=\"", name_of(Phase(i)), "\"}"), report.phase_seconds[std::size_t(i)]);
    text.begin("expar_expert_choices", "gauge", "Choices of an expert in the last step.");
    for (std::size_t i = 0; i < report.routers.size(); ++i)
        for (std::size_t e = 0; e < report.routers[i].choices.size(); ++e)
            text.value(concat("{layer=\"", layers.at(i), "\",expert=\"", e, "\"}"),
                       double(report.routers[i].choices[e]));
    return text.take();
}

PrometheusFile::PrometheusFile(std::filesystem::path path, const ModelOptions& model) : path_(std::move(path)) {
    expect_writable(path_);
    for (int layer = 0; layer < model.layers; ++layer)
        if (model.is_moe(layer)) layers_.push_back(layer);
}

void PrometheusFile::show(const StepReport& report, std::int64_t total_tokens) {
    text_ = prometheus_text(report, total_tokens, layers_);
    if (!written_ || std::chrono::steady_clock::now() - *written_ >= shortest_pause) write();
}

void PrometheusFile::write() {
    replace_file(path_, text_, Durable::no);  // the next one comes in a second
    text_.clear();
    written_ = std::chrono::steady_clock::now();
}

void PrometheusFile::finish() {
    if (!text_.empty()) write();
}

}  // namespace expar::cli
