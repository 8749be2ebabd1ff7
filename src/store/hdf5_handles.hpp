#pragma once

#include <hdf5.h>

#include <filesystem>
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

/// UTF-8 of any length
[[nodiscard]] Owned text_type();
/// UTF-8 of at most so many bytes, filled with zeros
[[nodiscard]] Owned text_type_of(std::size_t bytes);

/// Makes room on the disk for `bytes` behind the file's end, without changing its size. Throws UserError when there is
/// none; where the system cannot reserve, it does nothing.
void reserve_behind(hid_t file, const std::filesystem::path& path, std::size_t bytes);
/// Gives back what a file that is closed has reserved and not used.
void give_back_reserve(const std::filesystem::path& path);

/// H5Fclose for a file that may have been written to: negative also when not all of it has reached the disk.
///
/// HDF5 crashes in MPI_Finalize when closing a file fails, so what a failing disk does not take goes to memory that
/// nobody reads.
herr_t close_file(hid_t file);

/// A dataspace that stays as it is; without dimensions it holds one value.
[[nodiscard]] Owned make_space(const Hdf5File::Shape& shape);

}  // namespace expar
