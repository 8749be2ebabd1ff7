#include "hdf5_handles.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <vector>

#include "expar/base/error.hpp"
#include "expar/store/raw_file.hpp"

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

Owned text_type() {
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return {type, H5Tclose};
}

Owned text_type_of(std::size_t bytes) {
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, bytes);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return {type, H5Tclose};
}

void reserve_behind(hid_t file, const std::filesystem::path& path, std::size_t bytes) {
    void* handle = nullptr;
    hsize_t end = 0;
    if (H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) < 0 || handle == nullptr || H5Fget_filesize(file, &end) < 0)
        return;
    const int error = reserve_space(*static_cast<const int*>(handle), end, bytes);
    if (is_lack_of_room(error)) throw UserError(concat(path.string(), ": cannot be written: ", std::strerror(error)));
}

void give_back_reserve(const std::filesystem::path& path) {
    std::error_code ignored;  // setting the size that it has frees what lies behind
    std::filesystem::resize_file(path, std::filesystem::file_size(path, ignored), ignored);
}

herr_t close_file(hid_t file) {
    const bool flushed = H5Fflush(file, H5F_SCOPE_LOCAL) >= 0;
    void* handle = nullptr;
    if (!flushed && H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) >= 0 && handle != nullptr) {
        const auto nowhere = RawFile::in_memory();
        if (nowhere && dup2(nowhere->descriptor(), *static_cast<const int*>(handle)) >= 0)
            H5Fflush(file, H5F_SCOPE_LOCAL);  // the first that succeeds leaves nothing to fail in H5Fclose
    }
    const bool closed = H5Fclose(file) >= 0;
    return flushed && closed ? 0 : -1;
}

Owned make_space(const Hdf5File::Shape& shape) {
    if (shape.empty()) return {H5Screate(H5S_SCALAR), H5Sclose};
    const std::vector<hsize_t> sizes(shape.begin(), shape.end());
    return {H5Screate_simple(int(sizes.size()), sizes.data(), nullptr), H5Sclose};
}

}  // namespace expar
