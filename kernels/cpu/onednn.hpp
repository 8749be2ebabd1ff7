#pragma once

namespace expar {

// The one place that calls oneDNN.

/// How a factor lies in memory, against how the product reads it.
enum class Layout { plain, transposed };

struct Factor {
    const float* data;
    long stride;
    Layout layout;
};

/// c [m, n] = a [m, k] b [k, n] + beta c, rows of c `c_stride` apart. Runs on the calling thread inside a parallel
/// region, else on all threads of OpenMP.
void single_product(long m, long n, long k, Factor a, Factor b, float beta, float* c, long c_stride);

}  // namespace expar
