#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "expar/comm/communicator.hpp"
#include "expar/comm/traffic.hpp"

namespace expar {

/// Rows to and from every rank; both sides know both.
struct RowCounts {
    std::vector<int> send;  ///< [R]
    std::vector<int> recv;  ///< [R]
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

    [[nodiscard]] const Traffic& traffic() const { return traffic_; }

protected:
    explicit Exchange(int ranks) : traffic_(ranks) {}
    Traffic traffic_;
};

/// An algorithm by name, for --help, for tests that loop over all of them, and for make_exchange.
struct ExchangeKind {
    std::string_view name;
    std::string_view summary;
    std::unique_ptr<Exchange> (*make)(const Communicator& comm);
};

[[nodiscard]] std::unique_ptr<Exchange> make_native_exchange(const Communicator& comm);
[[nodiscard]] std::unique_ptr<Exchange> make_spread_exchange(const Communicator& comm);

inline constexpr std::array exchange_kinds = {
    ExchangeKind{"native", "one MPI_Ialltoallv", make_native_exchange},
    ExchangeKind{"spread", "isend and irecv in an order rotated by rank, messages cut to 256 KiB",
                 make_spread_exchange},
};

/// Owns a duplicate of `comm`. Collective. Throws UserError that lists the known names.
[[nodiscard]] std::unique_ptr<Exchange> make_exchange(std::string_view name, const Communicator& comm);
[[nodiscard]] std::vector<std::string> exchange_names();

}  // namespace expar
