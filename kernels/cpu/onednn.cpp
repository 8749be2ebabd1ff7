#include "onednn.hpp"

#include <dnnl.h>

#include "expar/base/error.hpp"
#include "expar/compute/cpu_device.hpp"

namespace expar {
namespace {

char letter(Layout layout) {
    return layout == Layout::transposed ? 'T' : 'N';
}

}  // namespace

void single_product(long m, long n, long k, Factor a, Factor b, float beta, float* c, long c_stride) {
    const dnnl_status_t status = dnnl_sgemm(letter(a.layout), letter(b.layout), m, n, k, 1.0F, a.data, a.stride, b.data,
                                            b.stride, beta, c, c_stride);
    if (status != dnnl_success) throw Error(concat("oneDNN: a product failed with status ", int(status)));
}

std::string onednn_version() {
    const dnnl_version_t* version = dnnl_version();
    return concat(version->major, ".", version->minor, ".", version->patch);
}

}  // namespace expar
