#pragma once

#include "../pair_kernels.hpp"

namespace expar {

extern const PairPacking<float> pair_packing_of_float32;
extern const PairPacking<uint16_t> pair_packing_of_bfloat16;

// ConversionKernels
void widen_bfloat16(const uint16_t* in, float* out, long count);
void round_to_bfloat16(const float* in, uint16_t* out, long count);
void add_round_to_bfloat16(const float* in, uint16_t* out, long count);

}  // namespace expar
