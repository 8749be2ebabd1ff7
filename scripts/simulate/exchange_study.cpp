// exchange_study kinds
//     prints the names of all kinds of exchange.
// exchange_study run EXCHANGE RANKS_PER_NODE BYTES SHAPE...
//     moves the rows of every SHAPE whose rows, of all ranks, take BYTES at most, and checks each that arrives. Prints
//     a line of JSON for every shape, or one that says why the exchange cannot run.
//
// A shape is WORKLOAD:ROWS:ROW_BYTES. `even`: ROWS from every rank to every rank; `zipf`: as many in all from every
// rank, 1/n as many to the n-th most popular rank as to the first. Runs under SimGrid, where MPI_Wtime is simulated
// time.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <string>
#include <thread>

#include "expar/base/random.hpp"
#include "expar/comm/exchange.hpp"

namespace {

using namespace expar;

struct Shape {
    std::string workload;
    int rows = 0;  // between two ranks, on average
    int row_bytes = 0;

    [[nodiscard]] int cols() const { return row_bytes / int(sizeof(std::int32_t)); }
};

Shape parse_shape(const std::string& text) {
    const auto first = text.find(':'), second = text.find(':', first + 1);
    if (second == std::string::npos) throw Error(concat("shape '", text, "', expected WORKLOAD:ROWS:ROW_BYTES"));
    return {text.substr(0, first), std::stoi(text.substr(first + 1)), std::stoi(text.substr(second + 1))};
}

// Time passes in this simulation only while a rank pauses or MPI moves something: longer pauses, by a hundredth of the
// time that has passed since begin(), make few polls of a long exchange and stay exact to that.
class Clock {
public:
    void begin() { begin_ = MPI_Wtime(); }
    [[nodiscard]] double seconds() const { return MPI_Wtime() - begin_; }
    void pause() const {
        std::this_thread::sleep_for(std::chrono::duration<double>(std::max(shortest, seconds() / 100)));
    }

private:
    static constexpr double shortest = 2e-7;
    double begin_ = 0;
};

// How many rows go from any rank to any other.
class Counts {
public:
    Counts(const Shape& shape, int ranks) : shape_(shape), ranks_(ranks), until_(ranks + 1) {
        if (shape.workload != "even" && shape.workload != "zipf")
            throw Error(concat("unknown workload ", shape.workload));
        while (std::gcd(stride_, ranks) > 1) ++stride_;
        for (int place = 0; place < ranks; ++place) until_[place + 1] = until_[place] + 1.0 / (place + 1);
    }

    [[nodiscard]] int operator()(int source, int destination) const {
        if (shape_.workload == "even") return shape_.rows;
        const int place = int(std::int64_t(destination) * stride_ % ranks_);
        return rows_until(source, place + 1) - rows_until(source, place);
    }

private:
    // Rounded up or down by chance, but to the same sum.
    [[nodiscard]] int rows_until(int source, int place) const {
        const double all = double(shape_.rows) * ranks_;
        return int(std::floor(all * until_[place] / until_.back() + rounding_.uniform(source)));
    }

    Shape shape_;
    int ranks_;
    int stride_ = 7;  // ranks that follow each other in popularity are not on one node
    std::vector<double> until_;
    RandomField rounding_{1, Purpose::test};
};

std::vector<std::int32_t> values_between(int source, int destination, int count) {
    std::vector<std::int32_t> values(count);
    std::iota(values.begin(), values.end(), source * 100'003 + destination * 1'009);
    return values;
}

class Study {
public:
    Study(const Communicator& world, Clock& clock, std::string name, int ranks_per_node)
        : world_(world), clock_(clock), name_(std::move(name)) {
        exchange_ = make_exchange(concat(name_, ":ranks-per-node=", ranks_per_node), world);
    }

    void run(const Shape& shape) {
        const Counts count(shape, world_.size());
        RowCounts counts;
        std::vector<std::int32_t> sent, expected;
        const int me = world_.rank();
        for (int peer = 0; peer < world_.size(); ++peer) {
            counts.send.push_back(count(me, peer));
            counts.recv.push_back(count(peer, me));
            append(sent, values_between(me, peer, counts.send.back() * shape.cols()));
            append(expected, values_between(peer, me, counts.recv.back() * shape.cols()));
        }
        std::vector<std::int32_t> received(expected.size(), -1);
        const double seconds =
            timed({sent.data(), int(sent.size()) / shape.cols(), shape.cols(), DType::int32},
                  {received.data(), int(received.size()) / shape.cols(), shape.cols(), DType::int32}, counts);
        if (received != expected) throw Error(concat(name_, ": wrong rows of ", shape.workload, " at rank ", me));
        if (me == 0) report(shape, seconds);
    }

private:
    static void append(std::vector<std::int32_t>& to, const std::vector<std::int32_t>& values) {
        to.insert(to.end(), values.begin(), values.end());
    }

    // The slowest rank's own start to its own end.
    [[nodiscard]] double timed(ConstRows send, Rows recv, const RowCounts& counts) {
        clock_.begin();
        world_.barrier();
        clock_.begin();
        exchange_->start(send, recv, counts, {"study"}).finish();
        double seconds = clock_.seconds();
        clock_.begin();
        world_.max(std::span(&seconds, 1));
        return seconds;
    }

    void report(const Shape& shape, double seconds) const {
        std::printf(R"({"workload": "%s", "rows_per_pair": %d, "row_bytes": %d, "exchange": "%s", "chosen": "%s", )"
                    R"("seconds": %.4g})"
                    "\n",
                    shape.workload.c_str(), shape.rows, shape.row_bytes, name_.c_str(), chosen(*exchange_).c_str(),
                    seconds);
        std::fflush(stdout);
    }

    // Where an exchange chooses among others it says which it took.
    template <class E>
    [[nodiscard]] std::string chosen(const E& exchange) const {
        if constexpr (requires { exchange.last_choice()->kind; })
            if (const auto choice = exchange.last_choice()) return std::string(choice->kind);
        return name_;
    }

    const Communicator& world_;
    Clock& clock_;
    std::string name_;
    std::unique_ptr<Exchange> exchange_;
};

void study(std::span<char*> arguments) {
    Clock clock;
    const Communicator world(MPI_COMM_WORLD,
                             {.timeout_seconds = 1e9, .on_stuck_call = {}, .pause = [&clock] { clock.pause(); }});
    const double most_bytes = std::stod(arguments[2]);
    try {
        Study study(world, clock, arguments[0], std::stoi(arguments[1]));
        for (const std::string text : arguments.subspan(3)) {
            const Shape shape = parse_shape(text);
            if (double(shape.rows) * shape.row_bytes * world.size() * world.size() <= most_bytes) study.run(shape);
        }
    } catch (const UserError& error) {  // on all ranks alike
        if (world.rank() == 0)
            std::printf(R"({"exchange": "%s", "cannot_run": "%s"})"
                        "\n",
                        arguments[0], error.what());
    }
}

}  // namespace

int main(int argc, char** argv) {
    MPI_Init(&argc, &argv);
    const std::span arguments(argv + 1, std::size_t(argc - 1));
    if (arguments.size() > 4 && std::string_view(arguments[0]) == "run")
        study(arguments.subspan(1));
    else
        for (const ExchangeKind& kind : exchange_kinds) std::printf("%s\n", std::string(kind.name).c_str());
    MPI_Finalize();
}
