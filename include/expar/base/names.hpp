#pragma once

#include <string>
#include <string_view>

#include "expar/base/error.hpp"

namespace expar {

/// A value and what files and flags call it: an entry of a table of choices.
template <class T>
struct Named {
    std::string_view name;
    T value;
};

/// "swiglu, gelu, …": the names of a table whose entries have one.
template <class Table>
[[nodiscard]] std::string names_of(const Table& table) {
    std::string names;
    for (const auto& entry : table) names += concat(names.empty() ? "" : ", ", entry.name);
    return names;
}

/// The entry of that name. Throws UserError that lists the known ones.
template <class Table>
[[nodiscard]] const auto& entry_named(const Table& table, std::string_view what, std::string_view name) {
    for (const auto& entry : table)
        if (entry.name == name) return entry;
    throw UserError(concat("unknown ", what, " '", name, "'; known: ", names_of(table)));
}

}  // namespace expar
