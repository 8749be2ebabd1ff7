#pragma once

#include <chrono>
#include <string>

#include "expar/train/trainer.hpp"

namespace expar::cli {

[[nodiscard]] double bits_of(double nats);
/// "1,234,567"
[[nodiscard]] std::string with_commas(std::int64_t number);

/// How long what is left will take, from how long the last steps took: each counts 2 %, and while there are few, all
/// the same.
class TimeLeft {
public:
    void add(double step_seconds);
    [[nodiscard]] double seconds(int steps_left) const { return steps_left * mean_; }

private:
    int count_ = 0;
    double mean_ = 0;
};

/// "1:02:05", "2:05": hours where there are any, minutes, seconds.
[[nodiscard]] std::string clock_text(double seconds);
/// "[=====>    ]", `width` characters between the brackets.
[[nodiscard]] std::string bar_text(double share, int width);

/// What the user watches: one plain line every few steps in a log; on a terminal one live line with a bar. Lives on
/// rank 0.
class Progress {
public:
    Progress(int steps, int log_every);
    ~Progress() { finish(); }  ///< so that an error begins a line of its own
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    void show(const StepReport& report);
    void finish();

private:
    int steps_;
    int log_every_;
    bool live_;
    bool first_ = true;
    bool line_open_ = false;
    TimeLeft left_;
    std::chrono::steady_clock::time_point before_;  ///< when the last step ended
    std::chrono::steady_clock::time_point drawn_;   ///< when the live line was
};

/// Whether a person is watching standard output, also when a launcher stands between.
[[nodiscard]] bool output_is_terminal();

}  // namespace expar::cli
