#pragma once

#include <hdf5.h>

#include <string>

#include "expar/store/hdf5_file.hpp"

namespace expar {

/// Closes what an H5?open or H5?create returned.
class Owned {
public:
    using Close = herr_t (*)(hid_t);
    Owned(hid_t id, Close close) : id_(id), close_(close) {}
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    ~Owned() {
        if (id_ >= 0) close_(id_);
    }
    operator hid_t() const { return id_; }  // NOLINT: it stands for the identifier
    [[nodiscard]] bool valid() const { return id_ >= 0; }

private:
    hid_t id_;
    Close close_;
};

/// Keeps HDF5 from printing its error stack; the setting is per thread.
void keep_quiet();

/// ": " and the innermost entry of the error stack, which is nearest to the cause; nothing when it is empty.
[[nodiscard]] std::string last_cause();

/// "/" and the name
[[nodiscard]] std::string object_path(const std::string& name);

/// A dataspace that stays as it is; without dimensions it holds one value.
[[nodiscard]] Owned make_space(const Hdf5File::Shape& shape);

}  // namespace expar
