#include "row_type.hpp"

#include <limits>

#include "expar/comm/wait.hpp"

namespace expar {

MPI_Datatype mpi_type(DType dtype) {
    switch (dtype) {
        case DType::float64:
            return MPI_DOUBLE;
        case DType::float32:
            return MPI_FLOAT;
        case DType::bfloat16:
            return MPI_UINT16_T;
        case DType::int32:
            return MPI_INT;
    }
    throw Error(concat("no MPI type for ", name_of(dtype)));
}

RowType::RowType(int cols, DType dtype) {
    check_mpi(MPI_Type_contiguous(cols, mpi_type(dtype), &type_), "MPI_Type_contiguous");
    check_mpi(MPI_Type_commit(&type_), "MPI_Type_commit");
}

RowType::~RowType() {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (!finalized) MPI_Type_free(&type_);
}

std::shared_ptr<const RowType> RowTypeCache::of(int cols, DType dtype) {
    auto& type = types_[{cols, dtype}];
    if (!type) type = std::make_shared<const RowType>(cols, dtype);
    return type;
}

std::vector<int> row_offsets(std::span<const int> counts, const char* what) {
    std::vector<int> offsets = {0};
    std::int64_t sum = 0;
    for (std::size_t rank = 0; rank < counts.size(); ++rank) {
        if (counts[rank] < 0) throw Error(concat(what, ": ", counts[rank], " rows for rank ", rank));
        sum += counts[rank];
        if (sum > std::numeric_limits<int>::max())
            throw Error(concat(what, ": more than ", std::numeric_limits<int>::max(), " rows in one call"));
        offsets.push_back(int(sum));
    }
    return offsets;
}

void check_contiguous(ConstRows view, const char* what) {
    if (!view.contiguous()) throw Error(concat(what, ": a matrix with gaps between its rows"));
}

int int_count(std::size_t count, const char* what) {
    if (count > std::size_t(std::numeric_limits<int>::max()))
        throw Error(concat(what, ": ", count, " elements, expected at most ", std::numeric_limits<int>::max()));
    return int(count);
}

std::string grouped(std::int64_t number) {
    const std::string digits = std::to_string(number);
    std::string text;
    for (std::size_t at = 0; at < digits.size(); ++at) {
        if (at > 0 && (digits.size() - at) % 3 == 0) text += ',';
        text += digits[at];
    }
    return text;
}

std::string rows_text(std::int64_t rows) {
    return concat(grouped(rows), rows == 1 ? " row" : " rows");
}

}  // namespace expar
