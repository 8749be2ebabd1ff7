#include "expar/moe/dispatcher.hpp"

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

}  // namespace expar
