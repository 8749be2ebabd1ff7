#pragma once

#include <mpi.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "expar/base/matrix.hpp"
#include "expar/comm/wait.hpp"

namespace expar {

/// A group of ranks that communicate, owning a private duplicate of an MPI communicator.
///
/// Movable, not copyable. Construction, split(), duplicate() and destruction are collective: every rank of the parent
/// must reach them in the same order. Messages never mix with those of other Communicators. All collectives block,
/// polling with the policy's deadline, unless they return a Transfer. MPI must be initialised, and not yet finalised
/// when it is destroyed.
class Communicator {
public:
    explicit Communicator(MPI_Comm parent, WaitPolicy policy = {});
    Communicator(Communicator&& other) noexcept;
    Communicator& operator=(Communicator&& other) noexcept;
    ~Communicator();

    [[nodiscard]] int rank() const noexcept { return rank_; }
    [[nodiscard]] int size() const noexcept { return size_; }
    /// What `rank` of this group is called in a line for the user: its rank in MPI_COMM_WORLD, as the launcher counts.
    [[nodiscard]] int world_rank(int rank) const { return world_ranks_[std::size_t(rank)]; }
    [[nodiscard]] MPI_Comm mpi() const noexcept { return comm_; }
    [[nodiscard]] const std::shared_ptr<const WaitPolicy>& policy() const noexcept { return policy_; }

    /// Ranks with equal `color` form one new group, ordered by their rank here.
    [[nodiscard]] Communicator split(int color) const;
    [[nodiscard]] Communicator duplicate() const;

    /// `values` becomes its element-wise sum, added in ascending rank: the same bits on every rank and in every run.
    void sum(std::span<double> values, Occasion occasion = {"sum"}) const;
    void sum(std::span<std::int64_t> values, Occasion occasion = {"sum"}) const;
    void sum(std::span<int> values, Occasion occasion = {"sum"}) const;
    void max(std::span<double> values, Occasion occasion = {"max"}) const;
    void max(std::span<int> values, Occasion occasion = {"max"}) const;

    /// `mine` of every rank, which all have the same length, one after the other.
    [[nodiscard]] std::vector<int> all_gather(std::span<const int> mine, Occasion occasion = {"all-gather"}) const;
    [[nodiscard]] std::vector<double> all_gather(std::span<const double> mine,
                                                 Occasion occasion = {"all-gather"}) const;

    /// The r-th of R equal parts of `mine` goes to rank r; that of the result came from it.
    [[nodiscard]] std::vector<int> all_to_all(std::span<const int> mine, Occasion occasion = {"all-to-all"}) const;

    /// Rank root's content, everywhere. Views must be contiguous and of equal shape.
    void broadcast(Rows values, int root, Occasion occasion = {"broadcast"}) const;
    [[nodiscard]] std::string broadcast(std::string text, int root, Occasion occasion = {"broadcast"}) const;

    /// The texts of all ranks in rank order, on root; empty elsewhere.
    [[nodiscard]] std::vector<std::string> gather(const std::string& text, int root,
                                                  Occasion occasion = {"gather"}) const;

    /// Rows of all ranks, of unequal number, in rank order: `all` has rows_of[r] rows from rank r. Does not block.
    /// `mine` may be its own place in `all`, then on every rank that has rows.
    [[nodiscard]] Transfer start_all_gather(ConstRows mine, Rows all, std::span<const int> rows_of,
                                            Occasion occasion = {"all-gather"}) const;

    /// One message of one matrix between two ranks, contiguous, both knowing its shape. Does not block.
    [[nodiscard]] Transfer start_send(ConstRows values, int to, Occasion occasion = {"send"}) const;
    [[nodiscard]] Transfer start_receive(Rows values, int from, Occasion occasion = {"receive"}) const;

    void barrier(Occasion occasion = {"barrier"}) const;

    /// Ends all ranks at once. For the program, when only some ranks saw an error.
    [[noreturn]] void abort(int code) const;

private:
    Communicator(MPI_Comm owned, std::shared_ptr<const WaitPolicy> policy);

    MPI_Comm comm_ = MPI_COMM_NULL;
    int rank_ = 0;
    int size_ = 1;
    std::vector<int> world_ranks_;
    std::shared_ptr<const WaitPolicy> policy_;  // shared with all that was made from it: one deadline
};

}  // namespace expar
