#include "expar/comm/exchange.hpp"

#include <cstring>
#include <new>
#include <utility>

#include "exchange_shape.hpp"
#include "expar/base/names.hpp"
#include "row_type.hpp"

namespace expar {
namespace {

void check_view(ConstRows view, int rows, const char* name) {
    if (view.rows() != rows)
        throw Error(concat("exchange: the ", name, " view has ", rows_text(view.rows()), ", the counts need ", rows));
    if (!view.contiguous()) throw Error(concat("exchange: the ", name, " view has gaps between its rows"));
}

}  // namespace

ExchangeShape check_exchange(ConstRows send, Rows recv, const RowCounts& counts, const Communicator& comm) {
    const auto ranks = std::size_t(comm.size());
    if (counts.send.size() != ranks || counts.recv.size() != ranks)
        throw Error(concat("exchange: counts for ", counts.send.size(), " and ", counts.recv.size(),
                           " ranks, expected ", ranks));
    ExchangeShape shape;
    shape.send_offsets = row_offsets(counts.send, "exchange: send");
    shape.recv_offsets = row_offsets(counts.recv, "exchange: receive");
    check_view(send, shape.send_offsets.back(), "send");
    check_view(recv, shape.recv_offsets.back(), "receive");
    if (counts.send[comm.rank()] != counts.recv[comm.rank()])
        throw Error(concat("exchange: rank ", comm.rank(), " sends itself ", counts.send[comm.rank()],
                           " rows and expects ", counts.recv[comm.rank()]));
    if (send.rows() > 0 && recv.rows() > 0 && (send.cols() != recv.cols() || send.dtype() != recv.dtype()))
        throw Error(concat("exchange: rows of ", send.cols(), " ", name_of(send.dtype()), " go out, rows of ",
                           recv.cols(), " ", name_of(recv.dtype()), " come in"));
    const ConstRows any = send.rows() > 0 ? send : ConstRows(recv);
    shape.cols = any.cols();
    shape.dtype = any.dtype();
    return shape;
}

void copy_own_rows(ConstRows send, Rows recv, const ExchangeShape& shape, int rank) {
    const ConstRows from = shape.part(send, shape.send_offsets, rank);
    const Rows to = shape.part(recv, shape.recv_offsets, rank);
    if (to.bytes() > 0) std::memcpy(to.data(), from.data(), to.bytes());
}

std::shared_ptr<std::byte> Exchange::lend(std::size_t bytes) {
    constexpr std::align_val_t alignment{64};
    return {static_cast<std::byte*>(::operator new(bytes, alignment)),
            [](std::byte* memory) { ::operator delete(memory, alignment); }};
}

std::unique_ptr<Exchange> make_exchange(std::string_view specification, const Communicator& comm) {
    const ExchangeSpec spec = parse_exchange(specification, comm.size());
    return entry_named(exchange_kinds, "exchange", spec.kind).make(comm, spec.options);
}

Topology topology_for(std::string_view specification, const Communicator& comm) {
    ExchangeSpec spec = parse_exchange(specification, comm.size());
    return spec.options.topology.node_of.empty() ? discover_topology(comm) : std::move(spec.options.topology);
}

std::vector<std::string> exchange_names() {
    std::vector<std::string> names;
    for (const ExchangeKind& kind : exchange_kinds) names.emplace_back(kind.name);
    return names;
}

}  // namespace expar
