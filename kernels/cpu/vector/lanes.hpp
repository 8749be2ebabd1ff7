#pragma once

namespace expar {

// Which lanes of a vector a load or store touches: all of them, or the first ones at the end of a row. Arithmetic is
// the same for both, so that an element's bits do not depend on where in a row it stands.
struct AllLanes {};
struct FirstLanes {
    int count;
};

/// Calls body(i, lanes) for i = 0, width, 2 width, … below `count`.
template <class Vector, class Body>
[[gnu::always_inline]] inline void for_each_vector(long count, Body body) {
    long i = 0;
    for (; i + Vector::width <= count; i += Vector::width) body(i, AllLanes{});
    if (i < count) body(i, FirstLanes{int(count - i)});
}

/// The sum of two chains, chain = term(i, lanes, chain), so that an addition need not wait for the one before it.
template <class Vector, class Term>
[[gnu::always_inline]] inline float sum_of_terms(long count, Term term) {
    Vector even = Vector::all(0), odd = Vector::all(0);
    long i = 0;
    for (; i + 2 * Vector::width <= count; i += 2 * Vector::width) {
        even = term(i, AllLanes{}, even);
        odd = term(i + Vector::width, AllLanes{}, odd);
    }
    for_each_vector<Vector>(count - i, [&](long at, auto lanes) { even = term(i + at, lanes, even); });
    return sum(even + odd);
}

}  // namespace expar
