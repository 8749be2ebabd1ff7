#include "expar/store/hdf5_file.hpp"

#include <hdf5.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <numeric>
#include <type_traits>
#include <utility>

#include "expar/base/error.hpp"
#include "hdf5_handles.hpp"

namespace expar {
namespace {

static_assert(std::is_same_v<hid_t, std::int64_t>, "HDF5 1.10 or newer");

#ifdef H5_HAVE_PARALLEL
constexpr bool is_parallel = true;
#else
constexpr bool is_parallel = false;
#endif

constexpr std::size_t page_bytes = 4096;
constexpr std::size_t least_bytes = 64 << 10;  // what every file has, and its attributes

// Chunks of whole rows, about a megabyte each, since compression needs chunks.
void compress(hid_t properties, const Hdf5File::Shape& shape, std::size_t element_bytes, int level) {
    std::vector<hsize_t> chunk(shape.begin(), shape.end());
    const std::size_t row_bytes =
        std::max<std::size_t>(1, element_bytes * count_of(Hdf5File::Shape(shape.begin() + 1, shape.end())));
    chunk[0] = std::min(chunk[0], std::max<hsize_t>(1, (hsize_t{1} << 20) / row_bytes));
    H5Pset_chunk(properties, int(chunk.size()), chunk.data());
    H5Pset_shuffle(properties);
    H5Pset_deflate(properties, unsigned(level));
}

// The most elements that a dataset can have in a file of this size: deflate, which only chunks can have, makes nothing
// smaller than a 1032nd.
double most_elements(hid_t file, hid_t data) {
    hsize_t file_bytes = 0;
    H5Fget_filesize(file, &file_bytes);
    const Owned type(H5Dget_type(data), H5Tclose);
    const Owned properties(H5Dget_create_plist(data), H5Pclose);
    const bool filtered = H5Pget_layout(properties) == H5D_CHUNKED && H5Pget_nfilters(properties) > 0;
    return double(file_bytes) * (filtered ? 1032 : 1) / double(std::max<std::size_t>(1, H5Tget_size(type)));
}

}  // namespace

struct Hdf5File::Number {
    hid_t memory;
    hid_t disk;
    std::size_t bytes;

    static Number float32() { return {H5T_NATIVE_FLOAT, H5T_IEEE_F32LE, 4}; }
    static Number float64() { return {H5T_NATIVE_DOUBLE, H5T_IEEE_F64LE, 8}; }
    static Number int32() { return {H5T_NATIVE_INT32, H5T_STD_I32LE, 4}; }
    static Number uint16() { return {H5T_NATIVE_UINT16, H5T_STD_U16LE, 2}; }
};

Hdf5File::Hdf5File(Handle file, std::filesystem::path path) : file_(file), path_(std::move(path)) {}

Hdf5File::Hdf5File(Hdf5File&& other) noexcept
    : file_(std::exchange(other.file_, -1)),
      path_(std::move(other.path_)),
      memory_(std::move(other.memory_)),
      reserved_(other.reserved_) {}

Hdf5File& Hdf5File::operator=(Hdf5File&& other) noexcept {
    std::swap(file_, other.file_);
    std::swap(path_, other.path_);
    std::swap(memory_, other.memory_);
    std::swap(reserved_, other.reserved_);
    return *this;
}

Hdf5File::~Hdf5File() {
    if (file_ >= 0) close_file(file_);
}

void Hdf5File::fail(const std::string& what) const {
    throw UserError(concat(path_.string(), ": ", what));
}

Hdf5File Hdf5File::create_empty(const std::filesystem::path& path) {
    keep_quiet();
    const Owned access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    H5Pset_alignment(access, page_bytes, page_bytes);  // so that no page holds two datasets
    const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
    if (file < 0) throw UserError(concat(path.string(), ": cannot be written", last_cause()));
    return {file, path};
}

Hdf5File Hdf5File::create(const std::filesystem::path& path) {
    Hdf5File made = create_empty(path);
    made.reserve(least_bytes);
    return made;
}

Hdf5File Hdf5File::create_in_memory(const std::filesystem::path& path, std::size_t bytes) {
    RawFile::create(path).reserve(bytes);  // first, since a limit on what a process may write holds for memory as well
    Hdf5File made = create_empty(path);
    auto memory = RawFile::in_memory();
    void* handle = nullptr;
    const bool known = H5Fget_vfd_handle(made.file_, H5P_DEFAULT, &handle) >= 0 && handle != nullptr;
    // From here on what HDF5 takes for the file is the one in memory.
    if (memory && known && dup2(memory->descriptor(), *static_cast<const int*>(handle)) >= 0) {
        made.memory_ = std::move(memory);
        made.memory_->copy_from(RawFile::open(path));
    } else {
        made.reserve(least_bytes);
    }
    return made;
}

// HDF5 keeps most of a file until it is closed, and one that cannot be closed crashes in MPI_Finalize: a full disk has
// to be found before.
void Hdf5File::reserve(std::size_t bytes) {
    void* handle = nullptr;
    if (memory_ || H5Fget_vfd_handle(file_, H5P_DEFAULT, &handle) < 0 || handle == nullptr) return;
    const int error = reserve_space(*static_cast<const int*>(handle), reserved_, bytes);
    if (error == 0)
        reserved_ += bytes;
    else if (is_lack_of_room(error))
        fail(concat("cannot be written: ", std::strerror(error)));
}

Hdf5File Hdf5File::open(const std::filesystem::path& path) {
    keep_quiet();
    std::error_code ignored;
    const auto status = std::filesystem::status(path, ignored);
    if (!std::filesystem::exists(status)) throw UserError(concat(path.string(), ": no such file"));
    if (std::filesystem::is_directory(status))
        throw UserError(concat(path.string(), ": is a folder, expected an HDF5 file"));
    const htri_t is_hdf5 = H5Fis_hdf5(path.c_str());
    if (is_hdf5 < 0) throw UserError(concat(path.string(), ": cannot be read", last_cause()));
    if (is_hdf5 == 0) throw UserError(concat(path.string(), ": not an HDF5 file"));
    hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
    // One that is being written beside readers, or whose writer was killed.
    std::string cause = file < 0 ? last_cause() : "";
    // Not tried first, and not for long: what is cut short looks like what is still being written. The waits between
    // attempts double from a nanosecond.
    constexpr unsigned attempts = 27;
    if (cause.find("already open") != std::string::npos) {
        const Owned patience(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
        H5Pset_metadata_read_attempts(patience, attempts);
        file = H5Fopen(path.c_str(), H5F_ACC_RDONLY | H5F_ACC_SWMR_READ, patience);
        if (file < 0) cause = last_cause();
    }
    if (file < 0) throw UserError(concat(path.string(), ": a damaged HDF5 file", cause));
    return {file, path};
}

void Hdf5File::close() {
    if (file_ < 0) return;
    if (close_file(std::exchange(file_, -1)) < 0) fail(concat("writing failed", last_cause()));
    if (memory_) {
        RawFile file = RawFile::open_to_write(path_);
        file.reserve(memory_->bytes());
        file.copy_from(*memory_);
        file.close();
        memory_.reset();
        return;
    }
    std::error_code ignored;  // the same size: gives back what was reserved behind it
    if (reserved_ > 0) std::filesystem::resize_file(path_, std::filesystem::file_size(path_, ignored), ignored);
}

Hdf5File::Handle Hdf5File::make_dataset(const std::string& name, const Shape& shape, const Number& number,
                                        Handle layout) {
    reserve(count_of(shape) * number.bytes + 2 * page_bytes);  // what describes it, and what aligns it
    const Owned space = make_space(shape);
    const Owned links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
    H5Pset_create_intermediate_group(links, 1);
    const hid_t data = H5Dcreate2(file_, object_path(name).c_str(), number.disk, space, links, layout, H5P_DEFAULT);
    if (data < 0) fail(concat("cannot make ", name, last_cause()));
    return data;
}

void Hdf5File::write_values(const std::string& name, const void* values, std::size_t count, const Shape& shape,
                            const Number& number, int level) {
    if (count != count_of(shape))
        throw Error(concat(path_.string(), ": ", name, " has ", count, " values, its shape ", describe(shape)));
    const Owned layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    if (level > 0 && count > 0 && !shape.empty()) compress(layout, shape, number.bytes, level);
    const Owned data(make_dataset(name, shape, number, layout), H5Dclose);
    if (count > 0 && H5Dwrite(data, number.memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
        fail(concat("writing ", name, " failed", last_cause()));
}

std::uint64_t Hdf5File::allocate(const std::string& name, const Shape& shape) {
    if (count_of(shape) == 0) throw Error(concat(path_.string(), ": ", name, " is ", describe(shape)));
    const Owned layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_layout(layout, H5D_CONTIGUOUS);
    H5Pset_alloc_time(layout, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(layout, H5D_FILL_TIME_NEVER);
    const Owned data(make_dataset(name, shape, Number::float32(), layout), H5Dclose);
    const haddr_t offset = H5Dget_offset(data);
    if (offset == HADDR_UNDEF) fail(concat("no place for ", name, last_cause()));
    return offset;
}

void Hdf5File::read_values(const std::string& name, void* values, std::size_t count, const Number& number) const {
    const Shape stored = shape(name);
    if (count_of(stored) != count) fail(concat(name, " is ", describe(stored), ", expected ", count, " values"));
    if (count > 0) read_numbers(name, number.memory, H5S_ALL, H5S_ALL, values);
}

void Hdf5File::read_slices(const std::string& name, std::int64_t first, std::span<float> values) const {
    const Shape stored = shape(name);
    if (stored.empty() || count_of(stored) == 0) fail(concat(name, " is ", describe(stored), ", which has no slices"));
    const std::size_t each = count_of(stored) / std::size_t(stored.front());
    const std::size_t slices = values.size() / each;
    if (values.size() % each != 0 || first < 0 || std::uint64_t(first) + slices > std::uint64_t(stored.front()))
        fail(concat(name, " is ", describe(stored), ", expected ", values.size(), " values from slice ", first));
    if (values.empty()) return;
    std::vector<hsize_t> begin(stored.size(), 0), size(stored.begin(), stored.end());
    begin.front() = hsize_t(first);
    size.front() = slices;
    const Owned selected = make_space(stored);
    const Owned memory = make_space({std::int64_t(values.size())});
    H5Sselect_hyperslab(selected, H5S_SELECT_SET, begin.data(), nullptr, size.data(), nullptr);
    read_numbers(name, H5T_NATIVE_FLOAT, memory, selected, values.data());
}

void Hdf5File::read_numbers(const std::string& name, Handle memory_type, Handle memory, Handle stored,
                            void* values) const {
    const Owned data(H5Dopen2(file_, object_path(name).c_str(), H5P_DEFAULT), H5Dclose);
    const Owned type(H5Dget_type(data), H5Tclose);
    const H5T_class_t kind = H5Tget_class(type);
    if (kind != H5T_FLOAT && kind != H5T_INTEGER) fail(concat(name, " does not hold numbers"));
    if (H5Dread(data, memory_type, memory, stored, H5P_DEFAULT, values) < 0)
        fail(concat("reading ", name, " failed", last_cause()));
}

void Hdf5File::write(const std::string& name, std::span<const float> values, const Shape& shape, Storage storage) {
    write_values(name, values.data(), values.size(), shape, Number::float32(), storage.level);
}
void Hdf5File::write(const std::string& name, std::span<const double> values, const Shape& shape, Storage storage) {
    write_values(name, values.data(), values.size(), shape, Number::float64(), storage.level);
}
void Hdf5File::write(const std::string& name, std::span<const std::int32_t> values, const Shape& shape,
                     Storage storage) {
    write_values(name, values.data(), values.size(), shape, Number::int32(), storage.level);
}
void Hdf5File::write(const std::string& name, std::span<const std::uint16_t> values, const Shape& shape,
                     Storage storage) {
    write_values(name, values.data(), values.size(), shape, Number::uint16(), storage.level);
}
void Hdf5File::read(const std::string& name, std::span<float> values) const {
    read_values(name, values.data(), values.size(), Number::float32());
}
void Hdf5File::read(const std::string& name, std::span<double> values) const {
    read_values(name, values.data(), values.size(), Number::float64());
}
void Hdf5File::read(const std::string& name, std::span<std::int32_t> values) const {
    read_values(name, values.data(), values.size(), Number::int32());
}
void Hdf5File::read(const std::string& name, std::span<std::uint16_t> values) const {
    read_values(name, values.data(), values.size(), Number::uint16());
}

void Hdf5File::write_texts(const std::string& name, const std::vector<std::string>& texts, Storage storage) {
    std::size_t longest = 1;  // HDF5 has no texts without room
    for (const auto& text : texts) longest = std::max(longest, text.size());
    std::string bytes;
    for (const auto& text : texts) bytes.append(text).append(longest - text.size(), '\0');
    const Owned type = text_type_of(longest);
    write_values(name, bytes.data(), texts.size(), {std::int64_t(texts.size())}, {type, type, longest}, storage.level);
}

std::vector<std::string> Hdf5File::read_texts(const std::string& name) const {
    const Shape stored = shape(name);
    const Owned data(H5Dopen2(file_, object_path(name).c_str(), H5P_DEFAULT), H5Dclose);
    const Owned type(H5Dget_type(data), H5Tclose);
    if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 || stored.size() != 1)
        fail(concat(name, " does not hold texts of one length"));
    const std::size_t longest = H5Tget_size(type);
    std::string bytes(longest * count_of(stored), '\0');
    if (!bytes.empty() && H5Dread(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) < 0)
        fail(concat("reading ", name, " failed", last_cause()));
    std::vector<std::string> texts;
    for (std::size_t begin = 0; begin < bytes.size(); begin += longest) {
        const std::string text = bytes.substr(begin, longest);
        texts.push_back(text.substr(0, text.find('\0')));
    }
    return texts;
}

bool Hdf5File::contains(const std::string& name) const {
    // H5Lexists wants every group on the way to exist.
    for (std::size_t end = name.find('/'); end != std::string::npos; end = name.find('/', end + 1))
        if (H5Lexists(file_, object_path(name.substr(0, end)).c_str(), H5P_DEFAULT) <= 0) return false;
    return name.empty() || H5Lexists(file_, object_path(name).c_str(), H5P_DEFAULT) > 0;
}

std::vector<std::string> Hdf5File::names(const std::string& group) const {
    std::vector<std::string> found;
    if (!contains(group)) fail(concat("has no group ", group));
    const Owned opened(H5Gopen2(file_, object_path(group).c_str(), H5P_DEFAULT), H5Gclose);
    if (!opened.valid()) fail(concat(group, " is not a group"));
    const auto add = [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
        static_cast<std::vector<std::string>*>(out)->push_back(name);
        return 0;
    };
    if (H5Literate(opened, H5_INDEX_NAME, H5_ITER_INC, nullptr, add, &found) < 0)
        fail(concat("reading group ", group, " failed", last_cause()));
    return found;
}

Hdf5File::Shape Hdf5File::shape(const std::string& name) const {
    if (!contains(name)) fail(concat(name, " is missing"));
    const Owned data(H5Dopen2(file_, object_path(name).c_str(), H5P_DEFAULT), H5Dclose);
    if (!data.valid()) fail(concat(name, " is not a dataset"));
    const Owned space(H5Dget_space(data), H5Sclose);
    std::vector<hsize_t> sizes(std::size_t(std::max(0, H5Sget_simple_extent_ndims(space))));
    H5Sget_simple_extent_dims(space, sizes.data(), nullptr);
    const Shape found(sizes.begin(), sizes.end());
    const double elements = std::accumulate(sizes.begin(), sizes.end(), 1.0, std::multiplies<>());
    if (elements > most_elements(file_, data)) fail(concat(name, " is ", describe(found), ", more than fits the file"));
    return found;
}

Hdf5Library hdf5_library() {
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
    return {concat(major, ".", minor, ".", release), is_parallel};
}

std::size_t count_of(const Hdf5File::Shape& shape) {
    return std::accumulate(shape.begin(), shape.end(), std::size_t{1},
                           [](std::size_t product, std::int64_t size) { return product * std::size_t(size); });
}

std::string describe(const Hdf5File::Shape& shape) {
    std::string text = "[";
    for (std::size_t i = 0; i < shape.size(); ++i) text += concat(i ? ", " : "", shape[i]);
    return text + "]";
}

}  // namespace expar
