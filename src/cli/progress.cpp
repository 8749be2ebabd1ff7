#include "progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>
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
