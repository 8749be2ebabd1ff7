#include <deque>
#include <utility>

#include "exchange_shape.hpp"
#include "node_carriers.hpp"
#include "transfer_tags.hpp"

namespace expar {
namespace {

class NodeWork : public Transfer::Work {
public:
    NodeWork(NodeGround ground, ExchangeShape shape, ConstRows send, Rows recv)
        : ground_(std::move(ground)),
          shape_(std::move(shape)),
          send_(as_carried(send)),
          recv_(as_carried(recv)),
          width_(std::max(carried_width(send), carried_width(recv))),
          rows_(ground_.messages(width_)),
          counts_(ground_.counts),
          told_(ground_.counts) {
        for (const int there : ground_.routes.partners_of(ground_.routes.rank))
            outward_.push_back(std::make_unique<Outward>(ground_, there));
        exchange_counts();
        start_inside();
        for (int there = 0; there < ground_.routes.nodes(); ++there)
            if (there != ground_.routes.node) start_with(there);
    }

    [[nodiscard]] bool has_stages() const override { return ground_.routes.nodes() > 1 || rows_.has_stages(); }

    bool advance() override {
        if (!gathers_ && counts_.advance()) gather();
        const bool told = told_.advance(), own = rows_.advance();
        bool done = gathers_ && told && own;
        for (auto& outward : outward_) done = outward->advance() && done;
        for (auto& inward : inward_) done = inward->advance() && done;
        if (done) unpack();
        return done;
    }

    [[nodiscard]] std::string outstanding() const override {
        std::vector<std::string> parts = {rows_.outstanding(), counts_.outstanding(), told_.outstanding()};
        for (const auto& outward : outward_) outward->add_outstanding(parts);
        for (const auto& inward : inward_) inward->add_outstanding(parts);
        std::string text;
        for (const auto& part : parts)
            if (!part.empty()) text += concat(text.empty() ? "" : ", ", part);
        return text;
    }

private:
    struct Unpacking {
        int node;
        Rows rows;
    };

    [[nodiscard]] ConstRows sent_to(int rank) const { return ExchangeShape::part(send_, shape_.send_offsets, rank); }
    [[nodiscard]] Rows received_from(int rank) const { return ExchangeShape::part(recv_, shape_.recv_offsets, rank); }

    // Each neighbour learns what this rank sends to the nodes that it is agent for.
    void exchange_counts() {
        const auto& neighbours = ground_.routes.neighbours();
        std::size_t numbers = 1;
        for (const auto& outward : outward_) numbers += std::size_t(outward->destinations());
        for (const int neighbour : neighbours) {
            heard_.emplace_back(numbers);
            said_.push_back(counts_for(neighbour));
            if (neighbour == ground_.routes.rank) {
                heard_.back() = said_.back();
                continue;
            }
            if (!outward_.empty()) counts_.receive(as_rows(heard_.back()), neighbour, ground_.counts_tag());
            if (said_.back().size() > 1) told_.send(as_rows(said_.back()), neighbour, ground_.counts_tag());
        }
    }
    [[nodiscard]] std::vector<int> counts_for(int agent) const {
        std::vector<int> numbers = {width_};
        for (const int there : ground_.routes.partners_of(agent))
            for (const int rank : ground_.routes.members[there]) numbers.push_back(sent_to(rank).rows());
        return numbers;
    }

    void start_inside() {
        const auto& neighbours = ground_.routes.neighbours();
        const int size = int(neighbours.size());
        const int place = int(std::ranges::find(neighbours, ground_.routes.rank) - neighbours.begin());
        for (int step = 1; step < size; ++step) {
            const int from = neighbours[(place - step + size) % size];
            rows_.receive(received_from(from), from, ground_.inside_tag());
        }
        for (int step = 1; step < size; ++step) {
            const int to = neighbours[(place + step) % size];
            rows_.send(sent_to(to), to, ground_.inside_tag());
        }
        copy_rows(sent_to(ground_.routes.rank), received_from(ground_.routes.rank));
    }

    // Rows for node `there` go to this node's agent, rows from it come from there.
    void start_with(int there) {
        const int agent = ground_.routes.agent(ground_.routes.node, there);
        const ConstRows leaving = joined(there);
        const Rows coming = room_for(there);
        if (agent == ground_.routes.rank) {
            own_.push_back(leaving);
            inward_.push_back(std::make_unique<Inward>(ground_, there, coming));
            return;
        }
        rows_.receive(coming, agent, ground_.deal_tag(there));
        rows_.send(leaving, agent, ground_.gather_tag(there));
    }

    // Whether the ranks of node `there` follow each other, so that their rows do, too.
    [[nodiscard]] bool in_a_row(int there) const {
        const auto& ranks = ground_.routes.members[there];
        return ranks.back() - ranks.front() + 1 == int(ranks.size());
    }
    [[nodiscard]] ConstRows joined(int there) {
        const auto& ranks = ground_.routes.members[there];
        const int first = shape_.send_offsets[ranks.front()];
        if (in_a_row(there)) return send_.slice(first, shape_.send_offsets[ranks.back() + 1] - first);
        int count = 0;
        for (const int rank : ranks) count += sent_to(rank).rows();
        const Rows all = stores_.emplace_back().take(count, width_);
        int at = 0;
        for (const int rank : ranks) {
            copy_rows(sent_to(rank), all.slice(at, sent_to(rank).rows()));
            at += sent_to(rank).rows();
        }
        return all;
    }
    [[nodiscard]] Rows room_for(int there) {
        const auto& ranks = ground_.routes.members[there];
        const int first = shape_.recv_offsets[ranks.front()];
        if (in_a_row(there)) return recv_.slice(first, shape_.recv_offsets[ranks.back() + 1] - first);
        int count = 0;
        for (const int rank : ranks) count += received_from(rank).rows();
        unpacking_.push_back({there, stores_.emplace_back().take(count, width_)});
        return unpacking_.back().rows;
    }

    // All neighbours have said what they send.
    void gather() {
        for (std::size_t place = 0; place < heard_.size(); ++place) {
            auto numbers = std::span<const int>(heard_[place]).subspan(1);
            for (auto& outward : outward_) {
                const auto destinations = std::size_t(outward->destinations());
                outward->tell(int(place), heard_[place].front(), numbers.first(destinations));
                numbers = numbers.subspan(destinations);
            }
        }
        for (std::size_t i = 0; i < outward_.size(); ++i) outward_[i]->gather(own_[i]);
        gathers_ = true;
    }

    void unpack() {
        for (const auto& [there, rows] : std::exchange(unpacking_, {})) {
            int at = 0;
            for (const int rank : ground_.routes.members[there]) {
                const Rows part = received_from(rank);
                copy_rows(rows.slice(at, part.rows()), part);
                at += part.rows();
            }
        }
    }

    const NodeGround ground_;  // its parts refer to it
    ExchangeShape shape_;
    ConstRows send_;
    Rows recv_;
    int width_;
    RowMessages rows_, counts_, told_;
    std::vector<std::vector<int>> heard_, said_;  // by place of the neighbour
    std::deque<RowStore> stores_;
    std::vector<Unpacking> unpacking_;
    std::vector<ConstRows> own_;  // one for each of outward_
    std::vector<std::unique_ptr<Outward>> outward_;
    std::vector<std::unique_ptr<Inward>> inward_;
    bool gathers_ = false;
};

/// Rows of one pair of nodes travel as one stream, cut into messages, between two agents: a node's partners are dealt
/// to its ranks in turn. Neighbours hand their rows to the agent and get theirs from the other; rows that stay on a
/// node go straight.
///
/// T = alpha (N - 1) + beta_link * bytes of the busiest node + 2 copies of what leaves or enters it (after the
/// node-aware all-to-all of Bienz, Gropp and Olson, "Reducing communication in algebraic multigrid with multi-step
/// node aware communication", IJHPCA 34(5), 2020). An agent holds all rows of its pairs meanwhile.
class NodeExchange : public Exchange {
public:
    NodeExchange(const Communicator& comm, const ExchangeOptions& options)
        : Exchange(comm.size()),
          comm_(std::make_shared<const Communicator>(comm.duplicate())),
          options_(options),
          topology_(options.topology.node_of.empty() ? discover_topology(*comm_) : options.topology),
          types_(std::make_shared<RowTypeCache>()),
          tags_(*comm_, NodeGround::tags(topology_.nodes())) {
        if (topology_.node_of.size() != std::size_t(comm.size()))
            throw Error(concat("exchange: a topology of ", topology_.node_of.size(), " ranks for ", comm.size()));
    }

    Transfer start(ConstRows send, Rows recv, const RowCounts& counts, Occasion occasion) override {
        ExchangeShape shape = check_exchange(send, recv, counts, *comm_);
        NodeGround ground{.routes = NodeRoutes(topology_, comm_->rank()),
                          .counts = {.type = types_->of(1, DType::int32),
                                     .comm = comm_,
                                     .traffic = traffic_,
                                     .carries = MessageSetup::Carries::counts},
                          .rows = {.type = nullptr,
                                   .comm = comm_,
                                   .traffic = traffic_,
                                   .most_open = options_.open_messages,
                                   .most_bytes = options_.message_bytes,
                                   .most_open_bytes = options_.open_bytes},
                          .types = types_,
                          .tag = tags_.next()};
        auto work = std::make_unique<NodeWork>(std::move(ground), std::move(shape), send, recv);
        return {std::move(work), comm_->policy(), occasion, comm_->world_rank(comm_->rank())};
    }

private:
    std::shared_ptr<const Communicator> comm_;
    ExchangeOptions options_;
    Topology topology_;
    std::shared_ptr<RowTypeCache> types_;
    TransferTags tags_;
};

}  // namespace

std::unique_ptr<Exchange> make_node_exchange(const Communicator& comm, const ExchangeOptions& options) {
    return std::make_unique<NodeExchange>(comm, options);
}

}  // namespace expar
