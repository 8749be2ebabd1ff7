#pragma once

#include <type_traits>

#include "../vector_kernels.hpp"
#include "lanes.hpp"

namespace expar {

// Part of a vector does not fill a line: it is stored as always.
template <class Vector, class Element>
[[gnu::always_inline]] inline void store_past_caches(Vector value, Element* to, AllLanes) {
    value.store_past_caches(to);
}
template <class Vector, class Element>
[[gnu::always_inline]] inline void store_past_caches(Vector value, Element* to, FirstLanes first) {
    value.store(to, first);
}

template <class Vector, class Element>
void scale_row(float factor, const Element* in, Element* out, long count) {
    for_each_vector<Vector>(
        count, [=](long i, auto lanes) { (Vector::all(factor) * Vector::load(in + i, lanes)).store(out + i, lanes); });
}

template <class Vector, class Element>
void add_scaled_row(float factor, const Element* in, Element* out, long count) {
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        fma(Vector::all(factor), Vector::load(in + i, lanes), Vector::load(out + i, lanes)).store(out + i, lanes);
    });
}

template <class Vector, class From, class To>
void add_row(const From* in, To* out, long count) {
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        (Vector::load(out + i, lanes) + Vector::load(in + i, lanes)).store(out + i, lanes);
    });
}

// Calls body(i, parts, lanes) with several vectors at once, an integral constant, as long as there are as many: what is
// added up over rows then has several chains, and the loop over rows is begun less often.
template <class Vector, class Body>
[[gnu::always_inline]] inline void for_each_block(long count, Body body) {
    constexpr int several = 4;
    long i = 0;
    for (; i + several * Vector::width <= count; i += several * Vector::width)
        body(i, std::integral_constant<int, several>{}, AllLanes{});
    for_each_vector<Vector>(count - i,
                            [&](long at, auto lanes) { body(i + at, std::integral_constant<int, 1>{}, lanes); });
}

template <class Vector, class Element>
void weighted_sum_of_rows(const Element* const* rows, const float* weights, int terms, Element* out, long count) {
    for_each_block<Vector>(count, [=](long i, auto parts, auto lanes) {
        Vector total[parts];
        for (Vector& part : total) part = Vector::all(0);
        for (int j = 0; j < terms; ++j) {
            const Vector weight = Vector::all(weights[j]);
            for (int p = 0; p < parts; ++p)
                total[p] = fma(weight, Vector::load(rows[j] + i + p * Vector::width, lanes), total[p]);
        }
        for (int p = 0; p < parts; ++p) total[p].store(out + i + p * Vector::width, lanes);
    });
}

template <class Vector, class Element>
float dot_of_rows(const Element* a, const Element* b, long count) {
    return sum_of_terms<Vector>(count, [=](long i, auto lanes, Vector chain) {
        return fma(Vector::load(a + i, lanes), Vector::load(b + i, lanes), chain);
    });
}

template <class Vector, class Element>
double sum_of_squares_of(const Element* in, long count) {
    constexpr int chains = 4;
    typename Vector::Doubles sums[chains] = {};
    long i = 0;
    for (; i + chains * Vector::width <= count; i += chains * Vector::width)
        for (int c = 0; c < chains; ++c) sums[c] = add_squares(Vector::load(in + i + c * Vector::width), sums[c]);
    for_each_vector<Vector>(
        count - i, [&](long at, auto lanes) { sums[0] = add_squares(Vector::load(in + i + at, lanes), sums[0]); });
    return (sum(sums[0]) + sum(sums[1])) + (sum(sums[2]) + sum(sums[3]));
}

template <class Vector, class Element>
float scale_and_dot_row(float factor, const Element* a, const Element* b, Element* out, long count) {
    return sum_of_terms<Vector>(count, [=](long i, auto lanes, Vector chain) {
        const Vector value = Vector::load(a + i, lanes);
        (Vector::all(factor) * value).store(out + i, lanes);
        return fma(value, Vector::load(b + i, lanes), chain);
    });
}

template <class Vector, class Element>
void sum_of_sums_of_rows(const Element* const* rows, const float* weights, RowRuns groups, Element* out, long count) {
    for_each_block<Vector>(count, [=](long i, auto parts, auto lanes) {
        Vector total[parts], group[parts];
        for (Vector& part : total) part = Vector::all(0);
        for (int g = 0, j = 0; g < groups.count; ++g) {
            for (Vector& part : group) part = Vector::all(0);
            for (; j < groups.ends[g]; ++j) {
                const Vector weight = Vector::all(weights[j]);
                for (int p = 0; p < parts; ++p)
                    group[p] = fma(weight, Vector::load(rows[j] + i + p * Vector::width, lanes), group[p]);
            }
            for (int p = 0; p < parts; ++p) total[p] = total[p] + group[p].rounded_as(out);
        }
        for (int p = 0; p < parts; ++p) total[p].store(out + i + p * Vector::width, lanes);
    });
}

template <class Vector, class Element>
void copy_row_past_caches(const Element* in, Element* out, long count) {
    constexpr long line = 64 / sizeof(Element);
    long i = 0;
    for (; i + line <= count; i += line) Vector::copy_line_past_caches(in + i, out + i);
    for (; i < count; ++i) out[i] = in[i];
}

template <class Vector, class Element>
float scale_and_dot_row_past_caches(float factor, const Element* a, const Element* b, Element* out, long count) {
    return sum_of_terms<Vector>(count, [=](long i, auto lanes, Vector chain) {
        const Vector value = Vector::load(a + i, lanes);
        store_past_caches(Vector::all(factor) * value, out + i, lanes);
        return fma(value, Vector::load(b + i, lanes), chain);
    });
}

template <class Vector, class Element>
constexpr RowKernels<Element> row_kernels = {
    scale_row<Vector, Element>,
    add_scaled_row<Vector, Element>,
    add_row<Vector, Element, Element>,
    add_row<Vector, Element, float>,
    weighted_sum_of_rows<Vector, Element>,
    dot_of_rows<Vector, Element>,
    sum_of_squares_of<Vector, Element>,
    scale_and_dot_row<Vector, Element>,
    sum_of_sums_of_rows<Vector, Element>,
    copy_row_past_caches<Vector, Element>,
    scale_and_dot_row_past_caches<Vector, Element>,
};

}  // namespace expar
