#include "expar/convert/safetensors.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "expar/base/error.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

using testing_support::complaint_of;
using testing_support::TemporaryFolder;
using testing_support::write_text;

class SafetensorsTest : public testing::Test {
protected:
    void write_header(const std::string& header, std::size_t data_bytes) const {
        const std::uint64_t length = header.size();
        write_text(path, std::string(reinterpret_cast<const char*>(&length), 8) + header + std::string(data_bytes, 0));
    }
    [[nodiscard]] std::string complaint() const {
        return complaint_of<UserError>([this] { const SafetensorsFile file(path); });
    }
    TemporaryFolder folder;
    std::filesystem::path path = folder / "model.safetensors";
};

TEST_F(SafetensorsTest, GivesBackWhatWasWritten) {
    std::vector<float> matrix(6);
    std::iota(matrix.begin(), matrix.end(), -1.5F);
    {
        SafetensorsWriter writer(path, {{"a.weight", {2, 3}}, {"b.norm", {1}}});
        writer.append(matrix);
        EXPECT_FALSE(std::filesystem::exists(path));
        writer.append(std::span(matrix).first(1));
        writer.finish();
    }
    SafetensorsFile file(path);
    ASSERT_EQ(file.tensors().size(), 2U);
    EXPECT_EQ(file.tensors().at("a.weight").shape, (std::vector<std::int64_t>{2, 3}));
    EXPECT_EQ(file.tensors().at("a.weight").dtype, "F32");
    EXPECT_EQ(file.metadata().at("format"), "pt");
    EXPECT_EQ(file.read("a.weight"), matrix);
    EXPECT_EQ(file.read("b.norm"), std::vector<float>{-1.5F});
    EXPECT_EQ(complaint_of<UserError>([&] { (void)file.read("c"); }), path.string() + ": c is missing");
}

TEST_F(SafetensorsTest, LeavesNothingWhenTensorsAreMissingOrOfAnotherSize) {
    {
        SafetensorsWriter writer(path, {{"a", {2}}});
        EXPECT_THROW(writer.append(std::vector<float>(3)), Error);
        EXPECT_THROW(writer.finish(), Error);
    }
    EXPECT_TRUE(std::filesystem::is_empty(path.parent_path()));
}

TEST_F(SafetensorsTest, RefusesHeadersThatLie) {
    EXPECT_NE(complaint(), "");  // no file
    write_text(path, "short");
    EXPECT_NE(complaint().find("not a safetensors file"), std::string::npos);
    write_text(path, std::string(64, '\xFF'));
    EXPECT_NE(complaint().find("header does not fit"), std::string::npos);
    write_header("[1, 2]", 0);
    EXPECT_NE(complaint().find("not a JSON object"), std::string::npos);
    write_header(R"({"a": )" + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}", 0);
    EXPECT_NE(complaint().find("lists in lists"), std::string::npos);
    write_header(R"({"__metadata__": {"a\"[[[{{{": "b"}})", 0);
    EXPECT_EQ(complaint(), "");
    write_header(R"({"a": {"dtype": "F32", "shape": [2]}})", 8);
    EXPECT_NE(complaint().find("the entry of a is not"), std::string::npos);
    write_header(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4e20]}})", 8);
    EXPECT_NE(complaint().find("the entry of a is not"), std::string::npos);
    write_header(R"({"a": {"dtype": "F31", "shape": [2], "data_offsets": [0, 8]}})", 8);
    EXPECT_NE(complaint().find("unknown type 'F31'"), std::string::npos);
    write_header(R"({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}})", 8);
    EXPECT_NE(complaint().find("its shape does not fill"), std::string::npos);
    write_header(R"({"a": {"dtype": "F32", "shape": [-2, -1], "data_offsets": [0, 8]}})", 8);
    EXPECT_NE(complaint().find("its shape does not fill"), std::string::npos);
    write_header(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}})", 12);
    EXPECT_NE(complaint().find("a gap or overlap at byte 0"), std::string::npos);
    write_header(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})", 12);
    EXPECT_NE(complaint().find("holds 12 bytes of data, its header 8"), std::string::npos);
}

}  // namespace
}  // namespace expar
