#include "row_messages.hpp"

#include <functional>
#include <map>

namespace expar {

void RowMessages::receive(Rows rows, int from, int tag) {
    while (rows.bytes() > 0) {
        const Rows message = take_message(rows, setup_.most_bytes);
        coming_.waiting.push_back(
            {message.data(), message.rows(), message.row_bytes(), from, setup_.comm->world_rank(from), tag, true});
    }
    post_waiting(coming_);
}

void RowMessages::send(ConstRows rows, int to, int tag) {
    while (rows.bytes() > 0) {
        const ConstRows message = take_message(rows, setup_.most_bytes);
        // MPI reads only.
        leaving_.waiting.push_back({const_cast<void*>(message.data()), message.rows(), message.row_bytes(), to,
                                    setup_.comm->world_rank(to), tag, false});
    }
    post_waiting(leaving_);
}

void RowMessages::post_waiting(Lane& lane) {
    while (!lane.waiting.empty() && has_room(lane)) {
        const Message& next = lane.waiting.front();
        post(next);
        lane.open_bytes += next.bytes();
        lane.waiting.pop_front();
        ++lane.open;
    }
}

bool RowMessages::has_room(const Lane& lane) const {
    if (lane.open == 0) return true;
    return lane.open < setup_.most_open && lane.open_bytes + lane.waiting.front().bytes() <= setup_.most_open_bytes;
}

void RowMessages::post(const Message& message) {
    open_.push_back(message);
    MPI_Request* request = &requests_.emplace_back(MPI_REQUEST_NULL);
    const MPI_Comm comm = setup_.comm->mpi();
    const MPI_Datatype type = setup_.type->mpi();
    if (message.incoming) {
        check_mpi(MPI_Irecv(message.data, message.rows, type, message.peer, message.tag, comm, request), "MPI_Irecv");
        return;
    }
    check_mpi(MPI_Isend(message.data, message.rows, type, message.peer, message.tag, comm, request), "MPI_Isend");
    if (!setup_.traffic) return;
    if (setup_.carries == MessageSetup::Carries::rows)
        setup_.traffic->count(message.peer, message.rows, message.row_bytes);
    else
        setup_.traffic->count_beside(message.peer, std::size_t(message.rows) * message.row_bytes);
}

bool RowMessages::advance() {
    while (!requests_.empty()) {
        done_.resize(requests_.size());
        int count = 0;
        check_mpi(MPI_Testsome(int(requests_.size()), requests_.data(), &count, done_.data(), MPI_STATUSES_IGNORE),
                  "MPI_Testsome");
        if (count == MPI_UNDEFINED || count == 0) return false;
        // From the last, so that what fills a gap is not itself one.
        std::sort(done_.begin(), done_.begin() + count, std::greater<>());
        for (int i = 0; i < count; ++i) {
            const int at = done_[i];
            Lane& lane = lane_of(open_[at]);
            --lane.open;
            lane.open_bytes -= open_[at].bytes();
            open_[at] = open_.back();
            requests_[at] = requests_.back();
            open_.pop_back();
            requests_.pop_back();
        }
        post_waiting(coming_);
        post_waiting(leaving_);
    }
    return true;
}

std::string RowMessages::outstanding() const {
    std::map<int, std::int64_t> coming, leaving;  // rows by peer
    const auto add = [&](const Message& message) {
        (message.incoming ? coming : leaving)[message.peer_in_world] += message.rows;
    };
    std::ranges::for_each(open_, add);
    std::ranges::for_each(coming_.waiting, add);
    std::ranges::for_each(leaving_.waiting, add);
    const auto amount = [this](std::int64_t rows) {
        return setup_.carries == MessageSetup::Carries::rows ? rows_text(rows) : "counts";
    };
    std::string text;
    for (const auto& [peer, rows] : coming)
        text += concat(text.empty() ? "" : ", ", "rank ", peer, " (", amount(rows), ")");
    for (const auto& [peer, rows] : leaving)
        text += concat(text.empty() ? "" : ", ", "rank ", peer, " (to take ", amount(rows), ")");
    return text;
}

}  // namespace expar
