#pragma once

#include "../pair_kernels.hpp"

namespace expar {

extern const PairPacking<float> pair_packing_of_float32;
extern const PairPacking<bfloat16> pair_packing_of_bfloat16;

// ConversionKernels
void widen_bfloat16(const bfloat16* in, float* out, long count);
void round_to_bfloat16(const float* in, bfloat16* out, long count);
void add_round_to_bfloat16(const float* in, bfloat16* out, long count);

}  // namespace expar
