#include "expar/observe/clock_offset.hpp"

#include <limits>

namespace expar {
namespace {

constexpr int questions = 16;
constexpr Occasion occasion{"alignment of clocks"};

// Whole nanoseconds are exact in float64 for the first 104 days of a clock.
Rows one(double& value) {
    return {&value, 1, 1, DType::float64};
}

}  // namespace

ClockOffset measure_clock_offset(const Communicator& world, std::int64_t (*now)()) {
    ClockOffset best{0, std::numeric_limits<double>::infinity()};
    if (world.rank() == 0) {
        for (int rank = 1; rank < world.size(); ++rank)
            for (int i = 0; i < questions; ++i) {
                double question = 0;
                world.start_receive(one(question), rank, occasion).finish();
                double answer = double(now());
                world.start_send(one(answer), rank, occasion).finish();
            }
        return {0, 0};
    }
    for (int i = 0; i < questions; ++i) {
        double begin = double(now());
        world.start_send(one(begin), 0, occasion).finish();
        double answer = 0;
        world.start_receive(one(answer), 0, occasion).finish();
        const double end = double(now());
        if (end - begin < best.round_trip) best = {answer - (begin + end) / 2, end - begin};
    }
    return best;
}

}  // namespace expar
