#pragma once

#include "../vector_kernels.hpp"
#include "math.hpp"

namespace expar {

template <class Vector>
void scale_row(float factor, const float* in, float* out, long count) {
    for_each_vector<Vector>(
        count, [=](long i, auto lanes) { (Vector::all(factor) * Vector::load(in + i, lanes)).store(out + i, lanes); });
}

template <class Vector>
void add_scaled_row(float factor, const float* in, float* out, long count) {
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        fma(Vector::all(factor), Vector::load(in + i, lanes), Vector::load(out + i, lanes)).store(out + i, lanes);
    });
}

template <class Vector>
void add_row(const float* in, float* out, long count) {
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        (Vector::load(out + i, lanes) + Vector::load(in + i, lanes)).store(out + i, lanes);
    });
}

template <class Vector>
void weighted_sum_of_rows(const float* const* rows, const float* weights, int terms, float* out, long count) {
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        Vector total = Vector::all(0);
        for (int j = 0; j < terms; ++j) total = fma(Vector::all(weights[j]), Vector::load(rows[j] + i, lanes), total);
        total.store(out + i, lanes);
    });
}

template <class Vector>
float dot_of_rows(const float* a, const float* b, long count) {
    return sum_of_terms<Vector>(count, [=](long i, auto lanes, Vector chain) {
        return fma(Vector::load(a + i, lanes), Vector::load(b + i, lanes), chain);
    });
}

template <class Vector>
void sigmoid_of(const float* in, float* out, long count) {
    for_each_vector<Vector>(count,
                            [=](long i, auto lanes) { sigmoid(Vector::load(in + i, lanes)).store(out + i, lanes); });
}

template <class Vector>
constexpr RowKernels row_kernels = {scale_row<Vector>,   add_scaled_row<Vector>,
                                    add_row<Vector>,     weighted_sum_of_rows<Vector>,
                                    dot_of_rows<Vector>, sigmoid_of<Vector>};

}  // namespace expar
