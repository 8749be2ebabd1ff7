#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "expar/store/hdf5_file.hpp"

namespace expar {

/// What a file of rows that are added one by one looks like.
struct SeriesLayout {
    enum class Type { int32, int64, float32 };
    struct Column {
        std::string name;
        Type type = Type::int32;
        Hdf5File::Shape row;  ///< of one row; empty: one value
    };
    std::string format;                                                        ///< the root attribute of that name
    std::vector<std::pair<std::string, std::int64_t>> attributes;              ///< others of the root
    std::vector<std::pair<std::string, std::vector<std::int32_t>>> constants;  ///< datasets that do not grow
    std::vector<Column> columns;  ///< datasets [rows, ...]; the first holds int32 values that ascend: the steps
};

/// One row's values of a column.
using SeriesValues = std::variant<std::span<const std::int32_t>, std::span<const std::int64_t>, std::span<const float>>;

/// An HDF5 file whose datasets grow together, a row at a time, chunked and compressed.
///
/// It is written as single writer, multiple readers: others may read it meanwhile, and however the program ends, what
/// was flushed can be read (h5py.File(path, "r", swmr=True)). Local; every failure is a UserError.
class Hdf5Series {
public:
    /// Goes on behind the rows of the file at `path`, or makes it.
    Hdf5Series(const std::filesystem::path& path, const SeriesLayout& layout);
    Hdf5Series(Hdf5Series&& other) noexcept;
    Hdf5Series& operator=(Hdf5Series&& other) noexcept;
    ~Hdf5Series();  ///< flushes, and closes; what goes wrong is lost

    /// A value for each column, in their order. Kept in memory until the next flush.
    void append(std::initializer_list<SeriesValues> row);
    [[nodiscard]] int unflushed_rows() const;
    /// Throws before anything is written when the disk has no room for it; the file stays as it was.
    void flush();
    void close();

private:
    struct Open;
    std::unique_ptr<Open> open_;
};

/// Replaces the file by one that holds only its rows up to step `last`; the old one stays until the new one is whole.
/// The file may be one that a killed program has left. Returns what is wrong with it when it is damaged or of another
/// layout, else ""; throws UserError when the new one cannot be written.
[[nodiscard]] std::string keep_rows(const std::filesystem::path& path, const SeriesLayout& layout, int last);

}  // namespace expar
