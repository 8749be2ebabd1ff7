#pragma once

#include <mpi.h>

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "expar/base/matrix.hpp"

namespace expar {

[[nodiscard]] MPI_Datatype mpi_type(DType dtype);

/// One row as a type of MPI, so that its int counts and displacements count rows: more than 2 GiB between a pair is
/// then nothing special.
class RowType {
public:
    RowType(int cols, DType dtype);
    ~RowType();
    RowType(const RowType&) = delete;
    RowType& operator=(const RowType&) = delete;

    [[nodiscard]] MPI_Datatype mpi() const { return type_; }

private:
    MPI_Datatype type_ = MPI_DATATYPE_NULL;
};

/// The row types that an exchange has met. Shared with the transfers under way, which may outlive it.
class RowTypeCache {
public:
    [[nodiscard]] std::shared_ptr<const RowType> of(int cols, DType dtype);

private:
    std::map<std::pair<int, DType>, std::shared_ptr<const RowType>> types_;
};

/// Where each rank's rows start, and after the last the sum of all. Throws Error on a negative count, and when the sum
/// exceeds an int, which is all that MPI's displacements hold.
[[nodiscard]] std::vector<int> row_offsets(std::span<const int> counts, const char* what);

/// Throws Error unless the rows lie one behind the other.
void check_contiguous(ConstRows view, const char* what);

/// `count` as MPI's int. Throws Error when it does not fit.
[[nodiscard]] int int_count(std::size_t count, const char* what);

/// 1024 as "1,024"; not for negative numbers.
[[nodiscard]] std::string grouped(std::int64_t number);
/// "1 row", "1,024 rows".
[[nodiscard]] std::string rows_text(std::int64_t rows);

}  // namespace expar
