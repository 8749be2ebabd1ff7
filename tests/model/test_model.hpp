#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "expar/comm/layout.hpp"
#include "expar/model/transformer.hpp"
#include "support/random_rows.hpp"

namespace expar {

/// Small, with a gate, grouped queries and weights large enough that every part of it matters.
inline ModelOptions small_options() {
    ModelOptions options;
    options.vocabulary = 11;
    options.layers = 2;
    options.hidden = 8;
    options.heads = 4;
    options.kv_heads = 2;
    options.head_size = 4;
    options.intermediate = 6;
    options.experts = 4;
    options.top_k = 2;
    options.initial_std = 0.5;
    return options;
}

/// Values that norms do not start from: they are all 1, and would hide a norm that is forgotten.
inline void scatter_values(Rows values, std::uint64_t seed) {
    const RandomField field(seed, Purpose::test, 7);
    for_each_element(values, [&]<class Element>(Element& value, int r, int c) {
        const double factor =
            1 + 0.3 * field.normal(std::uint64_t(r) * std::uint64_t(values.cols()) + std::uint64_t(c));
        value = rounded<Element>(float(double(value) * factor));
    });
}

/// Sequences of the given lengths over the vocabulary, each predicting its next token.
inline MicroBatch random_batch(const std::vector<int>& lengths, int vocabulary, std::uint64_t seed) {
    const RandomField field(seed, Purpose::test, 3);
    MicroBatch batch;
    std::uint64_t drawn = 0;
    for (const int length : lengths) {
        std::vector<int> text(std::size_t(length) + 1);
        for (int& token : text) token = int(field.below(std::uint64_t(vocabulary), drawn++));
        batch.append(text);
    }
    return batch;
}

/// One sequence of a batch, alone.
inline MicroBatch sequence_of(const MicroBatch& batch, int sequence) {
    return batch.share_of(sequence, batch.sequence_count());
}

/// A model on rows of `dtype` with what it runs on: one EP group after the other over `world`. Collective.
struct TestModel {
    TestModel(const ModelOptions& options, Device& device, DType dtype, const Communicator& world, int ep,
              Placement where)
        : layout(world.size(), ep),
          group(world.split(layout.group_of(world.rank()))),
          dispatcher(make_packed_dispatcher("native", group, device)),
          placement(std::move(where)),
          parameters(device, wide(dtype), options.resolved(), placement, group.rank()),
          transformer(options.resolved(), CombineOrder::exact,
                      {&device, dispatcher.get(), &world, &placement, group.rank()}, parameters, dtype) {
        parameters.initialize(5);
        for (const auto& block : parameters.blocks()) {
            const BlockSpec& spec = block->spec();
            scatter_values(block->change_flat(), std::uint64_t(1000 * (spec.layer + 1) + spec.expert + 1));
        }
    }
    TestModel(const ModelOptions& options, Device& device, DType dtype, const Communicator& world)
        : TestModel(options, device, dtype, world, world.size(),
                    linear_placement(options.layers, options.experts, world.size())) {}

    Layout layout;
    Communicator group;
    std::unique_ptr<Dispatcher> dispatcher;
    Placement placement;
    Parameters parameters;
    Transformer transformer;
};

}  // namespace expar
