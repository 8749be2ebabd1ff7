// Runs random cases of dispatch, forward and backward, on the ranks that it is started on, and checks every row of
// each. What follows from --seed, the number of ranks and a case's index, is the same in every run. scripts/pressure.sh
// starts it. The last line of rank 0 is `cases N, wrong N, hung 0`; a wait that lasts too long ends all ranks.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>

#include "expar/base/error.hpp"
#include "pressure_run.hpp"

namespace expar {
namespace {

enum Status { all_right = 0, wrong_rows = 1, hung = 3, threw = 4 };

struct Options {
    std::uint64_t seed = 1;
    int first = 0, cases = 0;
    double seconds = 0;
    double timeout = 30;
    std::string progress_file;
    int flip = -1, stall = -1;
};

// Where each rank is, for whoever finds that nothing moves: a line of fixed length for each.
class Progress {
public:
    Progress(const std::string& path, int rank) : rank_(rank) {
        if (!path.empty()) file_ = ::open(path.c_str(), O_WRONLY | O_CREAT, 0644);
    }
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    ~Progress() {
        if (file_ >= 0) ::close(file_);
    }
    void enter(int index) const {
        std::array<char, 24> line{};
        const int length = std::snprintf(line.data(), line.size(), "%15d\n", index);
        if (file_ >= 0 && ::pwrite(file_, line.data(), std::size_t(length), off_t(rank_) * length) < 0)
            throw Error("pressure: the progress file cannot be written");
    }

private:
    int rank_, file_ = -1;
};

std::string flags_of(const PressureNumber& number) {
    const int first = beginning_of(number);
    return concat("again: scripts/pressure.sh --ranks ", number.ranks, " --seed ", number.seed, " --first ", first,
                  " --cases ", number.index - first + 1, ", or it alone: --first ", number.index, " --cases 1");
}

// Cases in batches; what the ranks found, and whether time is up, they tell each other at the end of each.
class Pressure {
public:
    Pressure(const Options& options, const Communicator& world)
        : options_(options), world_(world), tools_(world), progress_(options.progress_file, world.rank()) {}

    int run() {
        for (bool more = true; more;) {
            std::array<int, batch + 1> told{};  // ranks that found each case wrong; whether time is up
            const int size = options_.cases > 0 ? std::min(batch, options_.cases - cases_) : batch;
            for (int i = 0; i < size; ++i) told[std::size_t(i)] = !run_case(options_.first + cases_ + i);
            told[batch] = world_.rank() == 0 && options_.seconds > 0 && seconds() > options_.seconds;
            world_.sum(told, {"pressure"});
            for (int i = 0; i < size; ++i) wrong_ += told[std::size_t(i)] > 0;
            cases_ += size;
            more = told[batch] == 0 && (options_.cases == 0 || cases_ < options_.cases);
        }
        if (world_.rank() == 0) std::cout << concat("cases ", cases_, ", wrong ", wrong_, ", hung 0\n") << std::flush;
        return wrong_ == 0 ? all_right : wrong_rows;
    }

private:
    static constexpr int batch = 16;

    [[nodiscard]] double seconds() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    }

    bool run_case(int index) {
        const PressureNumber number{options_.seed, world_.size(), index};
        progress_.enter(index);
        if (begins_anew(number)) tools_.clear();
        const bool last = world_.rank() == world_.size() - 1;
        while (index == options_.stall && last) std::this_thread::sleep_for(std::chrono::seconds(1));
        const PressureCase made = make_pressure_case(number);
        const auto say = [&](const std::string& what) {
            std::cerr << concat("[rank ", world_.rank(), "] case ", index, ": ", what, "; ", made.describe(), "; ",
                                flags_of(number), "\n")
                      << std::flush;
        };
        try {
            const std::string wrong = run_pressure_case(made, number, tools_, falsify(last, index));
            if (!wrong.empty()) say("wrong: " + wrong);
            return wrong.empty();
        } catch (const TimeoutError& error) {
            say(concat("hung: ", error.what()));
            world_.abort(hung);
        } catch (const std::exception& error) {
            say(concat("wrong: ", error.what()));
            world_.abort(threw);
        }
    }

    // One bit of one row, once, on the last rank.
    Falsify falsify(bool last, int index) {
        if (options_.flip < 0 || index < options_.flip || !last || flipped_) return {};
        return [this](Rows rows) {
            if (!flipped_) *static_cast<std::byte*>(rows.data()) ^= std::byte{1};
            return std::exchange(flipped_, true);
        };
    }

    const Options& options_;
    const Communicator& world_;
    PressureTools tools_;
    Progress progress_;
    std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
    int cases_ = 0, wrong_ = 0;
    bool flipped_ = false;
};

int run(const Options& options) {
    WaitPolicy policy;
    policy.timeout_seconds = options.timeout;
    policy.on_stuck_call = [](const std::string& line) {
        std::cerr << "hung: " << line << std::endl;
        MPI_Abort(MPI_COMM_WORLD, hung);
    };
    const Communicator world(MPI_COMM_WORLD, policy);
    return Pressure(options, world).run();
}

void add_flags(CLI::App& app, Options& options) {
    app.add_option("--seed", options.seed, "what all cases follow from");
    app.add_option("--first", options.first, "index of the first case");
    app.add_option("--cases", options.cases, "how many; 0: until the time is up");
    app.add_option("--seconds", options.seconds, "of all cases; 0: until all have run");
    app.add_option("--timeout", options.timeout, "seconds that a rank may wait for another");
    app.add_option("--progress", options.progress_file, "file to hold the index of each rank's case");
    app.add_option("--flip", options.flip, "falsify a row at or after this case, to see the check fail");
    app.add_option("--stall", options.stall, "the last rank stops before this case, to see the wait end");
}

}  // namespace
}  // namespace expar

int main(int argc, char** argv) {
    CLI::App app("Random cases of dispatch, checked row by row.", "pressure");
    expar::Options options;
    expar::add_flags(app, options);
    CLI11_PARSE(app, argc, argv);
    int provided = 0;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    const int status = options.cases > 0 || options.seconds > 0 ? expar::run(options) : EXIT_FAILURE;
    MPI_Finalize();
    return status;
}
