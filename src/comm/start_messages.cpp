#include "expar/comm/start_messages.hpp"

#include <utility>
#include <vector>

#include "row_messages.hpp"

namespace expar {
namespace {

constexpr int message_tag = 0;  // messages of a pair keep their order

// Throws Error unless all rows are of one shape; null when there are none.
std::shared_ptr<const RowType> type_of(std::span<const RowsFrom> from, std::span<const RowsTo> to) {
    std::vector<ConstRows> views;
    for (const auto& [rank, rows] : from) views.push_back(rows);
    for (const auto& [rank, rows] : to) views.push_back(rows);
    std::erase_if(views, [](const ConstRows& view) { return view.bytes() == 0; });
    if (views.empty()) return nullptr;
    const ConstRows& first = views.front();
    for (const ConstRows& view : views) {
        check_contiguous(view, "messages");
        if (view.cols() != first.cols() || view.dtype() != first.dtype())
            throw Error(concat("messages: rows of ", view.cols(), " ", name_of(view.dtype()), " beside rows of ",
                               first.cols(), " ", name_of(first.dtype())));
    }
    return std::make_shared<const RowType>(first.cols(), first.dtype());
}

}  // namespace

Transfer start_messages(const Communicator& comm, std::span<const RowsFrom> from, std::span<const RowsTo> to,
                        std::size_t message_bytes, Occasion occasion) {
    auto type = type_of(from, to);
    if (!type) return {};
    // All are posted at once: the communicator is not needed afterwards.
    const std::shared_ptr<const Communicator> lent(std::shared_ptr<const void>(), &comm);
    auto work = std::make_unique<RowMessages>(
        MessageSetup{.type = std::move(type), .comm = lent, .traffic = nullptr, .most_bytes = message_bytes});
    for (const auto& [rank, rows] : from) work->receive(rows, rank, message_tag);
    for (const auto& [rank, rows] : to) work->send(rows, rank, message_tag);
    return {std::move(work), comm.policy(), occasion, comm.world_rank(comm.rank())};
}

}  // namespace expar
