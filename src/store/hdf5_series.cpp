#include "expar/store/hdf5_series.hpp"

#include <algorithm>
#include <cstring>

#include "expar/base/error.hpp"
#include "expar/store/partial_file.hpp"
#include "hdf5_handles.hpp"

namespace expar {
namespace {

namespace fs = std::filesystem;
using Shape = Hdf5File::Shape;
using Type = SeriesLayout::Type;

constexpr hsize_t rows_of_chunk = 64;
constexpr unsigned deflate_level = 4;
constexpr std::size_t slack_bytes = std::size_t{64} << 10;  // for what describes the rows

hid_t disk_type(Type type) {
    return type == Type::int32 ? H5T_STD_I32LE : type == Type::int64 ? H5T_STD_I64LE : H5T_IEEE_F32LE;
}
hid_t memory_type(Type type) {
    return type == Type::int32 ? H5T_NATIVE_INT32 : type == Type::int64 ? H5T_NATIVE_INT64 : H5T_NATIVE_FLOAT;
}
std::size_t row_bytes(const SeriesLayout::Column& column) {
    return count_of(column.row) * (column.type == Type::int64 ? 8 : 4);
}

[[noreturn]] void fail(const fs::path& path, const std::string& what) {
    throw UserError(concat(path.string(), ": ", what));
}

// The old file is at fault, not the disk.
struct Damaged : UserError {
    using UserError::UserError;
};
[[noreturn]] void refuse(const fs::path& path, const std::string& what) {
    throw Damaged(concat(path.string(), ": ", what));
}

// Readers beside a writer need the newest format.
Owned newest_format() {
    const hid_t properties = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(properties, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
    return {properties, H5Pclose};
}

std::vector<hsize_t> dimensions(hsize_t rows, const Shape& row) {
    std::vector<hsize_t> sizes{rows};
    sizes.insert(sizes.end(), row.begin(), row.end());
    return sizes;
}

void make_column(const fs::path& path, hid_t file, const SeriesLayout::Column& column) {
    const auto none = dimensions(0, column.row);
    const auto most = dimensions(H5S_UNLIMITED, column.row);
    const auto chunk = dimensions(rows_of_chunk, column.row);
    const Owned space(H5Screate_simple(int(none.size()), none.data(), most.data()), H5Sclose);
    const Owned layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_chunk(layout, int(chunk.size()), chunk.data());
    H5Pset_shuffle(layout);
    H5Pset_deflate(layout, deflate_level);
    const Owned data(
        H5Dcreate2(file, column.name.c_str(), disk_type(column.type), space, H5P_DEFAULT, layout, H5P_DEFAULT),
        H5Dclose);
    if (!data.valid()) fail(path, concat("cannot make ", column.name, last_cause()));
}

template <class Value>
void make_attribute(const fs::path& path, hid_t file, const std::string& name, hid_t type, const Value* value) {
    const Owned space = make_space({});
    const Owned attribute(H5Acreate2(file, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    if (!attribute.valid() || H5Awrite(attribute, type, value) < 0)
        fail(path, concat("writing attribute ", name, " failed", last_cause()));
}

// Closes the file behind write(), and complains when not all of it has reached the disk.
template <class Write>
void write_and_close(const fs::path& path, hid_t file, Write&& write) {
    if (file < 0) fail(path, concat("cannot be written", last_cause()));
    try {
        write();
        if (H5Fflush(file, H5F_SCOPE_LOCAL) < 0) fail(path, concat("writing failed", last_cause()));
    } catch (...) {
        close_file(file);
        throw;
    }
    if (close_file(file) < 0) fail(path, concat("writing failed", last_cause()));
}

void write_start(const fs::path& path, hid_t file, const SeriesLayout& layout) {
    reserve_behind(file, path, slack_bytes);
    const char* format = layout.format.c_str();
    make_attribute(path, file, "format", text_type(), &format);
    for (const auto& [name, value] : layout.attributes) make_attribute(path, file, name, H5T_NATIVE_INT64, &value);
    for (const auto& [name, values] : layout.constants) {
        const Owned space = make_space({std::int64_t(values.size())});
        const Owned data(H5Dcreate2(file, name.c_str(), H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                         H5Dclose);
        if (!data.valid() || H5Dwrite(data, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) < 0)
            fail(path, concat("writing ", name, " failed", last_cause()));
    }
    for (const auto& column : layout.columns) make_column(path, file, column);
}

// A file without rows, closed.
void make_empty(const fs::path& path, const SeriesLayout& layout) {
    keep_quiet();
    const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, newest_format());
    write_and_close(path, file, [&] { write_start(path, file, layout); });
}

// One growing dataset.
class OpenColumn {
public:
    OpenColumn(const fs::path& path, hid_t file, SeriesLayout::Column column)
        : path_(path), column_(std::move(column)), data_(H5Dopen2(file, column_.name.c_str(), H5P_DEFAULT), H5Dclose) {
        if (!data_.valid()) refuse(path_, concat(column_.name, " is missing"));
        const Owned space(H5Dget_space(data_), H5Sclose);
        const Owned type(H5Dget_type(data_), H5Tclose);
        std::vector<hsize_t> sizes(std::size_t(std::max(0, H5Sget_simple_extent_ndims(space))));
        H5Sget_simple_extent_dims(space, sizes.data(), nullptr);
        if (sizes.empty() || sizes != dimensions(sizes[0], column_.row) || H5Tequal(type, disk_type(column_.type)) <= 0)
            refuse(path_, concat(column_.name, " is ", describe(Shape(sizes.begin(), sizes.end())),
                                 ", expected rows of ", describe(column_.row)));
        rows_ = sizes[0];
    }
    [[nodiscard]] hsize_t rows() const { return rows_; }
    [[nodiscard]] std::size_t bytes_of_row() const { return row_bytes(column_); }
    [[nodiscard]] Type type() const { return column_.type; }
    [[nodiscard]] const std::string& name() const { return column_.name; }
    [[nodiscard]] hid_t id() const { return data_; }

    void append(std::span<const std::byte> values) {
        const hsize_t more = values.size() / bytes_of_row();
        const auto grown = dimensions(rows_ + more, column_.row);
        if (H5Dset_extent(data_, grown.data()) < 0 || !move(rows_, more, [&](hid_t memory, hid_t stored) {
                return H5Dwrite(data_, memory_type(column_.type), memory, stored, H5P_DEFAULT, values.data());
            }))
            fail(path_, concat("writing ", column_.name, " failed", last_cause()));
        rows_ += more;
    }
    void read(hsize_t first, std::span<std::byte> values) const {
        if (!move(first, values.size() / bytes_of_row(), [&](hid_t memory, hid_t stored) {
                return H5Dread(data_, memory_type(column_.type), memory, stored, H5P_DEFAULT, values.data());
            }))
            refuse(path_, concat("reading ", column_.name, " failed", last_cause()));
    }

private:
    template <class Transfer>
    bool move(hsize_t first, hsize_t count, Transfer transfer) const {
        const Owned stored(H5Dget_space(data_), H5Sclose);
        const auto size = dimensions(count, column_.row);
        std::vector<hsize_t> begin(size.size());
        begin[0] = first;
        const Owned memory(H5Screate_simple(int(size.size()), size.data(), nullptr), H5Sclose);
        return H5Sselect_hyperslab(stored, H5S_SELECT_SET, begin.data(), nullptr, size.data(), nullptr) >= 0 &&
               transfer(memory, stored) >= 0;
    }

    fs::path path_;
    SeriesLayout::Column column_;
    Owned data_;
    hsize_t rows_ = 0;
};

std::vector<std::unique_ptr<OpenColumn>> open_columns(const fs::path& path, hid_t file, const SeriesLayout& layout) {
    std::vector<std::unique_ptr<OpenColumn>> columns;
    for (const auto& column : layout.columns) columns.push_back(std::make_unique<OpenColumn>(path, file, column));
    return columns;
}

// Rows at the begin whose steps ascend and are not behind `last`. A writer that was killed may have left columns of
// unequal length.
hsize_t rows_up_to(int last, const std::vector<std::unique_ptr<OpenColumn>>& columns) {
    hsize_t rows = columns.front()->rows();
    for (const auto& column : columns) rows = std::min(rows, column->rows());
    std::vector<std::int32_t> steps;
    std::int32_t previous = -1;
    for (hsize_t first = 0; first < rows; first += steps.size()) {
        steps.resize(std::size_t(std::min(rows - first, rows_of_chunk)));
        columns.front()->read(first, std::as_writable_bytes(std::span(steps)));
        for (std::size_t i = 0; i < steps.size(); ++i) {
            if (steps[i] <= previous || steps[i] > last) return first + i;
            previous = steps[i];
        }
    }
    return rows;
}

}  // namespace

struct Hdf5Series::Open {
    fs::path path;
    hid_t file;
    std::vector<std::unique_ptr<OpenColumn>> columns;
    std::vector<std::vector<std::byte>> pending;  // by column
    int pending_rows = 0;

    Open(const fs::path& where, const SeriesLayout& layout)
        : path(where), file(H5Fopen(path.c_str(), H5F_ACC_RDWR, newest_format())), pending(layout.columns.size()) {
        if (file < 0) fail(path, concat("cannot be written", last_cause()));
        try {
            columns = open_columns(path, file, layout);
            if (H5Fstart_swmr_write(file) < 0) fail(path, concat("cannot be shared with readers", last_cause()));
        } catch (...) {
            columns.clear();
            close_file(file);
            throw;
        }
    }
    Open(const Open&) = delete;
    Open& operator=(const Open&) = delete;
    ~Open() {
        columns.clear();
        if (file >= 0) close_file(file);
    }
    void write_pending();
};

// HDF5 that finds the disk full cannot close the file either: the room has to be there before.
void Hdf5Series::Open::write_pending() {
    std::size_t bytes = slack_bytes;
    for (std::size_t i = 0; i < columns.size(); ++i)
        bytes += pending[i].size() + 2 * rows_of_chunk * columns[i]->bytes_of_row();
    reserve_behind(file, path, bytes);
    for (std::size_t i = 0; i < columns.size(); ++i) {
        columns[i]->append(pending[i]);
        pending[i].clear();
    }
    pending_rows = 0;
    // The steps last: a reader who sees one finds its values, too.
    for (std::size_t i = columns.size(); i-- > 0;)
        if (H5Dflush(columns[i]->id()) < 0) fail(path, concat("writing ", columns[i]->name(), " failed", last_cause()));
}

Hdf5Series::Hdf5Series(const fs::path& path, const SeriesLayout& layout) {
    std::error_code failed;
    if (!fs::exists(path, failed)) {
        PartialFile partial(path);
        make_empty(partial.temporary(), layout);
        partial.commit();
    }
    keep_quiet();
    open_ = std::make_unique<Open>(path, layout);
}

Hdf5Series::Hdf5Series(Hdf5Series&& other) noexcept = default;
Hdf5Series& Hdf5Series::operator=(Hdf5Series&& other) noexcept = default;

Hdf5Series::~Hdf5Series() {
    try {
        if (open_) close();
    } catch (const Error&) {  // nobody to tell
    }
}

void Hdf5Series::append(std::initializer_list<SeriesValues> row) {
    if (row.size() != open_->columns.size())
        throw Error(
            concat(open_->path.string(), ": a row of ", row.size(), " columns, expected ", open_->columns.size()));
    for (std::size_t i = 0; i < row.size(); ++i) {
        const SeriesValues& values = row.begin()[i];
        const auto bytes = std::visit([](auto span) { return std::as_bytes(span); }, values);
        const OpenColumn& column = *open_->columns[i];
        if (values.index() != std::size_t(column.type()) || bytes.size() != column.bytes_of_row())
            throw Error(concat(open_->path.string(), ": ", bytes.size(), " bytes of another kind for ", column.name(),
                               ", expected ", column.bytes_of_row()));
        open_->pending[i].insert(open_->pending[i].end(), bytes.begin(), bytes.end());
    }
    ++open_->pending_rows;
}

int Hdf5Series::unflushed_rows() const {
    return open_->pending_rows;
}

void Hdf5Series::flush() {
    if (open_ && open_->pending_rows > 0) open_->write_pending();
}

void Hdf5Series::close() {
    if (!open_) return;
    const auto closing = std::move(open_);
    if (closing->pending_rows > 0) closing->write_pending();
    closing->columns.clear();
    const fs::path path = closing->path;
    if (close_file(std::exchange(closing->file, -1)) < 0) fail(path, concat("writing failed", last_cause()));
    give_back_reserve(path);
}

namespace {

void copy_rows(const fs::path& path, const SeriesLayout& layout, int last) {
    if (H5Fis_hdf5(path.c_str()) <= 0) refuse(path, "not an HDF5 file");
    const Owned old(H5Fopen(path.c_str(), H5F_ACC_RDONLY | H5F_ACC_SWMR_READ, newest_format()), H5Fclose);
    if (!old.valid()) refuse(path, concat("a damaged HDF5 file", last_cause()));
    const auto from = open_columns(path, old, layout);
    const hsize_t rows = rows_up_to(last, from);

    // What a link stands for is replaced, not the link, which has no other name to write to.
    PartialFile partial(fs::is_symlink(path) ? fs::canonical(path) : path);
    make_empty(partial.temporary(), layout);
    const hid_t file = H5Fopen(partial.temporary().c_str(), H5F_ACC_RDWR, newest_format());
    write_and_close(partial.temporary(), file, [&] {
        const auto to = open_columns(partial.temporary(), file, layout);
        std::vector<std::byte> block;
        for (hsize_t first = 0; first < rows; first += rows_of_chunk)
            for (std::size_t i = 0; i < to.size(); ++i) {
                block.resize(std::size_t(std::min(rows - first, rows_of_chunk)) * to[i]->bytes_of_row());
                from[i]->read(first, block);
                reserve_behind(file, partial.temporary(), slack_bytes + 2 * block.size());
                to[i]->append(block);
            }
    });
    partial.commit();
}

}  // namespace

std::string keep_rows(const fs::path& path, const SeriesLayout& layout, int last) {
    keep_quiet();
    try {
        copy_rows(path, layout, last);
    } catch (const Damaged& damage) {
        return damage.what();
    }
    return "";
}

}  // namespace expar
