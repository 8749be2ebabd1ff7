#include "expar/store/hdf5_file.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <numeric>

#include "expar/base/error.hpp"
#include "expar/store/raw_file.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

using testing_support::complaint_of;
using testing_support::TemporaryFolder;
using testing_support::write_text;

class Hdf5FileTest : public testing::Test {
protected:
    TemporaryFolder folder;
    std::filesystem::path path = folder / "x.h5";
};

TEST_F(Hdf5FileTest, GivesBackWhatWasWritten) {
    std::vector<float> floats(6000);
    std::iota(floats.begin(), floats.end(), 0.25F);
    const std::vector<double> doubles = {1e-300, -2.5, 3};
    const std::vector<std::int32_t> integers = {-7, 8};
    {
        Hdf5File file = Hdf5File::create(path);
        file.write("a/b/floats", floats, {3, 2000});
        file.write("a/packed", floats, {3, 2000}, {.level = 6});
        file.write("doubles", doubles, {3});
        file.write("integers", integers, {2, 1});
        file.write("empty", std::span<const float>(), {0, 4});
        file.write("one", std::span(doubles).first(1), {});
        file.close();
    }
    const Hdf5File file = Hdf5File::open(path);
    for (const char* name : {"a/b/floats", "a/packed"}) {
        std::vector<float> read(floats.size());
        file.read(name, read);
        EXPECT_EQ(read, floats) << name;
        EXPECT_EQ(file.shape(name), (Hdf5File::Shape{3, 2000}));
    }
    std::vector<double> read_doubles(3);
    file.read("doubles", read_doubles);
    EXPECT_EQ(read_doubles, doubles);
    std::vector<std::int32_t> read_integers(2);
    file.read("integers", read_integers);
    EXPECT_EQ(read_integers, integers);
    EXPECT_EQ(file.shape("empty"), (Hdf5File::Shape{0, 4}));
    EXPECT_TRUE(file.shape("one").empty());
    EXPECT_EQ(file.names("a"), (std::vector<std::string>{"b", "packed"}));
    EXPECT_TRUE(file.contains("a/b/floats"));
    EXPECT_FALSE(file.contains("a/c/floats"));
}

TEST_F(Hdf5FileTest, TellsWhereOthersMayWriteAndReadsSlices) {
    std::uint64_t first = 0, second = 0;
    {
        Hdf5File file = Hdf5File::create(path);
        first = file.allocate("a/stacked", {3, 20, 30});
        file.write("between", std::vector<float>(2000), {2000});
        second = file.allocate("a/flat", {2, 3});
        file.close();
    }
    std::vector<float> values(1806);
    std::iota(values.begin(), values.end(), 0.5F);
    const auto bytes = std::as_bytes(std::span(values));
    RawFile raw = RawFile::open_to_write(path);
    EXPECT_GE(raw.bytes(), second + 24);
    raw.write_at(first, bytes.first(7200));
    raw.write_at(second, bytes.last(24));
    raw.close();
    EXPECT_EQ(first % 4096, 0u);

    const Hdf5File file = Hdf5File::open(path);
    std::vector<float> read(1200);
    file.read_slices("a/stacked", 1, read);
    EXPECT_TRUE(std::ranges::equal(read, std::span(values).subspan(600, 1200)));
    read.resize(6);
    file.read_slices("a/flat", 0, read);
    EXPECT_TRUE(std::ranges::equal(read, std::span(values).last(6)));
    EXPECT_EQ(complaint_of<UserError>([&] { file.read_slices("a/flat", 1, read); }),
              path.string() + ": a/flat is [2, 3], expected 6 values from slice 1");
    EXPECT_NE(complaint_of<UserError>([&] { file.read_slices("a/flat", -1, read); }), "");
    EXPECT_NE(complaint_of<UserError>([&] { file.read_slices("a/flat", 0, std::span(read).first(4)); }), "");
    EXPECT_EQ(complaint_of<UserError>([&] { file.read_slices("a/none", 0, read); }),
              path.string() + ": a/none is missing");
}

TEST_F(Hdf5FileTest, KeepsAttributesOfEveryKind) {
    {
        Hdf5File file = Hdf5File::create(path);
        file.set_attribute("", "text", std::string("seven \"ö\"\nlines"));
        file.set_attribute("", "none", std::string());
        file.set_attribute("", "integer", std::int64_t{1} << 60);
        file.set_attribute("", "real", 0.1);
    }
    const Hdf5File file = Hdf5File::open(path);
    EXPECT_EQ(file.text_attribute("", "text"), "seven \"ö\"\nlines");
    EXPECT_EQ(file.text_attribute("", "none"), "");
    EXPECT_EQ(file.integer_attribute("", "integer"), std::int64_t{1} << 60);
    EXPECT_EQ(file.real_attribute("", "real"), 0.1);
    EXPECT_FALSE(file.has_attribute("", "other"));
    EXPECT_EQ(complaint_of<UserError>([&] { (void)file.text_attribute("", "integer"); }),
              path.string() + ": attribute 'integer' is not a text");
}

TEST_F(Hdf5FileTest, RefusesInOneLineWhatIsNoFileOfItsKind) {
    const auto open = [this] { (void)Hdf5File::open(path); };
    EXPECT_EQ(complaint_of<UserError>(open), path.string() + ": no such file");
    write_text(path, "");
    EXPECT_EQ(complaint_of<UserError>(open), path.string() + ": not an HDF5 file");
    write_text(path, std::string(5000, 'x'));
    EXPECT_EQ(complaint_of<UserError>(open), path.string() + ": not an HDF5 file");
    EXPECT_NE(complaint_of<UserError>([this] { (void)Hdf5File::open(path.parent_path()); }).find("is a folder"),
              std::string::npos);
    EXPECT_NE(
        complaint_of<UserError>([this] { (void)Hdf5File::create(folder / "absent/x.h5"); }).find("cannot be written"),
        std::string::npos);
}

// HDF5 crashes at the end of the program after a write that failed, so it must not write to the disk.
TEST_F(Hdf5FileTest, InMemoryReachesTheDiskWhenItIsClosed) {
    Hdf5File file = Hdf5File::create_in_memory(path, 300000);
    const auto before = std::filesystem::file_size(path);
    file.set_attribute("", "text", std::string(20000, 'x'));
    file.write("values", std::vector<float>(50000, 2.5F), {50000});
    const std::uint64_t offset = file.allocate("later", {3, 5});
    EXPECT_EQ(std::filesystem::file_size(path), before);
    file.close();
    const std::vector<float> later(15, 7.0F);
    RawFile::open_to_write(path).write_at(offset, std::as_bytes(std::span(later)));

    const Hdf5File read = Hdf5File::open(path);
    std::vector<float> values(50000), found(15);
    read.read("values", values);
    read.read("later", found);
    EXPECT_EQ(values, std::vector<float>(50000, 2.5F));
    EXPECT_EQ(found, later);
    EXPECT_EQ(read.text_attribute("", "text"), std::string(20000, 'x'));
}

TEST_F(Hdf5FileTest, RefusesATruncatedFile) {
    {
        Hdf5File file = Hdf5File::create(path);
        file.write("values", std::vector<float>(10000), {10000});
        file.close();
    }
    std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
    const auto complaint = complaint_of<UserError>([this] { (void)Hdf5File::open(path); });
    EXPECT_NE(complaint.find("damaged"), std::string::npos) << complaint;
    EXPECT_EQ(complaint.find('\n'), std::string::npos);
}

TEST_F(Hdf5FileTest, NamesTheDatasetThatIsMissingOrOfAnotherSize) {
    Hdf5File file = Hdf5File::create(path);
    file.write("group/values", std::vector<float>(6), {2, 3});
    std::vector<float> read(5);
    EXPECT_EQ(complaint_of<UserError>([&] { file.read("group/other", read); }),
              path.string() + ": group/other is missing");
    EXPECT_EQ(complaint_of<UserError>([&] { file.read("group/values", read); }),
              path.string() + ": group/values is [2, 3], expected 5 values");
    EXPECT_EQ(complaint_of<UserError>([&] { (void)file.shape("group"); }), path.string() + ": group is not a dataset");
    EXPECT_NE(complaint_of<UserError>([&] { file.write("group/values", read, {5}); }), "");
}

TEST(Hdf5Library, KnowsItsVersion) {
    EXPECT_EQ(hdf5_library().version.substr(0, 2), "1.");
}

}  // namespace
}  // namespace expar
