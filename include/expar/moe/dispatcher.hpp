#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "expar/comm/communicator.hpp"
#include "expar/comm/exchange.hpp"
#include "expar/moe/dispatch_plan.hpp"

namespace expar {

/// Rows in memory that a dispatcher lends. They are valid until this object or the dispatcher is gone; it must go
/// before the dispatcher's device does.
class LentRows {
public:
    /// What keeps the memory: a matrix of the pool, a place in a window.
    class Lease {
    public:
        virtual ~Lease() = default;
    };

    LentRows() = default;
    LentRows(Rows rows, std::unique_ptr<Lease> lease) : rows_(rows), lease_(std::move(lease)) {}
    explicit LentRows(Matrix matrix);
    [[nodiscard]] Rows view() const { return rows_; }
    operator Rows() const { return rows_; }       // NOLINT
    operator ConstRows() const { return rows_; }  // NOLINT

private:
    Rows rows_;
    std::unique_ptr<Lease> lease_;
};

/// A movement that has begun, and what it will yield. Move-only.
template <class Result>
class Moving {
public:
    /// What is left to do on this rank.
    class Rest {
    public:
        virtual ~Rest() = default;
        virtual bool progress() = 0;
        virtual Result finish() = 0;
    };
    explicit Moving(std::unique_ptr<Rest> rest) : rest_(std::move(rest)) {}

    /// Drives MPI without waiting; true when finish() will not wait for another rank.
    bool progress() { return rest_->progress(); }
    /// Blocks until all has arrived. Once.
    [[nodiscard]] Result finish() { return std::exchange(rest_, nullptr)->finish(); }

private:
    std::unique_ptr<Rest> rest_;
};

/// What the backward of combine yields.
struct CombineGradient {
    LentRows d_outputs;  ///< [A, H], on the host of the experts
    /// As dispatch backward takes it, which brings it home: [A, 1] of this host's rows, or, where the source can read
    /// outputs, [T, k] of its own choices.
    Matrix d_weights;
};
/// What the backward of dispatch yields on the source of the tokens.
struct DispatchGradient {
    Matrix d_x;        ///< [T, H]
    Matrix d_weights;  ///< [T, k], 0 for dropped choices
};

/// What a dispatcher did, counted where it was done.
struct DispatchCounters {
    std::int64_t rows_delivered = 0;  ///< distinct (token, member) rows of forward dispatch: what a placement changes
    std::int64_t bytes_copied = 0;    ///< stored by gathers, sums and products, or handed to MPI, headers included
    double seconds = 0;               ///< this rank's time inside calls of the dispatcher
    double counts_seconds = 0;        ///< of it, until a plan's counts and headers were known here
};

/// Moves token rows to the members of an EP group that host their experts, and back, forward and backward.
///
/// Every call but lend_outputs() is collective over the group, in the same order on all members, also for those without
/// tokens. What is passed to a start_ call, the plan included, and the dispatcher must live on, untouched, until its
/// Moving has finished or is gone; several may be open. Every dispatcher gives the same bits for a plan's combine
/// order.
class Dispatcher {
public:
    virtual ~Dispatcher() = default;

    /// Settles who gets which rows. Blocks: counts and headers travel. Throws Error, before they do, when the scope is
    /// not this rank's place in the group.
    [[nodiscard]] virtual DispatchPlan plan(const Routing& routing, const PlanScope& scope) = 0;

    /// x [T, H] → expert rows [A, H]
    [[nodiscard]] virtual Moving<LentRows> start_dispatch(const DispatchPlan& plan, ConstRows x) = 0;
    /// Memory [A, H] for the experts' output, or for the gradient of their input, which combine and dispatch backward
    /// then move without a copy more.
    [[nodiscard]] virtual LentRows lend_outputs(const DispatchPlan& plan, int cols, DType dtype) = 0;
    /// outputs [A, H] → y [T, H] = Σ_j weights[t][j] output(t, j), in the plan's order. weights [T, k]
    [[nodiscard]] virtual Moving<Matrix> start_combine(const DispatchPlan& plan, ConstRows outputs,
                                                       ConstRows weights) = 0;
    /// d_y [T, H] → d_outputs = w · d_y and d_weights = output · d_y, on the host. `outputs` as given to combine.
    [[nodiscard]] virtual Moving<CombineGradient> start_combine_backward(const DispatchPlan& plan, ConstRows d_y,
                                                                         ConstRows outputs) = 0;
    /// d_rows [A, H] → d_x: the sum over a token's choices, in the plan's order. d_weights as combine's backward left
    /// them.
    [[nodiscard]] virtual Moving<DispatchGradient> start_dispatch_backward(const DispatchPlan& plan, ConstRows d_rows,
                                                                           ConstRows d_weights) = 0;

    [[nodiscard]] virtual DispatchCounters counters() const = 0;
    [[nodiscard]] virtual const Traffic& traffic() const = 0;
    /// What a user should be told, in one line: that another kind does the work, and why. Empty: nothing.
    [[nodiscard]] virtual std::string note() const { return {}; }
};

/// An algorithm by name, for --help, for tests that loop over all of them, and for make_dispatcher.
struct DispatcherKind {
    std::string_view name;
    std::string_view summary;
    std::unique_ptr<Dispatcher> (*make)(std::string_view exchange, const Communicator& group, Device& device);
};

/// The plain dispatcher that the others must equal.
[[nodiscard]] std::unique_ptr<Dispatcher> make_packed_dispatcher(std::string_view exchange, const Communicator& group,
                                                                 Device& device);

/// One row for every choice, as simple frameworks move them: what the others are measured against.
[[nodiscard]] std::unique_ptr<Dispatcher> make_naive_dispatcher(std::string_view exchange, const Communicator& group,
                                                                Device& device);
/// Through memory that the ranks of a node share: a source stores its rows where the experts read them, and adds their
/// outputs up where they lie. Falls back to `packed`, with a note, when there is too little such memory. Throws
/// UserError when members are on several nodes, or the device's memory is not the host's.
[[nodiscard]] std::unique_ptr<Dispatcher> make_window_dispatcher(std::string_view exchange, const Communicator& group,
                                                                 Device& device);

/// As packed, but a row crosses to a node once, where one member passes it on. Nodes are those of the exchange's
/// specification, or what MPI says.
[[nodiscard]] std::unique_ptr<Dispatcher> make_hierarchical_dispatcher(std::string_view exchange,
                                                                       const Communicator& group, Device& device);

inline constexpr std::array dispatcher_kinds = {
    DispatcherKind{"packed", "pack, exchange, unpack; a row once to each rank that needs it", make_packed_dispatcher},
    DispatcherKind{"naive", "as packed, a row once for each choice; a yardstick", make_naive_dispatcher},
    DispatcherKind{"window", "one copy through memory that the ranks of a node share", make_window_dispatcher},
    DispatcherKind{"hierarchical", "as packed, but a row once to each node, and from there to its ranks",
                   make_hierarchical_dispatcher},
};

/// Owns a duplicate of `group`, an EP group. Collective. `exchange` moves the rows of the kinds that stand on one.
/// Throws UserError that lists the known names.
[[nodiscard]] std::unique_ptr<Dispatcher> make_dispatcher(std::string_view name, std::string_view exchange,
                                                          const Communicator& group, Device& device);
[[nodiscard]] std::vector<std::string> dispatcher_names();

}  // namespace expar
