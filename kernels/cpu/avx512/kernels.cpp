#include "../vector/table.hpp"
#include "vector.hpp"

namespace expar {

const VectorKernels avx512_kernels = vector_kernels<Avx512Vector>;

}  // namespace expar
