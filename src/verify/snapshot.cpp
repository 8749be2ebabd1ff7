#include "expar/verify/snapshot.hpp"

#include <algorithm>
#include <array>

#include "expar/store/digest.hpp"
#include "expar/train/host_sets.hpp"

namespace expar {
namespace {

Rows change_rows(Part part, Trainer& trainer, int block) {
    ParameterBlock& held = *trainer.parameters().blocks()[block];
    switch (part) {
        case Part::value:
            return held.change_flat();
        case Part::gradient:
            return held.flat_gradient();
        case Part::moment1:
            return trainer.optimizer().moments(block).first;
        case Part::moment2:
            return trainer.optimizer().moments(block).second;
    }
    return {};
}

ConstRows flat_rows(Part part, Trainer& trainer, int block) {
    if (part == Part::value) return trainer.parameters().blocks()[block]->flat_value();
    return change_rows(part, trainer, block);
}

// Where a block of this name is among those that this rank holds; -1: elsewhere.
int held_as(Trainer& trainer, const BlockSpec& spec) {
    const auto blocks = trainer.parameters().blocks();
    const auto found = std::ranges::find_if(
        blocks, [&](const auto& block) { return block->spec().tensors.front().name == spec.tensors.front().name; });
    return found == blocks.end() ? -1 : int(found - blocks.begin());
}

void cut_into_tensors(const BlockSpec& spec, std::span<const float> flat, Tensors& tensors) {
    std::size_t first = 0;
    for (const TensorSpec& tensor : spec.tensors) {
        const auto part = flat.subspan(first, tensor.count());
        tensors[tensor.name].assign(part.begin(), part.end());
        first += tensor.count();
    }
}

std::array<int, 2> hash_of(ConstRows rows) {
    const std::uint64_t hash = hash_bytes({static_cast<const std::byte*>(rows.data()), rows.bytes()});
    return {int(std::uint32_t(hash)), int(std::uint32_t(hash >> 32))};
}

}  // namespace

Tensors gather_tensors(Part part, const ModelOptions& model, Trainer& trainer, const Communicator& world) {
    const HostSets sets(trainer.placement(), trainer.layout());
    Tensors tensors;
    for (const BlockSpec& spec : describe_blocks(model)) {
        const int writer = sets.ranks(sets.set_of(spec)).front();
        if (world.rank() == writer && writer != 0)
            world.start_send(flat_rows(part, trainer, held_as(trainer, spec)), 0, {"gather of tensors", spec.layer})
                .finish();
        if (world.rank() != 0) continue;
        if (writer == 0) {
            const ConstRows rows = flat_rows(part, trainer, held_as(trainer, spec));
            if (rows.cols() > 0) cut_into_tensors(spec, rows.row<float>(0), tensors);
            continue;
        }
        const int count = flat_rows(part, trainer, 0).cols() > 0 ? int(spec.count()) : 0;
        std::vector<float> flat(count);
        world.start_receive({flat.data(), 1, count, DType::float32}, writer, {"gather of tensors", spec.layer})
            .finish();
        if (count > 0) cut_into_tensors(spec, flat, tensors);
    }
    return tensors;
}

void set_tensors(Part part, const Tensors& tensors, Trainer& trainer) {
    const auto blocks = trainer.parameters().blocks();
    for (int block = 0; block < int(blocks.size()); ++block) {
        const Rows rows = change_rows(part, trainer, block);
        if (rows.cols() == 0) continue;  // sgd has no moments
        auto out = rows.row<float>(0).begin();
        for (const TensorSpec& tensor : blocks[block]->spec().tensors) {
            const auto found = tensors.find(tensor.name);
            if (found == tensors.end()) throw Error(concat("verify: no values for ", tensor.name));
            out = std::ranges::copy(found->second, out).out;
        }
    }
}

int count_differing_copies(const ModelOptions& model, Trainer& trainer, const Communicator& world) {
    const auto specs = describe_blocks(model);
    std::vector<int> hashes;  // three per block: held, and the hash
    for (const BlockSpec& spec : specs) {
        const int block = held_as(trainer, spec);
        const auto hash = block < 0 ? std::array{0, 0} : hash_of(flat_rows(Part::value, trainer, block));
        hashes.insert(hashes.end(), {block >= 0, hash[0], hash[1]});
    }
    const auto all = world.all_gather(std::span<const int>(hashes), {"comparison of copies"});
    int differing = 0;
    for (std::size_t i = 0; i < specs.size(); ++i) {
        const int* first = nullptr;
        bool equal = true;
        for (int rank = 0; rank < world.size(); ++rank) {
            const int* entry = all.data() + (std::size_t(rank) * specs.size() + i) * 3;
            if (!entry[0]) continue;
            if (first) equal = equal && std::equal(first, first + 3, entry);
            first = entry;
        }
        differing += !equal;
    }
    return differing;
}

}  // namespace expar
