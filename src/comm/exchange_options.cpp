#include <charconv>
#include <limits>

#include "expar/base/names.hpp"
#include "expar/comm/exchange.hpp"

namespace expar {
namespace {

// "64k": a whole number above 0, in units of 1024 or 1024 * 1024 bytes where a letter says so.
std::size_t number_of(std::string_view name, std::string_view text, std::size_t most) {
    std::size_t value = 0, unit = 1;
    auto digits = text;
    if (digits.ends_with('k')) unit = 1024;
    if (digits.ends_with('m')) unit = 1024 * 1024;
    if (unit > 1) digits.remove_suffix(1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    const bool whole = error == std::errc() && end == digits.data() + digits.size();
    if (!whole || value < 1 || value > most / unit)
        throw UserError(concat("exchange option ", name, ": '", text, "', expected a whole number from 1 to ", most));
    return value * unit;
}

int count_of(std::string_view name, std::string_view text) {
    return int(number_of(name, text, std::size_t(std::numeric_limits<int>::max())));
}

struct Option {
    std::string_view name;
    void (*set)(ExchangeOptions& options, std::string_view value, int ranks);
};

constexpr std::array options_by_name = {
    Option{"message", [](ExchangeOptions& options, std::string_view value,
                         int) { options.message_bytes = number_of("message", value, std::size_t(1) << 40); }},
    Option{"lent", [](ExchangeOptions& options, std::string_view value,
                      int) { options.lent_bytes = number_of("lent", value, std::size_t(1) << 40); }},
    Option{"open", [](ExchangeOptions& options, std::string_view value,
                      int) { options.open_messages = count_of("open", value); }},
    Option{"flight", [](ExchangeOptions& options, std::string_view value,
                        int) { options.open_bytes = number_of("flight", value, std::size_t(1) << 40); }},
    Option{"costs",
           [](ExchangeOptions& options, std::string_view value, int) { options.costs_file = std::string(value); }},
    Option{"ranks-per-node",
           [](ExchangeOptions& options, std::string_view value, int ranks) {
               options.topology = topology_of(ranks, count_of("ranks-per-node", value));
           }},
};

// The text up to the next separator, which `left` loses.
std::string_view take_part(std::string_view& left, char separator) {
    const auto end = left.find(separator);
    const auto part = left.substr(0, end);
    left = end == std::string_view::npos ? std::string_view() : left.substr(end + 1);
    return part;
}

}  // namespace

ExchangeSpec parse_exchange(std::string_view specification, int ranks) {
    ExchangeSpec spec;
    spec.kind = take_part(specification, ':');
    (void)entry_named(exchange_kinds, "exchange", spec.kind);
    while (!specification.empty()) {
        std::string_view value = take_part(specification, ':');
        const auto name = take_part(value, '=');
        entry_named(options_by_name, "exchange option", name).set(spec.options, value, ranks);
    }
    return spec;
}

}  // namespace expar
