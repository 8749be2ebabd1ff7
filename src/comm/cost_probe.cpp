#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>
#include <utility>

#include "expar/base/names.hpp"
#include "expar/base/read_file.hpp"
#include "expar/comm/cost_model.hpp"
#include "expar/comm/mpi_library.hpp"

namespace expar {
namespace {

constexpr int columns = 64;  // of int32
constexpr std::int64_t row_bytes = columns * 4, largest_bytes = std::int64_t(16) << 20;
constexpr int slots = 2;             // buffers that are used in turn
constexpr double lasting = 0.01;     // seconds of an exchange, beyond which a line tells the rest
constexpr double of_a_size = 0.03;   // seconds for each kind
constexpr double same_again = 1.02;  // slowest to fastest round of what need not be repeated
constexpr int least_rounds = 2, most_rounds = 15;
constexpr std::size_t largest_file = std::size_t(16) << 20;

// An even exchange of one size.
struct Load {
    RowCounts counts;
    int rows = 0;

    [[nodiscard]] std::int64_t bytes() const { return rows * row_bytes; }
};

Load load_of(const Communicator& comm, int rows_for_each) {
    Load load;
    load.counts.send.assign(std::size_t(comm.size()), rows_for_each);
    load.counts.send[std::size_t(comm.rank())] = 0;
    load.counts.recv = load.counts.send;
    load.rows = rows_for_each * (comm.size() - 1);
    load.counts.busiest = load.rows;
    return load;
}

struct Contender {
    std::string cost;
    std::unique_ptr<Exchange> exchange;
    std::shared_ptr<std::byte> send;  // [slots, largest so far]
};

class Probe {
public:
    Probe(const Communicator& comm, const ExchangeOptions& options)
        : comm_(comm), one_node_(options.topology.nodes() == 1) {
        ExchangeOptions own = options;
        own.lent_bytes = 0;
        for (const ExchangeKind& kind : exchange_kinds)
            if (!kind.chooses && (one_node_ || !kind.shares_memory)) add(std::string(kind.name), kind, own);
        own.lent_bytes = std::size_t(slots * largest_bytes + row_bytes * comm.size());
        for (const ExchangeKind& kind : exchange_kinds)
            if (kind.shares_memory && one_node_) add(concat(kind.name, " lent"), kind, own);
    }

    CostModel run() {
        std::vector<std::vector<CostPoint>> points(contenders_.size());
        for (int rows = 1;; rows *= 4) {
            const Load load = load_of(comm_, rows);
            const std::vector<double> seconds = measure(load);
            for (std::size_t i = 0; i < points.size(); ++i) points[i].push_back({load.bytes(), seconds[i]});
            if (*std::ranges::min_element(seconds) > lasting || load.bytes() * 4 > largest_bytes) break;
        }
        CostModel model;
        for (std::size_t i = 0; i < points.size(); ++i)
            model.costs.push_back({contenders_[i].cost, segments_through(points[i])});
        return model;
    }

private:
    // Too little shared memory leaves a kind out, on all ranks alike.
    void add(std::string cost, const ExchangeKind& kind, const ExchangeOptions& options) {
        try {
            contenders_.push_back({std::move(cost), kind.make(comm_, options), nullptr});
        } catch (const UserError&) {
            if (!kind.shares_memory) throw;
        }
    }

    // The median of each kind, of times that are the slowest rank's.
    std::vector<double> measure(const Load& load) {
        const auto bytes = std::size_t(load.bytes());
        received_ = std::make_unique<std::byte[]>(bytes * slots);
        for (Contender& contender : contenders_) {
            contender.send = nullptr;  // what it has lent can be lent again
            contender.send = contender.exchange->lend(bytes * slots);
            std::fill_n(contender.send.get(), bytes * slots, std::byte(1));
        }
        std::vector<std::vector<double>> times(contenders_.size());
        for (int round = 0; !enough(times); ++round) {
            std::vector<double> seconds;
            for (const Contender& contender : contenders_) seconds.push_back(exchange_once(contender, load, round));
            comm_.max(seconds, {"cost probe"});
            if (round < slots) continue;  // every buffer is touched first
            for (std::size_t i = 0; i < times.size(); ++i) times[i].push_back(seconds[i]);
        }
        std::vector<double> medians;
        for (auto& values : times) {
            std::ranges::nth_element(values, values.begin() + std::ptrdiff_t(values.size() / 2));
            medians.push_back(values[values.size() / 2]);
        }
        return medians;
    }

    [[nodiscard]] static bool enough(const std::vector<std::vector<double>>& times) {
        if (times.front().size() < least_rounds) return false;
        if (times.front().size() >= most_rounds) return true;
        double all = 0;
        bool same = true;
        for (const auto& values : times) {
            const auto [least, most] = std::ranges::minmax(values);
            same = same && most <= same_again * least;
            for (const double seconds : values) all += seconds;
        }
        return same || all > of_a_size * double(times.size());
    }

    // By MPI's clock, which a simulation has, too.
    double exchange_once(const Contender& contender, const Load& load, int round) {
        const std::size_t place = std::size_t(round % slots) * std::size_t(load.bytes());
        const ConstRows send(contender.send.get() + place, load.rows, columns, DType::int32);
        const Rows recv(received_.get() + place, load.rows, columns, DType::int32);
        comm_.barrier({"cost probe"});
        const double begin = MPI_Wtime();
        contender.exchange->start(send, recv, load.counts, {"cost probe"}).finish();
        return MPI_Wtime() - begin;
    }

    const Communicator& comm_;
    bool one_node_;
    std::vector<Contender> contenders_;
    std::unique_ptr<std::byte[]> received_;
};

std::string processor() {
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);)
        if (line.starts_with("model name")) return line.substr(std::min(line.size(), line.find(':') + 2));
    return "unknown processor";
}

// "4 nodes of 2", or where each rank is.
std::string text_of(const Topology& topology) {
    const int ranks = int(topology.node_of.size()), nodes = topology.nodes();
    if (ranks % nodes == 0 && topology.node_of == topology_of(ranks, ranks / nodes).node_of)
        return concat(nodes, nodes == 1 ? " node of " : " nodes of ", ranks / nodes);
    std::string text = "nodes";
    for (const int node : topology.node_of) text += concat(" ", node);
    return text;
}

std::string title_of(const ExchangeOptions& options) {
    return concat(text_of(options.topology), ", ", processor(), " (", std::thread::hardware_concurrency(),
                  " threads), ", mpi_library(), ", message=", options.message_bytes, " open=", options.open_messages,
                  " flight=", options.open_bytes);
}

CostFile read_costs(const std::string& path) {
    try {
        if (!path.empty() && std::filesystem::exists(path)) return CostFile(read_file(path, largest_file));
    } catch (const std::exception&) {  // NOLINT: what cannot be read is measured
    }
    return {};
}

// Under another name first, since other programs may read it. What cannot be kept is measured again.
void write_costs(const std::string& path, const CostFile& file) {
    std::error_code ignored;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
    if (std::filesystem::exists(path) && !std::filesystem::is_regular_file(path, ignored)) return;
    const std::string temporary = concat(path, ".", getpid());
    {
        std::ofstream out(temporary);
        out << file.text();
        if (!out.flush()) return;
    }
    std::filesystem::rename(temporary, path, ignored);
}

}  // namespace

CostModel probe_costs(const Communicator& comm, const ExchangeOptions& options) {
    if (comm.size() == 1) return {{{"native", {{}}}}};  // nothing travels
    return Probe(comm, options).run();
}

CostModel known_costs(const Communicator& comm, const ExchangeOptions& options) {
    const bool first = comm.rank() == 0;
    const std::string title = comm.broadcast(first ? title_of(options) : "", 0, {"cost model"});
    CostFile known;
    if (first) {
        const CostFile file = read_costs(options.costs_file);
        if (const CostModel* model = file.find(title)) known.put(title, *model);
    }
    // What a file says is what its text says: the same numbers on all ranks.
    known = CostFile(comm.broadcast(known.text(), 0, {"cost model"}));
    if (const CostModel* model = known.find(title)) return *model;
    known.put(title, probe_costs(comm, options));
    known = CostFile(comm.broadcast(known.text(), 0, {"cost model"}));
    if (first && !options.costs_file.empty()) {
        CostFile file = read_costs(options.costs_file);  // others may have written meanwhile
        file.put(title, *known.find(title));
        write_costs(options.costs_file, file);
    }
    return *known.find(title);
}

}  // namespace expar
