#include "../vector/table.hpp"
#include "vector.hpp"

namespace expar {

const VectorKernels avx2_kernels = vector_kernels<Avx2Vector>;

}  // namespace expar
