#include "row_messages.hpp"

#include <map>

namespace expar {

void RowMessages::receive(Rows rows, int from, int tag, const Communicator& comm) {
    MPI_Request* request = add(comm.world_rank(from), rows.rows(), true);
    check_mpi(MPI_Irecv(rows.data(), rows.rows(), type_->mpi(), from, tag, comm.mpi(), request), "MPI_Irecv");
}

void RowMessages::send(ConstRows rows, int to, int tag, const Communicator& comm) {
    MPI_Request* request = add(comm.world_rank(to), rows.rows(), false);
    check_mpi(MPI_Isend(rows.data(), rows.rows(), type_->mpi(), to, tag, comm.mpi(), request), "MPI_Isend");
}

std::string RowMessages::outstanding() const {
    std::map<int, std::int64_t> coming, leaving;  // rows by peer
    for (std::size_t i = 0; i < requests_.size(); ++i)
        if (requests_[i] != MPI_REQUEST_NULL)
            (messages_[i].incoming ? coming : leaving)[messages_[i].peer] += messages_[i].rows;
    std::string text;
    for (const auto& [peer, rows] : coming)
        text += concat(text.empty() ? "" : ", ", "rank ", peer, " (", rows_text(rows), ")");
    for (const auto& [peer, rows] : leaving)
        text += concat(text.empty() ? "" : ", ", "rank ", peer, " (to take ", rows_text(rows), ")");
    return text;
}

MPI_Request* RowMessages::add(int peer, int rows, bool incoming) {
    messages_.push_back({peer, rows, incoming});
    return &requests_.emplace_back(MPI_REQUEST_NULL);
}

}  // namespace expar
