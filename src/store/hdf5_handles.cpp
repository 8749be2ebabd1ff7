#include "hdf5_handles.hpp"

#include <algorithm>
#include <string_view>
#include <vector>

namespace expar {

void keep_quiet() {
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

std::string last_cause() {
    std::string cause;
    H5Ewalk2(
        H5E_DEFAULT, H5E_WALK_UPWARD,
        [](unsigned position, const H5E_error2_t* error, void* out) -> herr_t {
            if (position == 0 && error->desc) *static_cast<std::string*>(out) = error->desc;
            return 0;
        },
        &cause);
    // "file write failed: time = …, errno = 28, error message = 'No space left on device', buf = …"
    constexpr std::string_view system_says = "error message = '";
    if (const auto at = cause.find(system_says); at != std::string::npos) {
        cause.erase(0, at + system_says.size());
        cause.resize(std::min(cause.find('\''), cause.size()));
    }
    std::ranges::replace(cause, '\n', ' ');
    return cause.empty() ? "" : ": " + cause;
}

std::string object_path(const std::string& name) {
    return "/" + name;
}

Owned make_space(const Hdf5File::Shape& shape) {
    if (shape.empty()) return {H5Screate(H5S_SCALAR), H5Sclose};
    const std::vector<hsize_t> sizes(shape.begin(), shape.end());
    return {H5Screate_simple(int(sizes.size()), sizes.data(), nullptr), H5Sclose};
}

}  // namespace expar
