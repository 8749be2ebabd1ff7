#include "expar/comm/traffic.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

#include "expar/base/error.hpp"

namespace expar {
namespace {

void add(std::vector<std::int64_t>& sums, const std::vector<std::int64_t>& values) {
    std::ranges::transform(sums, values, sums.begin(), std::plus<>());
}

}  // namespace

void Traffic::count(int peer, int rows, std::size_t row_bytes) {
    const auto bytes = std::int64_t(rows) * std::int64_t(row_bytes);
    rows_to[peer] += rows;
    bytes_to[peer] += bytes;
    messages_to[peer] += bytes > 0;
}

void Traffic::count_beside(int peer, std::size_t bytes) {
    bytes_to[peer] += std::int64_t(bytes);
    messages_to[peer] += bytes > 0;
}

std::int64_t Traffic::total_rows() const {
    return std::accumulate(rows_to.begin(), rows_to.end(), std::int64_t(0));
}

std::int64_t Traffic::total_bytes() const {
    return std::accumulate(bytes_to.begin(), bytes_to.end(), std::int64_t(0));
}

Traffic& Traffic::operator+=(const Traffic& other) {
    if (other.rows_to.size() != rows_to.size())
        throw Error(concat("traffic: adds counts of ", other.rows_to.size(), " ranks to those of ", rows_to.size()));
    add(rows_to, other.rows_to);
    add(bytes_to, other.bytes_to);
    add(messages_to, other.messages_to);
    return *this;
}

}  // namespace expar
