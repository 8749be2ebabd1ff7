#include "expar/compute/attention.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "operations.hpp"

namespace expar {
namespace {

template <class Element>
std::span<const Element> head_of(ConstRows rows, int row, int head, int head_size) {
    return rows.row<Element>(row).subspan(std::size_t(head) * head_size, head_size);
}

template <class Element>
double dot(std::span<const Element> a, std::span<const Element> b) {
    double sum = 0;
    for (std::size_t c = 0; c < a.size(); ++c) sum += double(a[c]) * double(b[c]);
    return sum;
}

// One query of one head against keys first_key … first_key + keys.
struct Query {
    int row, head, first_key, keys;
};

// Calls work(Query) for every query of every sequence and head.
template <class Work>
void for_each_query(const AttentionShape& shape, const AttentionSpans& spans, Work&& work) {
    for (std::size_t s = 0; s + 1 < spans.query_offsets.size(); ++s) {
        const int queries = spans.query_offsets[s + 1] - spans.query_offsets[s];
        const int keys = spans.key_offsets[s + 1] - spans.key_offsets[s];
        for (int i = 0; i < queries; ++i)
            for (int head = 0; head < shape.heads; ++head)
                work(Query{spans.query_offsets[s] + i, head, spans.key_offsets[s], keys - queries + i + 1});
    }
}

template <class Element>
void forward_query(const AttentionShape& shape, const Query& query, const AttentionOperations::Inputs& in,
                   std::span<Element> out, Wide<Element>& log_sum_exp) {
    const int d = shape.head_size;
    const int kv_head = query.head / (shape.heads / shape.kv_heads);
    std::vector<double> weights(query.keys);
    for (int j = 0; j < query.keys; ++j)
        weights[j] = dot(head_of<Element>(in.q, query.row, query.head, d),
                         head_of<Element>(in.k, query.first_key + j, kv_head, d)) /
                     std::sqrt(double(d));
    const double largest = *std::ranges::max_element(weights);
    double sum = 0;
    for (double& weight : weights) sum += weight = std::exp(weight - largest);
    log_sum_exp = Wide<Element>(largest + std::log(sum));
    for (int c = 0; c < d; ++c) {
        double value = 0;
        for (int j = 0; j < query.keys; ++j)
            value += weights[j] / sum * double(head_of<Element>(in.v, query.first_key + j, kv_head, d)[c]);
        out[c] = rounded<Element>(value);
    }
}

// float64 sums of the three gradients, flat as the matrices.
struct Sums {
    std::vector<double> d_q, d_k, d_v;
};

template <class Element>
void backward_query(const AttentionShape& shape, const Query& query, const AttentionOperations::Saved& saved,
                    ConstRows d_out, Sums& sums) {
    const int d = shape.head_size;
    const int kv_head = query.head / (shape.heads / shape.kv_heads);
    const double scale = 1 / std::sqrt(double(d));
    const auto q = head_of<Element>(saved.in.q, query.row, query.head, d);
    const auto d_o = head_of<Element>(d_out, query.row, query.head, d);
    const double out_dot = dot(d_o, head_of<Element>(saved.out, query.row, query.head, d));
    const std::size_t q_at = (std::size_t(query.row) * shape.heads + query.head) * d;
    for (int j = 0; j < query.keys; ++j) {
        const int key = query.first_key + j;
        const auto k = head_of<Element>(saved.in.k, key, kv_head, d);
        const std::size_t kv_at = (std::size_t(key) * shape.kv_heads + kv_head) * d;
        const double probability =
            std::exp(dot(q, k) * scale - double(saved.log_sum_exp.row<Wide<Element>>(query.row)[query.head]));
        const double d_score =
            scale * probability * (dot(d_o, head_of<Element>(saved.in.v, key, kv_head, d)) - out_dot);
        for (int c = 0; c < d; ++c) {
            sums.d_q[q_at + c] += d_score * double(k[c]);
            sums.d_k[kv_at + c] += d_score * double(q[c]);
            sums.d_v[kv_at + c] += probability * double(d_o[c]);
        }
    }
}

template <class Element>
void round_to(const std::vector<double>& sums, Rows out) {
    for (int i = 0; i < out.rows(); ++i)
        for (int c = 0; c < out.cols(); ++c)
            out.row<Element>(i)[c] = rounded<Element>(sums[std::size_t(i) * out.cols() + c]);
}

class ReferenceAttention final : public AttentionOperations {
public:
    void rotate(Rows x, std::span<const int> positions, int head_size, double theta, int direction,
                Stream&) const override {
        const int half = head_size / 2;
        with_element(x.dtype(), [&]<class Element>(Element) {
            for (int t = 0; t < x.rows(); ++t)
                for (int first = 0; first < x.cols(); first += head_size)
                    for (int i = 0; i < half; ++i) {
                        const double angle = positions[t] * std::pow(theta, -2.0 * i / head_size);
                        const double cosine = std::cos(angle);
                        const double sine = direction * std::sin(angle);
                        Element& a = x.row<Element>(t)[first + i];
                        Element& b = x.row<Element>(t)[first + i + half];
                        const double a_before = double(a);
                        const double b_before = double(b);
                        a = rounded<Element>(a_before * cosine - b_before * sine);
                        b = rounded<Element>(b_before * cosine + a_before * sine);
                    }
        });
    }

    void forward(const AttentionShape& shape, const AttentionSpans& spans, const Inputs& in, Rows out, Rows log_sum_exp,
                 Stream&) const override {
        with_element(in.q.dtype(), [&]<class Element>(Element) {
            for_each_query(shape, spans, [&](const Query& query) {
                const auto out_head =
                    out.row<Element>(query.row).subspan(std::size_t(query.head) * shape.head_size, shape.head_size);
                forward_query<Element>(shape, query, in, out_head,
                                       log_sum_exp.row<Wide<Element>>(query.row)[query.head]);
            });
        });
    }

    void backward(const AttentionShape& shape, std::span<const int> offsets, const Saved& saved, ConstRows d_out,
                  const Gradients& gradients, Stream&) const override {
        const auto elements = [](Rows rows) { return std::size_t(rows.rows()) * rows.cols(); };
        Sums sums{std::vector<double>(elements(gradients.d_q)), std::vector<double>(elements(gradients.d_k)),
                  std::vector<double>(elements(gradients.d_v))};
        with_element(saved.in.q.dtype(), [&]<class Element>(Element) {
            for_each_query(shape, {offsets, offsets},
                           [&](const Query& query) { backward_query<Element>(shape, query, saved, d_out, sums); });
            round_to<Element>(sums.d_q, gradients.d_q);
            round_to<Element>(sums.d_k, gradients.d_k);
            round_to<Element>(sums.d_v, gradients.d_v);
        });
    }
};

}  // namespace

std::unique_ptr<AttentionOperations> make_reference_attention() {
    return std::make_unique<ReferenceAttention>();
}

}  // namespace expar
