#pragma once

#include <string>

#include "expar/train/trainer.hpp"

namespace expar::cli {

[[nodiscard]] double bits_of(double nats);
/// "1,234,567"
[[nodiscard]] std::string with_commas(std::int64_t number);

/// What the user watches: one plain line every few steps in a log, one live line on a terminal. Lives on rank 0.
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
    bool line_open_ = false;
};

/// Whether a person is watching standard output, also when a launcher stands between.
[[nodiscard]] bool output_is_terminal();

}  // namespace expar::cli
