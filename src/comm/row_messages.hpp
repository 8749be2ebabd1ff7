#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "expar/comm/communicator.hpp"
#include "row_type.hpp"

namespace expar {

/// Messages of rows under way, to and from any ranks.
class RowMessages : public Transfer::Work {
public:
    explicit RowMessages(std::shared_ptr<const RowType> type) : type_(std::move(type)) {}

    void receive(Rows rows, int from, int tag, const Communicator& comm);
    void send(ConstRows rows, int to, int tag, const Communicator& comm);

    std::span<MPI_Request> requests() override { return requests_; }
    [[nodiscard]] std::string outstanding() const override;

private:
    struct Message {
        int peer;  // in MPI_COMM_WORLD
        int rows;
        bool incoming;
    };

    MPI_Request* add(int peer, int rows, bool incoming);

    std::shared_ptr<const RowType> type_;
    std::vector<MPI_Request> requests_;
    std::vector<Message> messages_;
};

/// The first rows of `left`, which it loses: as many as `most_bytes` hold, but one at least.
template <class View>
[[nodiscard]] View take_message(View& left, std::size_t most_bytes) {
    const std::size_t fitting = most_bytes / std::max<std::size_t>(left.row_bytes(), 1);
    const int rows = int(std::clamp<std::size_t>(fitting, 1, std::size_t(left.rows())));
    const View message = left.slice(0, rows);
    left = left.slice(rows, left.rows() - rows);
    return message;
}

}  // namespace expar
