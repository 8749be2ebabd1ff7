#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "carried_rows.hpp"
#include "node_routes.hpp"
#include "row_messages.hpp"

namespace expar {

/// What all parts of a transfer of the exchange `node` use.
struct NodeGround {
    NodeRoutes routes;
    MessageSetup counts;  ///< of messages of whole numbers
    MessageSetup rows;    ///< its type is set for each width
    std::shared_ptr<RowTypeCache> types;
    int tag = 0;  ///< the first of the transfer

    [[nodiscard]] RowMessages messages(int width) const;

    // Gathering and dealing have a tag for each node, since their messages start in an order that one side only knows.
    [[nodiscard]] int counts_tag() const { return tag; }
    [[nodiscard]] int between_counts_tag() const { return tag + 1; }
    [[nodiscard]] int between_rows_tag() const { return tag + 2; }
    [[nodiscard]] int inside_tag() const { return tag + 3; }
    [[nodiscard]] int gather_tag(int node) const { return tag + 4 + node; }
    [[nodiscard]] int deal_tag(int node) const { return tag + 4 + routes.nodes() + node; }
    static int tags(int nodes) { return 4 + 2 * nodes; }
};

/// What an agent tells the agent of the other node: the width of a row, then rows [S, D] of the sources of one node for
/// the ranks of another.
class Crossing {
public:
    Crossing(int sources, int destinations)
        : numbers_(1 + std::size_t(sources) * std::size_t(destinations)), destinations_(destinations) {}

    [[nodiscard]] int& width() { return numbers_.front(); }
    [[nodiscard]] std::span<int> counts() { return std::span(numbers_).subspan(1); }
    [[nodiscard]] std::span<int> row(int source) {
        return counts().subspan(std::size_t(source) * std::size_t(destinations_), std::size_t(destinations_));
    }
    [[nodiscard]] std::vector<int>& numbers() { return numbers_; }

private:
    std::vector<int> numbers_;
    int destinations_;
};

/// An agent's part in sending to node `there`: gathers the rows of its own node and sends them as they lie, by source,
/// then destination.
class Outward {
public:
    Outward(const NodeGround& ground, int there);

    [[nodiscard]] int destinations() const { return int(ground_.routes.members[there_].size()); }
    /// What the neighbour at `place` said: the width of its rows, 0 when it has none, and its rows for each
    /// destination.
    void tell(int place, int width, std::span<const int> counts);
    /// All neighbours have said it.
    void gather(ConstRows own);
    bool advance();
    void add_outstanding(std::vector<std::string>& parts) const;

private:
    [[nodiscard]] int agent() const { return ground_.routes.agent(there_, ground_.routes.node); }

    const NodeGround& ground_;
    int there_;
    Crossing crossing_;
    RowStore store_;
    Rows all_;
    RowMessages counts_;
    std::optional<RowMessages> gathering_, rows_;
    bool sends_ = false;
};

/// An agent's part in receiving from node `there`: deals what came to the ranks of its own node.
class Inward {
public:
    /// `own`: where this rank's rows from there belong.
    Inward(const NodeGround& ground, int there, Rows own);

    bool advance();
    void add_outstanding(std::vector<std::string>& parts) const;

private:
    enum class Stage { counts, rows, dealing };

    [[nodiscard]] int agent() const { return ground_.routes.agent(there_, ground_.routes.node); }
    void deal(int place);

    const NodeGround& ground_;
    int there_;
    Rows own_;
    Crossing crossing_;
    std::vector<int> offsets_;
    RowStore store_;
    std::vector<RowStore> stores_;
    Rows all_;
    RowMessages counts_;
    std::optional<RowMessages> rows_, dealing_;
    Stage stage_ = Stage::counts;
};

}  // namespace expar
