#include "expar/moe/dispatcher.hpp"

#include "expar/base/names.hpp"

namespace expar {
namespace {

struct MatrixLease : LentRows::Lease {
    explicit MatrixLease(Matrix owned) : matrix(std::move(owned)) {}
    Matrix matrix;
};

}  // namespace

LentRows::LentRows(Matrix matrix) {
    auto lease = std::make_unique<MatrixLease>(std::move(matrix));
    rows_ = lease->matrix.view();
    lease_ = std::move(lease);
}

std::unique_ptr<Dispatcher> make_dispatcher(std::string_view name, std::string_view exchange, const Communicator& group,
                                            Device& device) {
    return entry_named(dispatcher_kinds, "dispatcher", name).make(exchange, group, device);
}

std::vector<std::string> dispatcher_names() {
    std::vector<std::string> names;
    for (const DispatcherKind& kind : dispatcher_kinds) names.emplace_back(kind.name);
    return names;
}

}  // namespace expar
