#include "expar/comm/communicator.hpp"

#include <cstdlib>
#include <numeric>
#include <utility>

#include "drive_mpi.hpp"
#include "row_type.hpp"

namespace expar {
namespace {

MPI_Comm duplicate_of(MPI_Comm parent, const WaitPolicy& policy) {
    int rank = 0;
    check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");
    const StuckCallWatch watch(policy, {"duplicate"}, rank, "MPI_Comm_dup");
    MPI_Comm copy = MPI_COMM_NULL;
    check_mpi(MPI_Comm_dup(parent, &copy), "MPI_Comm_dup");
    return copy;
}

// A rank that MPI_COMM_WORLD does not know keeps its own number.
std::vector<int> world_ranks_of(MPI_Comm comm, int size) {
    MPI_Group group = MPI_GROUP_NULL, world = MPI_GROUP_NULL;
    check_mpi(MPI_Comm_group(comm, &group), "MPI_Comm_group");
    check_mpi(MPI_Comm_group(MPI_COMM_WORLD, &world), "MPI_Comm_group");
    std::vector<int> own(static_cast<std::size_t>(size)), ranks(own.size());
    std::iota(own.begin(), own.end(), 0);
    check_mpi(MPI_Group_translate_ranks(group, size, own.data(), world, ranks.data()), "MPI_Group_translate_ranks");
    MPI_Group_free(&group);
    MPI_Group_free(&world);
    for (const int rank : own)
        if (ranks[rank] == MPI_UNDEFINED) ranks[rank] = rank;
    return ranks;
}

// One message between two ranks.
class Message : public Transfer::Work {
public:
    Message(int peer, int rows, int cols, DType dtype, std::string_view what)
        : peer_(peer), rows_(rows), what_(what), type_(cols, dtype) {}

    [[nodiscard]] MPI_Datatype type() const { return type_.mpi(); }
    [[nodiscard]] MPI_Request* request() { return &request_; }
    bool advance() override { return test(request_); }
    [[nodiscard]] std::string outstanding() const override {
        return concat("rank ", peer_, " (", what_, rows_text(rows_), ")");
    }

private:
    int peer_;
    int rows_;
    std::string_view what_;
    RowType type_;
    MPI_Request request_ = MPI_REQUEST_NULL;
};

void check_message(ConstRows view, int peer, int size, const char* what) {
    check_contiguous(view, what);
    if (peer < 0 || peer >= size) throw Error(concat(what, ": rank ", peer, ", expected 0 to ", size - 1));
}

constexpr int message_tag = 0;  // messages of a pair keep their order

}  // namespace

Communicator::Communicator(MPI_Comm parent, WaitPolicy policy)
    : Communicator(duplicate_of(parent, policy), std::make_shared<const WaitPolicy>(policy)) {}

Communicator::Communicator(MPI_Comm owned, std::shared_ptr<const WaitPolicy> policy)
    : comm_(owned), policy_(std::move(policy)) {
    check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check_mpi(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
    check_mpi(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
    world_ranks_ = world_ranks_of(comm_, size_);
}

Communicator::Communicator(Communicator&& other) noexcept
    : comm_(std::exchange(other.comm_, MPI_COMM_NULL)),
      rank_(other.rank_),
      size_(other.size_),
      world_ranks_(std::move(other.world_ranks_)),
      policy_(std::move(other.policy_)) {}

Communicator& Communicator::operator=(Communicator&& other) noexcept {
    std::swap(comm_, other.comm_);
    std::swap(rank_, other.rank_);
    std::swap(size_, other.size_);
    std::swap(world_ranks_, other.world_ranks_);
    std::swap(policy_, other.policy_);
    return *this;
}

Communicator::~Communicator() {
    if (comm_ == MPI_COMM_NULL) return;
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (!finalized) MPI_Comm_free(&comm_);
}

Communicator Communicator::split(int color) const {
    if (color < 0) throw Error(concat("split: color ", color, ", expected at least 0"));
    const StuckCallWatch watch(*policy_, {"split"}, world_rank(rank_), "MPI_Comm_split");
    MPI_Comm part = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split(comm_, color, rank_, &part), "MPI_Comm_split");
    return {part, policy_};
}

Communicator Communicator::duplicate() const {
    return {duplicate_of(comm_, *policy_), policy_};
}

Transfer Communicator::start_send(ConstRows values, int to, Occasion occasion) const {
    check_message(values, to, size_, "send");
    if (values.bytes() == 0) return {};
    auto work = std::make_unique<Message>(world_rank(to), values.rows(), values.cols(), values.dtype(), "to take ");
    check_mpi(MPI_Isend(values.data(), values.rows(), work->type(), to, message_tag, comm_, work->request()),
              "MPI_Isend");
    return {std::move(work), policy_, occasion, world_rank(rank_)};
}

Transfer Communicator::start_receive(Rows values, int from, Occasion occasion) const {
    check_message(values, from, size_, "receive");
    if (values.bytes() == 0) return {};
    auto work = std::make_unique<Message>(world_rank(from), values.rows(), values.cols(), values.dtype(), "");
    check_mpi(MPI_Irecv(values.data(), values.rows(), work->type(), from, message_tag, comm_, work->request()),
              "MPI_Irecv");
    return {std::move(work), policy_, occasion, world_rank(rank_)};
}

void Communicator::abort(int code) const {
    MPI_Abort(comm_, code);
    std::_Exit(code);
}

}  // namespace expar
