#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "expar/comm/communicator.hpp"
#include "expar/comm/topology.hpp"
#include "expar/comm/traffic.hpp"

namespace expar {

/// Rows to and from every rank; both sides know both.
struct RowCounts {
    std::vector<int> send;  ///< [R]
    std::vector<int> recv;  ///< [R]
    /// The most that any rank sends to others, or receives: the same number on all ranks, or -1: not known. Known, it
    /// spares `auto` a question to all; then views without rows must have their columns and type, too.
    int busiest = -1;
};

/// What `auto` has settled on.
struct ExchangeChoice {
    std::string_view kind;  ///< of exchange_kinds
    double predicted_seconds = 0;
};

/// An all-to-all of rows.
class Exchange {
public:
    virtual ~Exchange() = default;

    /// Starts to send counts.send[r] consecutive rows to each rank r and to receive counts.recv[r] from it.
    ///
    /// send  [sum(counts.send), cols], contiguous, ordered by destination rank
    /// recv  [sum(counts.recv), cols], contiguous, ordered by source rank, then by the order of sending
    /// A view without rows may have any shape. Collective, in the same order on all ranks; returns before rows have
    /// moved. Both views stay untouched until Transfer::finish() has returned. Several transfers may be open, of one
    /// object and of several. Throws Error before anything is sent when a view does not fit the counts.
    [[nodiscard]] virtual Transfer start(ConstRows send, Rows recv, const RowCounts& counts, Occasion occasion) = 0;

    /// Memory for rows to send that may move with fewer copies from there. Given back when the last owner lets go of
    /// it, which must be before the exchange ends. Local; the memory is aligned for vectors.
    [[nodiscard]] virtual std::shared_ptr<std::byte> lend(std::size_t bytes);

    [[nodiscard]] virtual const Traffic& traffic() const { return *traffic_; }
    /// Counts from now on where others do.
    void count_in(std::shared_ptr<Traffic> shared) { traffic_ = std::move(shared); }
    /// Of the last start(), where an exchange has a choice.
    [[nodiscard]] virtual std::optional<ExchangeChoice> last_choice() const { return {}; }

protected:
    explicit Exchange(int ranks) : traffic_(std::make_shared<Traffic>(ranks)) {}
    std::shared_ptr<Traffic> traffic_;  // shared with transfers, which may outlive the exchange
};

/// What the kinds leave to choose; equal on all ranks. In a specification, `spread:open=4:message=64k`, by the names in
/// the comments.
struct ExchangeOptions {
    std::size_t message_bytes = 256 * 1024;  ///< message: of a message at most, unless one row takes more
    int open_messages = 64;                  ///< open: of a transfer, in each direction at once
    /// flight: of its messages that are open in a direction, where that is more than one. More fills the queues of
    /// switches, and what they drop is sent again.
    std::size_t open_bytes = 1536 * 1024;
    std::size_t lent_bytes = 0;  ///< lent: by `window`, of memory that the node shares; any may be asked
    std::string costs_file;      ///< costs: by `auto`, what it has measured; empty: user_costs_file()
    Topology topology;           ///< ranks-per-node; without ranks: asked of MPI by kinds that need it
};

/// An exchange as flags and files name it: the name of a kind, then options.
struct ExchangeSpec {
    std::string kind;
    ExchangeOptions options;
};
/// Throws UserError that names the known kinds or options.
[[nodiscard]] ExchangeSpec parse_exchange(std::string_view specification, int ranks);
/// That of a specification, or what MPI says. Collective. Throws UserError like parse_exchange.
[[nodiscard]] Topology topology_for(std::string_view specification, const Communicator& comm);

/// An algorithm by name, for --help, for tests that loop over all of them, and for make_exchange.
struct ExchangeKind {
    std::string_view name;
    std::string_view summary;
    /// Every row goes straight to its rank: the traffic of a rank is what it sends to each. Otherwise rows pass through
    /// others, and messages beside them tell how many.
    bool direct;
    bool shares_memory;  ///< all ranks must be on one node; rows in memory that it has lent move with fewer copies
    bool chooses;        ///< among the others
    std::unique_ptr<Exchange> (*make)(const Communicator& comm, const ExchangeOptions& options);
};

[[nodiscard]] std::unique_ptr<Exchange> make_native_exchange(const Communicator& comm, const ExchangeOptions& options);
[[nodiscard]] std::unique_ptr<Exchange> make_spread_exchange(const Communicator& comm, const ExchangeOptions& options);
[[nodiscard]] std::unique_ptr<Exchange> make_node_exchange(const Communicator& comm, const ExchangeOptions& options);
[[nodiscard]] std::unique_ptr<Exchange> make_bruck_exchange(const Communicator& comm, const ExchangeOptions& options);
[[nodiscard]] std::unique_ptr<Exchange> make_window_exchange(const Communicator& comm, const ExchangeOptions& options);
[[nodiscard]] std::unique_ptr<Exchange> make_auto_exchange(const Communicator& comm, const ExchangeOptions& options);

inline constexpr std::array exchange_kinds = {
    ExchangeKind{"native", "one MPI_Ialltoallv", true, false, false, make_native_exchange},
    ExchangeKind{"spread", "isend and irecv in an order rotated by rank, messages cut, so many open at once", true,
                 false, false, make_spread_exchange},
    ExchangeKind{"node", "the rows of a pair of nodes travel together, the pairs spread over a node's ranks", false,
                 false, false, make_node_exchange},
    ExchangeKind{"bruck", "log R steps through other ranks, for tiny rows", false, false, false, make_bruck_exchange},
    ExchangeKind{"window", "through memory that the ranks of one node share, without MPI", true, true, false,
                 make_window_exchange},
    ExchangeKind{"auto", "what takes the least by costs that are measured once and kept in a file", false, false, true,
                 make_auto_exchange},
};

/// Owns a duplicate of `comm`. Collective. Throws UserError like parse_exchange.
[[nodiscard]] std::unique_ptr<Exchange> make_exchange(std::string_view specification, const Communicator& comm);
[[nodiscard]] std::vector<std::string> exchange_names();

}  // namespace expar
