#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "expar/comm/communicator.hpp"
#include "expar/comm/traffic.hpp"
#include "row_type.hpp"

namespace expar {

/// What messages share. What they need to be posted later is owned: a transfer may outlive its exchange.
struct MessageSetup {
    enum class Carries { rows, counts };  ///< counts: what an algorithm says about rows, a number each

    std::shared_ptr<const RowType> type;
    std::shared_ptr<const Communicator> comm;
    std::shared_ptr<Traffic> traffic;                                       ///< counts what is sent; null: nobody does
    int most_open = std::numeric_limits<int>::max();                        ///< at once, in each direction
    std::size_t most_bytes = std::numeric_limits<std::size_t>::max();       ///< of a message of more than one row
    std::size_t most_open_bytes = std::numeric_limits<std::size_t>::max();  ///< of several at once, in each direction
    Carries carries = Carries::rows;
};

/// Rows under way, to and from any ranks, cut into messages that are posted in the order of the calls.
///
/// Two ranks whose calls are in one order, that of all messages between all ranks, never wait for each other in a
/// circle: the first message that has not arrived is posted on both sides.
class RowMessages : public Transfer::Work {
public:
    explicit RowMessages(MessageSetup setup) : setup_(std::move(setup)) {}

    void receive(Rows rows, int from, int tag);
    void send(ConstRows rows, int to, int tag);

    bool advance() override;
    [[nodiscard]] bool has_stages() const override { return !coming_.waiting.empty() || !leaving_.waiting.empty(); }
    [[nodiscard]] std::string outstanding() const override;

private:
    struct Message {
        void* data;
        int rows;
        std::size_t row_bytes;
        int peer;
        int peer_in_world;
        int tag;
        bool incoming;

        [[nodiscard]] std::size_t bytes() const { return std::size_t(rows) * row_bytes; }
    };
    struct Lane {
        std::deque<Message> waiting;
        int open = 0;
        std::size_t open_bytes = 0;
    };

    [[nodiscard]] Lane& lane_of(const Message& message) { return message.incoming ? coming_ : leaving_; }
    void post(const Message& message);
    [[nodiscard]] bool has_room(const Lane& lane) const;  // for the first that waits
    void post_waiting(Lane& lane);

    MessageSetup setup_;
    Lane coming_, leaving_;
    std::vector<MPI_Request> requests_;  // of open_
    std::vector<Message> open_;
    std::vector<int> done_;  // room for MPI's answer
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
