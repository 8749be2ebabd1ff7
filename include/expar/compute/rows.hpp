#pragma once

#include <span>

#include "expar/base/matrix.hpp"
#include "expar/compute/matrix_product.hpp"

namespace expar {

/// Two matrices of equal width read as one, the second below the first: rows that stayed, and rows that were received.
struct Stacked {
    ConstRows first;
    ConstRows second;
    Stacked(ConstRows above, ConstRows below) : first(above), second(below) {}
    Stacked(ConstRows only) : first(only), second(nullptr, 0, only.cols(), only.dtype()) {}  // NOLINT: one is a stack
};

/// Rows of matrices that lie apart, `choices` of them for each row of another matrix: choice i is row row_of[i] of the
/// contiguous matrix that begins at bases[base_of[i]].
struct Places {
    std::span<void* const> bases;
    std::span<const int> base_of;  ///< [n, k] flat; -1: no row
    std::span<const int> row_of;   ///< [n, k] flat
    int cols = 0;
    DType dtype = DType::float32;
};

/// How rows are stored: so that they are in this processor's caches, or past them, which is faster where they do not
/// fit.
enum class Stores { ordinary, past_caches };

/// Moving and adding whole rows. An index of -1 means no row. Rows of one call are of one dtype but where it says
/// otherwise; weights, logits and their gradients are of the wide one. Each element is rounded once, when it is
/// written.
class RowOperations {
public:
    virtual ~RowOperations() = default;

    /// out[i] = in[index[i]]; a row of zeros where the index is -1. `out` may be of another dtype.
    virtual void gather(Stacked in, std::span<const int> index, Rows out, Stores stores, Stream& stream) const = 0;
    void gather(Stacked in, std::span<const int> index, Rows out, Stream& stream) const {
        gather(in, index, out, Stores::ordinary, stream);
    }

    /// The one sum of combine: for j = 0, 1, … in order, skipping -1, acc = fma(w[i][j], in[index[i][j]], acc), from
    /// acc = 0, in the wide type.   index [n, k] flat; weights [n, k], or no rows at all: every weight is 1
    virtual void weighted_sum(Stacked in, std::span<const int> index, ConstRows weights, Rows out,
                              Stream& stream) const = 0;

    /// Rows that weighted_sum added up, one a row.
    struct Terms {
        ConstRows rows;     ///< [n, C]
        ConstRows weights;  ///< [n, 1]
    };
    /// The way back to them from the gradient d = d_sums[index[i]] of the sum that each is in: d_terms[i] = weight[i]
    /// d, and d_weights[i] = rows[i] · d in an order that depends on the width alone.   d_terms [n, C], d_weights [n,
    /// 1]
    virtual void weighted_sum_backward(Stacked d_sums, std::span<const int> index, const Terms& terms, Rows d_terms,
                                       Rows d_weights, Stream& stream) const = 0;

    /// Each row of `in` to its k places. They are seen by other processes before what this thread stores afterwards.
    virtual void store(ConstRows in, const Places& out, Stores stores, Stream& stream) const = 0;

    /// In which order a sum over places is made: by choice; or the choices of each base on their own, rounded to the
    /// dtype of rows, then these sums by ascending base.
    enum class Order { by_choice, by_base };
    struct Summing {
        Order order = Order::by_choice;
        Stores stores = Stores::ordinary;
    };
    /// out[i] = the sum of its k places as weighted_sum makes it.   weights [n, k], or no rows at all: every weight is
    /// 1
    virtual void weighted_sum(const Places& in, ConstRows weights, Summing summing, Rows out, Stream& stream) const = 0;

    /// The way back from it, as weighted_sum_backward goes it: d_terms at i = weights[i] d_sums[i / k], and
    /// d_weights[i] = the term at i · d_sums[i / k], 0 where there is none.   weights, d_weights [n, k]; terms and
    /// d_terms differ in bases alone
    struct PlacedTerms {
        std::span<void* const> d_bases;
        Places terms;
        ConstRows weights;
    };
    virtual void weighted_sum_backward(ConstRows d_sums, const PlacedTerms& terms, Stores stores, Rows d_weights,
                                       Stream& stream) const = 0;

    /// out[index[i]] += in[i], for i ascending. `out` may also be float32.
    virtual void scatter_add(ConstRows in, std::span<const int> index, Rows out, Stream& stream) const = 0;

    /// out += in, element by element
    virtual void add(ConstRows in, Rows out, Stream& stream) const = 0;

    /// out[i] (+)= gate(i) in[i] with gate = sigmoid(logit[i]).   logit [n, 1]
    virtual void sigmoid_gate(ConstRows in, ConstRows logit, Rows out, Write write, Stream& stream) const = 0;
    /// From d_out of sigmoid_gate: d_in[i] = gate(i) d_out[i], d_logit[i] = gate(i) (1 - gate(i)) (in[i] · d_out[i])
    virtual void sigmoid_gate_backward(ConstRows in, ConstRows logit, ConstRows d_out, Rows d_in, Rows d_logit,
                                       Stream& stream) const = 0;
};

}  // namespace expar
