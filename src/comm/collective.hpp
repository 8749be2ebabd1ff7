#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "drive_mpi.hpp"
#include "expar/comm/wait.hpp"
#include "row_type.hpp"

namespace expar {

/// What one collective moves, for the line that a hang leaves: "all-reduce of 12 values".
struct Moved {
    std::string_view operation;
    std::int64_t count = -1;  ///< -1: nothing
    std::string_view unit = "values";
};

/// One collective of MPI under way, with the memory that it uses. Shared: the caller reads results from it, and a
/// collective that timed out, which may still write there, keeps it.
class Collective : public Transfer::Work {
public:
    explicit Collective(Moved moved, std::shared_ptr<const void> memory = nullptr)
        : moved_(moved), memory_(std::move(memory)) {}

    [[nodiscard]] MPI_Request* request() { return &request_; }
    bool advance() override { return test(request_); }
    [[nodiscard]] std::string outstanding() const override {
        if (moved_.count < 0) return concat(moved_.operation, "; peers unknown");
        return concat(moved_.operation, " of ", grouped(moved_.count), " ", moved_.unit, "; peers unknown");
    }

private:
    Moved moved_;
    std::shared_ptr<const void> memory_;
    MPI_Request request_ = MPI_REQUEST_NULL;
};

}  // namespace expar
