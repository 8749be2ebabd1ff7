#include <algorithm>
#include <functional>
#include <numeric>

#include "collective.hpp"
#include "expar/comm/communicator.hpp"

namespace expar {
namespace {

template <class T>
MPI_Datatype type_of() {
    if constexpr (std::is_same_v<T, std::int64_t>)
        return MPI_INT64_T;
    else
        return mpi_type(dtype_of<T>);
}

// Runs one collective to its end; start(request) calls MPI.
template <class Start>
void run(const Communicator& comm, Occasion occasion, Moved moved, std::shared_ptr<const void> memory, Start start) {
    auto work = std::make_unique<Collective>(moved, std::move(memory));
    start(work->request());
    Transfer(std::move(work), comm.policy(), occasion, comm.world_rank(comm.rank())).finish();
}

template <class T>
void reduce(const Communicator& comm, std::span<T> values, MPI_Op operation, Occasion occasion) {
    const int count = int_count(values.size(), "all-reduce");
    const auto memory = std::make_shared<std::vector<T>>(values.begin(), values.end());
    run(comm, occasion, {"all-reduce", count}, memory, [&](MPI_Request* request) {
        check_mpi(MPI_Iallreduce(MPI_IN_PLACE, memory->data(), count, type_of<T>(), operation, comm.mpi(), request),
                  "MPI_Iallreduce");
    });
    std::ranges::copy(*memory, values.begin());
}

template <class T>
std::vector<T> gather_to_all(const Communicator& comm, std::span<const T> mine, Occasion occasion) {
    struct Memory {
        std::vector<T> mine, all;
    };
    const int count = int_count(mine.size(), "all-gather");
    const auto memory = std::make_shared<Memory>();
    memory->mine.assign(mine.begin(), mine.end());
    memory->all.resize(mine.size() * std::size_t(comm.size()));
    run(comm, occasion, {"all-gather", count}, memory, [&](MPI_Request* request) {
        check_mpi(MPI_Iallgather(memory->mine.data(), count, type_of<T>(), memory->all.data(), count, type_of<T>(),
                                 comm.mpi(), request),
                  "MPI_Iallgather");
    });
    return std::move(memory->all);
}

}  // namespace

// MPI promises no order of additions; the ranks' own values, added one after the other, have one.
void Communicator::sum(std::span<double> values, Occasion occasion) const {
    constexpr std::size_t chunk = 1 << 16;  // bounds the memory: R times 512 KiB
    for (std::size_t first = 0; first < values.size(); first += chunk) {
        const auto part = values.subspan(first, std::min(chunk, values.size() - first));
        const std::vector<double> all = all_gather(std::span<const double>(part), occasion);
        std::copy_n(all.begin(), part.size(), part.begin());
        for (std::size_t next = part.size(); next < all.size(); next += part.size())
            for (std::size_t i = 0; i < part.size(); ++i) part[i] += all[next + i];
    }
}

void Communicator::sum(std::span<std::int64_t> values, Occasion occasion) const {
    reduce(*this, values, MPI_SUM, occasion);
}
void Communicator::sum(std::span<int> values, Occasion occasion) const {
    reduce(*this, values, MPI_SUM, occasion);
}
void Communicator::max(std::span<double> values, Occasion occasion) const {
    reduce(*this, values, MPI_MAX, occasion);
}
void Communicator::max(std::span<int> values, Occasion occasion) const {
    reduce(*this, values, MPI_MAX, occasion);
}

std::vector<int> Communicator::all_gather(std::span<const int> mine, Occasion occasion) const {
    return gather_to_all(*this, mine, occasion);
}
std::vector<double> Communicator::all_gather(std::span<const double> mine, Occasion occasion) const {
    return gather_to_all(*this, mine, occasion);
}

std::vector<int> Communicator::all_to_all(std::span<const int> mine, Occasion occasion) const {
    if (mine.size() % std::size_t(size_) != 0)
        throw Error(concat("all-to-all: ", mine.size(), " values, expected as many for each of ", size_, " ranks"));
    struct Memory {
        std::vector<int> mine, theirs;
    };
    const auto memory = std::make_shared<Memory>();
    memory->mine.assign(mine.begin(), mine.end());
    memory->theirs.resize(mine.size());
    const int each = int_count(mine.size(), "all-to-all") / size_;
    run(*this, occasion, {"all-to-all", std::int64_t(mine.size())}, memory, [&](MPI_Request* request) {
        check_mpi(
            MPI_Ialltoall(memory->mine.data(), each, MPI_INT, memory->theirs.data(), each, MPI_INT, comm_, request),
            "MPI_Ialltoall");
    });
    return std::move(memory->theirs);
}

void Communicator::broadcast(Rows values, int root, Occasion occasion) const {
    check_contiguous(values, "broadcast");
    if (values.bytes() == 0) return;
    const auto type = std::make_shared<const RowType>(values.cols(), values.dtype());
    run(*this, occasion, {"broadcast", values.rows(), "rows"}, type, [&](MPI_Request* request) {
        check_mpi(MPI_Ibcast(values.data(), values.rows(), type->mpi(), root, comm_, request), "MPI_Ibcast");
    });
}

std::string Communicator::broadcast(std::string text, int root, Occasion occasion) const {
    const auto length = std::make_shared<std::int64_t>(text.size());
    run(*this, occasion, {"broadcast", 1}, length, [&](MPI_Request* request) {
        check_mpi(MPI_Ibcast(length.get(), 1, MPI_INT64_T, root, comm_, request), "MPI_Ibcast");
    });
    const int count = int_count(std::size_t(*length), "broadcast");  // fails on all ranks alike
    const auto memory = std::make_shared<std::string>(std::move(text));
    memory->resize(std::size_t(count));
    run(*this, occasion, {"broadcast", count, "bytes"}, memory, [&](MPI_Request* request) {
        check_mpi(MPI_Ibcast(memory->data(), count, MPI_CHAR, root, comm_, request), "MPI_Ibcast");
    });
    return std::move(*memory);
}

std::vector<std::string> Communicator::gather(const std::string& text, int root, Occasion occasion) const {
    struct Memory {
        std::string mine, all;
        std::vector<int> lengths, offsets;
    };
    const auto memory = std::make_shared<Memory>();
    const int length = int_count(text.size(), "gather");
    memory->lengths = all_gather(std::span(&length, 1), occasion);  // so that all ranks see an overflow alike
    memory->offsets = row_offsets(memory->lengths, "gather");
    memory->mine = text;
    if (rank_ == root) memory->all.resize(std::size_t(memory->offsets.back()));
    run(*this, occasion, {"gather", memory->offsets.back(), "bytes"}, memory, [&](MPI_Request* request) {
        check_mpi(MPI_Igatherv(memory->mine.data(), length, MPI_CHAR, memory->all.data(), memory->lengths.data(),
                               memory->offsets.data(), MPI_CHAR, root, comm_, request),
                  "MPI_Igatherv");
    });
    std::vector<std::string> texts;
    if (rank_ != root) return texts;
    for (int rank = 0; rank < size_; ++rank)
        texts.push_back(memory->all.substr(std::size_t(memory->offsets[rank]), std::size_t(memory->lengths[rank])));
    return texts;
}

Transfer Communicator::start_all_gather(ConstRows mine, Rows all, std::span<const int> rows_of,
                                        Occasion occasion) const {
    struct Memory {
        Memory(int cols, DType dtype) : type(cols, dtype) {}
        RowType type;
        std::vector<int> counts, offsets;
    };
    check_contiguous(mine, "all-gather");
    check_contiguous(all, "all-gather");
    if (rows_of.size() != std::size_t(size_))
        throw Error(concat("all-gather: ", rows_of.size(), " counts, expected one for each of ", size_, " ranks"));
    std::vector<int> offsets = row_offsets(rows_of, "all-gather");
    if (mine.rows() != rows_of[rank_] || all.rows() != offsets.back())
        throw Error(concat("all-gather: views of ", mine.rows(), " and ", all.rows(), " rows, the counts need ",
                           rows_of[rank_], " and ", offsets.back()));
    if (mine.rows() > 0 && (mine.cols() != all.cols() || mine.dtype() != all.dtype()))
        throw Error(concat("all-gather: rows of ", mine.cols(), " ", name_of(mine.dtype()), " into rows of ",
                           all.cols(), " ", name_of(all.dtype())));
    if (all.bytes() == 0) return {};

    const auto memory = std::make_shared<Memory>(all.cols(), all.dtype());
    memory->counts.assign(rows_of.begin(), rows_of.end());
    memory->offsets = std::move(offsets);
    const bool in_place = mine.rows() > 0 && mine.data() == all.slice(memory->offsets[rank_], 0).data();
    auto work = std::make_unique<Collective>(Moved{"all-gather", all.rows(), "rows"}, memory);
    check_mpi(
        MPI_Iallgatherv(in_place ? MPI_IN_PLACE : mine.data(), mine.rows(), memory->type.mpi(), all.data(),
                        memory->counts.data(), memory->offsets.data(), memory->type.mpi(), comm_, work->request()),
        "MPI_Iallgatherv");
    return {std::move(work), policy_, occasion, world_rank(rank_)};
}

void Communicator::barrier(Occasion occasion) const {
    run(*this, occasion, {"all ranks to enter"}, nullptr,
        [&](MPI_Request* request) { check_mpi(MPI_Ibarrier(comm_, request), "MPI_Ibarrier"); });
}

}  // namespace expar
