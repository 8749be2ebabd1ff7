#include "progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <numbers>
#include <utility>

#include "expar/base/error.hpp"
#include "expar/store/partial_file.hpp"

namespace expar::cli {
namespace {

std::int64_t tokens_per_second(const StepReport& report) {
    return std::int64_t(double(report.tokens) / report.seconds);
}

std::string log_line(const StepReport& report, int steps, const std::string& left) {
    char text[256];
    std::snprintf(text, sizeof text,
                  "step %*d/%d  loss %.4f  bits/byte %.4f  %s tokens/s  dispatch+combine %.0f %%  load max/mean %.2f"
                  "  dropped %lld  %s left",
                  int(std::to_string(steps).size()), report.step, steps, report.loss, bits_of(report.loss),
                  with_commas(tokens_per_second(report)).c_str(), 100 * report.communication_share,
                  report.load_max_over_mean, static_cast<long long>(report.dropped), left.c_str());
    return text;
}

// What matters most comes first: a narrow terminal cuts the line off.
std::string live_line(const StepReport& report, int steps, const std::string& left) {
    const double share = steps > 0 ? double(report.step) / steps : 1;
    char text[256];
    std::snprintf(text, sizeof text, "%s %3.0f %%  %s left  step %d/%d  loss %.4f  bits/byte %.4f  %s tokens/s",
                  bar_text(share, 24).c_str(), std::floor(100 * share), left.c_str(), report.step, steps, report.loss,
                  bits_of(report.loss), with_commas(tokens_per_second(report)).c_str());
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

bool output_is_terminal() {
    if (!isatty(STDOUT_FILENO)) return false;
    // mpirun gives each rank a terminal of its own, without a size, and relays it: then its output is what counts.
    winsize size{};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return true;
    std::error_code unknown;
    const auto output = std::filesystem::read_symlink(concat("/proc/", getppid(), "/fd/1"), unknown);
    return !unknown && output.string().starts_with("/dev/pts/");
}

void TimeLeft::add(double step_seconds) {
    ++count_;
    mean_ += (step_seconds - mean_) * std::max(1.0 / count_, 0.02);
}

std::string clock_text(double seconds) {
    const auto whole = std::llround(seconds);
    char text[32];
    if (whole >= 3600)
        std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
    else
        std::snprintf(text, sizeof text, "%lld:%02lld", whole / 60, whole % 60);
    return text;
}

std::string bar_text(double share, int width) {
    const int filled = std::clamp(int(share * width), 0, width);
    std::string bar(std::size_t(filled), '=');
    if (filled < width) bar += '>';
    bar.resize(std::size_t(width), ' ');
    return "[" + bar + "]";
}

Progress::Progress(int steps, int log_every)
    : steps_(steps),
      log_every_(std::max(1, log_every)),
      live_(output_is_terminal()),
      before_(std::chrono::steady_clock::now()) {}

void Progress::show(const StepReport& report) {
    // Time on the wall: what lies between steps, such as a checkpoint, lies between those to come as well.
    const auto now = std::chrono::steady_clock::now();
    left_.add(std::chrono::duration<double>(now - std::exchange(before_, now)).count());
    const std::string left = clock_text(left_.seconds(steps_ - report.step));
    const bool first = std::exchange(first_, false);
    if (live_) {
        if (line_open_ && report.step < steps_ && now < drawn_ + std::chrono::milliseconds(100)) return;
        drawn_ = now;
        // Broken into two, the line could not be written over.
        std::cout << "\r\x1b[?7l" << live_line(report, steps_, left) << "\x1b[K\x1b[?7h" << std::flush;
        line_open_ = true;
    } else if (first || report.step % log_every_ == 0 || report.step == steps_)
        std::cout << log_line(report, steps_, left) << std::endl;
}

void Progress::finish() {
    if (line_open_) std::cout << std::endl;
    line_open_ = false;
}

}  // namespace expar::cli
