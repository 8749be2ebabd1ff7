#include "expar/store/golden.hpp"

#include <gtest/gtest.h>

#include "expar/store/hdf5_file.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

using testing_support::complaint_of;
using testing_support::TemporaryFolder;
using testing_support::write_text;

// Two experts of width 2 for rows of 3, one token; `left_out` is not written.
void write_golden(const std::filesystem::path& path, const std::string& left_out) {
    Hdf5File file = Hdf5File::create(path);
    for (const auto& [name, text] :
         std::initializer_list<std::pair<const char*, const char*>>{{"format", "expar-golden-1"},
                                                                    {"model", "mixtral"},
                                                                    {"router", "mixtral"},
                                                                    {"activation", "swiglu"},
                                                                    {"shared", "none"},
                                                                    {"torch_version", "2"},
                                                                    {"transformers_version", "5"}})
        if (left_out != name) file.set_attribute("", name, std::string(text));
    for (const auto& [name, number] :
         std::initializer_list<std::pair<const char*, std::int64_t>>{{"hidden", 3},
                                                                     {"intermediate", 2},
                                                                     {"experts", 2},
                                                                     {"top_k", 1},
                                                                     {"tokens", 1},
                                                                     {"shared_intermediate", 0},
                                                                     {"seed", 5}})
        if (left_out != name) file.set_attribute("", name, number);
    const auto add = [&](const std::string& name, std::int64_t rows, std::int64_t cols) {
        if (left_out != name) file.write(name, std::vector<double>(std::size_t(rows * cols), 0.5), {rows, cols});
    };
    for (const std::string prefix : {"", "d_"}) {
        add(prefix + "router.weight", 2, 3);
        for (const std::string expert : {"experts.0.", "experts.1."}) {
            add(prefix + expert + "gate.weight", 2, 3);
            add(prefix + expert + "up.weight", 2, 3);
            add(prefix + expert + "down.weight", 3, 2);
        }
    }
    for (const char* name : {"input", "d_output", "output", "d_input", "d_balance_input"}) add(name, 1, 3);
    add("weights", 1, 1);
    add("d_balance_router.weight", 2, 3);
    file.write("choices", std::vector<std::int32_t>{1}, {1, 1});
    file.write("balance_loss", std::vector<double>{1.25}, {1});
}

class GoldenTest : public testing::Test {
protected:
    GoldenTest() : path(world.broadcast((folder / "g.h5").string(), 0)) {}
    void write(const std::string& left_out) const {
        if (world.rank() == 0) write_golden(path, left_out);
    }
    [[nodiscard]] std::string complaint() const {
        return complaint_of<UserError>([this] { (void)read_golden(path, world); });
    }

    Communicator world{MPI_COMM_WORLD};
    TemporaryFolder folder;
    std::filesystem::path path;
};

TEST_F(GoldenTest, IsReadByOneRankAndKnownToAll) {
    write("");
    const GoldenBlock block = read_golden(path, world);
    EXPECT_EQ(block.model, "mixtral");
    EXPECT_EQ(block.hidden, 3);
    EXPECT_EQ(block.seed, 5);
    EXPECT_EQ(block.choices, std::vector<int>{1});
    EXPECT_EQ(block.balance_loss, 1.25);
    EXPECT_EQ(block.tensor("d_experts.1.down.weight").values, std::vector<double>(6, 0.5));
    EXPECT_EQ(block.weight_names().size(), 7U);
    EXPECT_THROW((void)block.tensor("nothing"), Error);
}

TEST_F(GoldenTest, NamesWhatIsMissing) {
    for (const std::string name : {"d_experts.1.up.weight", "weights"}) {
        write(name);
        EXPECT_EQ(complaint(), path.string() + ": " + name + " is missing");
    }
    write("top_k");
    EXPECT_EQ(complaint(), path.string() + ": has no attribute 'top_k'");
}

TEST_F(GoldenTest, RefusesFilesThatAreNone) {
    EXPECT_EQ(complaint(), path.string() + ": no such file");
    if (world.rank() == 0) write_text(path, "golden");
    EXPECT_EQ(complaint(), path.string() + ": not an HDF5 file");
    write("format");
    EXPECT_NE(complaint().find("not a golden file"), std::string::npos);
}

}  // namespace
}  // namespace expar
