#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "expar/store/raw_file.hpp"

namespace expar {

/// An HDF5 file: named datasets in groups, and attributes on both. The one place that knows HDF5.
///
/// Movable, not copyable; the destructor closes. Local: only one rank of a run opens a file. Names are paths without a
/// leading slash; groups on the way are made as needed. Everything that goes wrong, when it is the file's fault or the
/// disk's, is a UserError of one line that starts with the file's name.
class Hdf5File {
public:
    using Shape = std::vector<std::int64_t>;

    /// Replaces a file of that name.
    [[nodiscard]] static Hdf5File create(const std::filesystem::path& path);
    /// The same, but HDF5 writes into memory, and close() what it wrote into the file, with the room for what others
    /// write: HDF5 crashes in MPI_Finalize after a write that failed. For files of which it writes little. Throws
    /// UserError at once when there is no room for `bytes`, about as many as the file will have.
    [[nodiscard]] static Hdf5File create_in_memory(const std::filesystem::path& path, std::size_t bytes);
    /// For reading: also what another program appends to, or was killed at, if its datasets grow for such readers.
    [[nodiscard]] static Hdf5File open(const std::filesystem::path& path);

    Hdf5File(Hdf5File&& other) noexcept;
    Hdf5File& operator=(Hdf5File&& other) noexcept;
    ~Hdf5File();

    /// How a dataset lies on disk. `level` 1 … 9 compresses (deflate); 0 does not.
    struct Storage {
        int level = 0;
    };
    // `values` has as many elements as `shape` says; a shape without dimensions is one value.
    void write(const std::string& name, std::span<const float> values, const Shape& shape, Storage storage = {0});
    void write(const std::string& name, std::span<const double> values, const Shape& shape, Storage storage = {0});
    void write(const std::string& name, std::span<const std::int32_t> values, const Shape& shape,
               Storage storage = {0});
    void write(const std::string& name, std::span<const std::uint16_t> values, const Shape& shape,
               Storage storage = {0});
    /// A dataset of texts [n], all as long as the longest, filled with zero bytes.
    void write_texts(const std::string& name, const std::vector<std::string>& texts, Storage storage = {0});

    /// A dataset of float32 whose values others write: side by side in row-major order, from the byte of the file that
    /// is returned, once the file is closed. A shape without elements is an Error.
    [[nodiscard]] std::uint64_t allocate(const std::string& name, const Shape& shape);

    /// Into `values`, which is as long as the dataset, converting between numbers of other widths.
    void read(const std::string& name, std::span<float> values) const;
    void read(const std::string& name, std::span<double> values) const;
    void read(const std::string& name, std::span<std::int32_t> values) const;
    void read(const std::string& name, std::span<std::uint16_t> values) const;
    [[nodiscard]] std::vector<std::string> read_texts(const std::string& name) const;
    /// As many elements [first], [first + 1], … of the first dimension as fill `values`.
    void read_slices(const std::string& name, std::int64_t first, std::span<float> values) const;

    // `object` is a group or dataset; "" is the root.
    void set_attribute(const std::string& object, const std::string& name, const std::string& value);
    void set_attribute(const std::string& object, const std::string& name, std::int64_t value);
    void set_attribute(const std::string& object, const std::string& name, double value);
    [[nodiscard]] std::string text_attribute(const std::string& object, const std::string& name) const;
    [[nodiscard]] std::int64_t integer_attribute(const std::string& object, const std::string& name) const;
    [[nodiscard]] double real_attribute(const std::string& object, const std::string& name) const;
    [[nodiscard]] bool has_attribute(const std::string& object, const std::string& name) const;

    [[nodiscard]] bool contains(const std::string& name) const;
    /// What a group holds, by name, ascending.
    [[nodiscard]] std::vector<std::string> names(const std::string& group) const;
    /// Never more elements than the file has room for, so that whoever reads them may allocate them.
    [[nodiscard]] Shape shape(const std::string& name) const;

    /// Writes everything out and closes; a failure that the destructor would swallow is thrown here.
    void close();

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

private:
    using Handle = std::int64_t;  // HDF5's hid_t
    struct Number;                // a type in memory and on disk
    Hdf5File(Handle file, std::filesystem::path path);
    [[nodiscard]] static Hdf5File create_empty(const std::filesystem::path& path);
    void reserve(std::size_t bytes);
    [[nodiscard]] Handle make_dataset(const std::string& name, const Shape& shape, const Number& number, Handle layout);
    void write_values(const std::string& name, const void* values, std::size_t count, const Shape& shape,
                      const Number& number, int level);
    void read_values(const std::string& name, void* values, std::size_t count, const Number& number) const;
    void read_numbers(const std::string& name, Handle memory_type, Handle memory, Handle stored, void* values) const;
    void write_attribute(const std::string& object, const std::string& name, Handle type, const void* value);
    void read_attribute(const std::string& object, const std::string& name, Handle type, void* value) const;
    [[noreturn]] void fail(const std::string& what) const;

    Handle file_ = -1;
    std::filesystem::path path_;
    std::optional<RawFile> memory_;
    std::size_t reserved_ = 0;  ///< bytes from the begin that the disk has room for
};

/// Which HDF5 this program was built with and runs on.
struct Hdf5Library {
    std::string version;    ///< "1.10.8"
    bool parallel = false;  ///< built with MPI
};
[[nodiscard]] Hdf5Library hdf5_library();

/// Elements of a shape: 1 without dimensions.
[[nodiscard]] std::size_t count_of(const Hdf5File::Shape& shape);
/// "[3, 4]"
[[nodiscard]] std::string describe(const Hdf5File::Shape& shape);

}  // namespace expar
