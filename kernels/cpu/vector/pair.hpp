#pragma once

#include "../vector_kernels.hpp"
#include "lanes.hpp"

namespace expar {

/// 2 Vector::width consecutive elements in the order in which they are loaded and stored at the least cost: of
/// bfloat16, first those of even, then those of odd index. Lanes do not meet but in sums of a row.
template <class Vector>
struct Pair {
    static constexpr int width = 2 * Vector::width;

    Vector first, second;

    // As a vector has them, so that there are pairs of pairs.
    template <class Element>
    static void load_pair(const Element* from, Pair& a, Pair& b) {
        a = load(from);
        b = load(from + width);
    }
    template <class Element>
    static void store_pair(Pair a, Pair b, Element* to) {
        a.store(to);
        b.store(to + width);
    }
    template <class Element>
    static void store_pair_past_caches(Pair a, Pair b, Element* to) {
        a.store_past_caches(to);
        b.store_past_caches(to + width);
    }

    static Pair all(float value) { return {Vector::all(value), Vector::all(value)}; }
    template <class Element>
    static Pair load(const Element* from, AllLanes = {}) {
        Pair pair;
        Vector::load_pair(from, pair.first, pair.second);
        return pair;
    }
    template <class Element>
    void store(Element* to, AllLanes = {}) const {
        Vector::store_pair(first, second, to);
    }
    template <class Element>
    void store_past_caches(Element* to) const {
        Vector::store_pair_past_caches(first, second, to);
    }
    template <class Element>
    [[nodiscard]] Pair rounded_as(const Element* type) const {
        return {first.rounded_as(type), second.rounded_as(type)};
    }
};

template <class Vector>
Pair<Vector> operator+(Pair<Vector> a, Pair<Vector> b) {
    return {a.first + b.first, a.second + b.second};
}
template <class Vector>
Pair<Vector> operator*(Pair<Vector> a, Pair<Vector> b) {
    return {a.first * b.first, a.second * b.second};
}
template <class Vector>
Pair<Vector> fma(Pair<Vector> a, Pair<Vector> b, Pair<Vector> c) {
    return {fma(a.first, b.first, c.first), fma(a.second, b.second, c.second)};
}

/// Calls body(i, Lanes<V>, lanes), V a pair of pairs as long as there is a whole one, then Pair, then Vector.
template <class V>
struct Lanes {};
template <class Vector, class Body>
[[gnu::always_inline]] inline void for_each_pair(long count, Body body) {
    constexpr int width = Pair<Vector>::width;
    long i = 0;
    for (; i + 2 * width <= count; i += 2 * width) body(i, Lanes<Pair<Pair<Vector>>>{}, AllLanes{});
    for (; i + width <= count; i += width) body(i, Lanes<Pair<Vector>>{}, AllLanes{});
    for_each_vector<Vector>(count - i, [&](long at, auto lanes) { body(i + at, Lanes<Vector>{}, lanes); });
}

/// The sum of two chains, chain = term(i, Lanes<V>, lanes, chain), V as for_each_pair has it: an addition need not wait
/// for the one before it.
template <class Vector, class Term>
[[gnu::always_inline]] inline float sum_of_pairs(long count, Term term) {
    constexpr int width = Pair<Vector>::width;
    Pair<Vector> chains = Pair<Vector>::all(0);
    long i = 0;
    for (; i + width <= count; i += width) chains = term(i, Lanes<Pair<Vector>>{}, AllLanes{}, chains);
    for_each_vector<Vector>(
        count - i, [&](long at, auto lanes) { chains.first = term(i + at, Lanes<Vector>{}, lanes, chains.first); });
    return sum(chains.first + chains.second);
}

}  // namespace expar
