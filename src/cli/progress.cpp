#include "progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numbers>

#include "expar/base/error.hpp"

namespace expar::cli {
namespace {

std::string line_of(const StepReport& report, int steps) {
    char text[256];
    std::snprintf(text, sizeof text,
                  "step %*d/%d  loss %.4f  bits/byte %.4f  %s tokens/s  dispatch+combine %.0f %%  load max/mean %.2f"
                  "  dropped %lld",
                  int(std::to_string(steps).size()), report.step, steps, report.loss, bits_of(report.loss),
                  with_commas(std::int64_t(double(report.tokens) / report.seconds)).c_str(),
                  100 * report.communication_share, report.load_max_over_mean, static_cast<long long>(report.dropped));
    return text;
}

}  // namespace

double bits_of(double nats) {
    return nats / std::numbers::ln2;
}

std::string with_commas(std::int64_t number) {
    std::string digits = std::to_string(number);
    for (int at = int(digits.size()) - 3; at > (number < 0 ? 1 : 0); at -= 3) digits.insert(std::size_t(at), 1, ',');
    return digits;
}

MetricsFile::MetricsFile(const std::filesystem::path& path) : path_(path), out_(path) {
    if (!out_) throw UserError(concat(path_.string(), ": cannot be written"));
}

void MetricsFile::write(const StepReport& report) {
    nlohmann::ordered_json line;
    line["step"] = report.step;
    line["loss"] = report.loss;
    line["bits_per_byte"] = bits_of(report.loss);
    line["balance_loss"] = report.balance_loss;
    line["z_loss"] = report.z_loss;
    line["objective"] = report.objective;
    line["learning_rate"] = report.learning_rate;
    line["gradient_norm"] = report.norm.total();
    line["gradient_norm_dense"] = report.norm.dense;
    line["gradient_norm_router"] = report.norm.router;
    line["gradient_norm_experts"] = report.norm.experts;
    line["clip_factor"] = report.clip_factor;
    line["tokens"] = report.tokens;
    line["tokens_per_second"] = double(report.tokens) / report.seconds;
    line["communication_share"] = report.communication_share;
    line["load_max_over_mean"] = report.load_max_over_mean;
    line["dropped"] = report.dropped;
    line["choices"] = report.choices;
    line["seconds"] = report.seconds;
    out_ << line.dump() << std::endl;
    if (!out_) throw UserError(concat(path_.string(), ": writing failed"));
}

bool output_is_terminal() {
    if (!isatty(STDOUT_FILENO)) return false;
    // mpirun gives each rank a terminal of its own, without a size, and relays it: then its output is what counts.
    winsize size{};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return true;
    std::error_code unknown;
    const auto output = std::filesystem::read_symlink(concat("/proc/", getppid(), "/fd/1"), unknown);
    return !unknown && output.string().starts_with("/dev/pts/");
}

Progress::Progress(int steps, int log_every)
    : steps_(steps), log_every_(std::max(1, log_every)), live_(output_is_terminal()) {}

void Progress::show(const StepReport& report) {
    if (live_) {
        // A narrow terminal cuts the line off: broken into two, it could not be written over.
        std::cout << "\r\x1b[?7l" << line_of(report, steps_) << "\x1b[K\x1b[?7h" << std::flush;
        line_open_ = true;
    } else if (report.step == 1 || report.step % log_every_ == 0 || report.step == steps_)
        std::cout << line_of(report, steps_) << std::endl;
}

void Progress::finish() {
    if (line_open_) std::cout << std::endl;
    line_open_ = false;
}

}  // namespace expar::cli
