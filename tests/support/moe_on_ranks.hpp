#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "expar/moe/moe_layer.hpp"
#include "support/random_routing.hpp"

namespace expar {

/// One MoE layer with all that it stands on, over the ranks of `world` as a single EP group.
struct MoeOnRanks {
    /// How its rows move.
    struct Moves {
        std::string dispatcher = "packed", exchange = "native";
        int chunks = 1;
    };
    MoeOnRanks(const MoeOptions& options, Placement where, DType dtype, Device& on, const Communicator& world,
               const Moves& moves)
        : device(on),
          placement(std::move(where)),
          dispatcher(make_dispatcher(moves.dispatcher, moves.exchange, world, on)),
          runtime{&on, dispatcher.get(), &world, &placement, world.rank()} {
        runtime.chunks = moves.chunks;
        std::vector<ParameterBlock*> held;
        std::map<int, ParameterBlock*> experts;
        for (const BlockSpec& spec : moe_blocks(options, 0)) {
            const auto here = placement.experts_on(0, world.rank());
            if (spec.role == Role::expert && std::ranges::count(here, spec.expert) == 0) continue;
            blocks.push_back(std::make_unique<ParameterBlock>(on, dtype, spec));
            blocks.back()->initialize(3);
            if (spec.role == Role::expert)
                experts[spec.expert] = blocks.back().get();
            else
                held.push_back(blocks.back().get());
        }
        for (const int expert : placement.experts_on(0, world.rank())) held.push_back(experts.at(expert));
        layer = std::make_unique<MoeLayer>(options, 0, runtime, held);
    }

    MoeOnRanks(const MoeOptions& options, Placement where, DType dtype, Device& on, const Communicator& world)
        : MoeOnRanks(options, std::move(where), dtype, on, world, Moves()) {}

    Device& device;
    Placement placement;
    std::unique_ptr<Dispatcher> dispatcher;
    MoeRuntime runtime;
    std::vector<std::unique_ptr<ParameterBlock>> blocks;
    std::unique_ptr<MoeLayer> layer;
};

}  // namespace expar
