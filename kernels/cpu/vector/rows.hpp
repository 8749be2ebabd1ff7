#pragma once

#include "../vector_kernels.hpp"
#include "lanes.hpp"
#include "pair.hpp"

namespace expar {

// Past the caches goes what fills a vector or two; the rest of a row is stored as always.
enum class Path { through_caches, past_caches };
template <Path path, class Vector, class Element>
[[gnu::always_inline]] inline void store(Vector value, Element* to, AllLanes lanes) {
    if constexpr (path == Path::past_caches)
        value.store_past_caches(to);
    else
        value.store(to, lanes);
}
template <Path path, class Vector, class Element>
[[gnu::always_inline]] inline void store(Vector value, Element* to, FirstLanes first) {
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

// Asks for part of a row that comes next. Rows lie apart, so that the processor does not do it by itself.
template <class Element>
[[gnu::always_inline]] inline void fetch(const Element* from, int count) {
    constexpr int line = 64 / int(sizeof(Element));
    for (int i = 0; i < count; i += line) __builtin_prefetch(from + i);
}
template <class Element>
[[gnu::always_inline]] inline void fetch_next(const RowTerms<Element>& terms, long i, int count) {
    for (int j = 0; j < terms.next_count; ++j) fetch(terms.next[j] + i, count);
}

template <class Vector, Path path, class Element>
void weighted_sum_of_rows(const RowTerms<Element>& terms, Element* out, long count) {
    for_each_pair<Vector>(count, [=]<class V>(long i, Lanes<V>, auto lanes) {
        fetch_next(terms, i, V::width);
        V total = V::all(0);
        for (int j = 0; j < terms.count; ++j)
            total = fma(V::all(terms.weights[j]), V::load(terms.rows[j] + i, lanes), total);
        store<path>(total, out + i, lanes);
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

template <class Vector, Path path, class Element>
float scale_and_dot_row(const RowProduct<Element>& product, Element* out, long count) {
    return sum_of_pairs<Vector>(count, [=]<class V>(long i, Lanes<V>, auto lanes, V chain) {
        if (product.next) fetch(product.next + i, V::width);
        const V value = V::load(product.in + i, lanes);
        store<path>(V::all(product.factor) * value, out + i, lanes);
        return fma(value, V::load(product.other + i, lanes), chain);
    });
}

template <class Vector, Path path, class Element>
void sum_of_sums_of_rows(const RowTerms<Element>& terms, RowRuns groups, Element* out, long count) {
    for_each_pair<Vector>(count, [=]<class V>(long i, Lanes<V>, auto lanes) {
        fetch_next(terms, i, V::width);
        V total = V::all(0);
        for (int g = 0, j = 0; g < groups.count; ++g) {
            V part = V::all(0);
            for (; j < groups.ends[g]; ++j)
                part = fma(V::all(terms.weights[j]), V::load(terms.rows[j] + i, lanes), part);
            total = total + part.rounded_as(out);
        }
        store<path>(total, out + i, lanes);
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
constexpr RowKernels<Element> row_kernels = {
    scale_row<Vector, Element>,
    add_scaled_row<Vector, Element>,
    add_row<Vector, Element, Element>,
    add_row<Vector, Element, float>,
    dot_of_rows<Vector, Element>,
    sum_of_squares_of<Vector, Element>,
    copy_row_past_caches<Vector, Element>,
    {weighted_sum_of_rows<Vector, Path::through_caches, Element>,
     weighted_sum_of_rows<Vector, Path::past_caches, Element>},
    {sum_of_sums_of_rows<Vector, Path::through_caches, Element>,
     sum_of_sums_of_rows<Vector, Path::past_caches, Element>},
    {scale_and_dot_row<Vector, Path::through_caches, Element>, scale_and_dot_row<Vector, Path::past_caches, Element>},
};

}  // namespace expar
