// A golden file, which HDF5 parses in a process of its own. An input that begins like an HDF5 file is the file; another
// is the damage of a small good one.
#include <fstream>
#include <iterator>

#include "expar/store/golden.hpp"
#include "expar/store/hdf5_file.hpp"
#include "fuzz.hpp"
#include "support/temporary_folder.hpp"

using namespace expar;

// Of this process: what the other one sent, twice, and as values. Names of tensors come to more than tensors this
// small.
constexpr fuzz::Allowance allowance{.factor = 64, .constant = std::size_t{1} << 18};

namespace {

// One expert of width 1 for one token of width 2.
void write_good(const std::filesystem::path& path) {
    Hdf5File file = Hdf5File::create(path);
    for (const char* name : {"model", "router"}) file.set_attribute("", name, std::string("switch"));
    for (const char* name : {"torch_version", "transformers_version"}) file.set_attribute("", name, std::string("2"));
    file.set_attribute("", "format", std::string(golden_format));
    file.set_attribute("", "activation", std::string("relu"));
    file.set_attribute("", "shared", std::string("none"));
    for (const char* name : {"intermediate", "experts", "top_k", "tokens", "seed"})
        file.set_attribute("", name, std::int64_t{1});
    file.set_attribute("", "hidden", std::int64_t{2});
    file.set_attribute("", "shared_intermediate", std::int64_t{0});
    const std::vector<double> two = {0.5, 2}, one = {1};
    for (const char* name : {"router.weight", "experts.0.up.weight", "d_router.weight", "d_experts.0.up.weight",
                             "input", "d_output", "output", "d_input", "d_balance_input", "d_balance_router.weight"})
        file.write(name, two, {1, 2}, {.level = name[0] == 'd' ? 4 : 0});
    for (const char* name : {"experts.0.down.weight", "d_experts.0.down.weight"}) file.write(name, two, {2, 1});
    file.write("weights", one, {1, 1});
    file.write("choices", std::vector<std::int32_t>{0}, {1, 1});
    file.write("balance_loss", one, {1});
    file.close();
}

std::string make_good() {
    const testing_support::TemporaryFolder folder;
    write_good(folder / "good.h5");
    std::ifstream file(folder / "good.h5", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const std::string good = make_good();
    fuzz::Bytes input(data, size);
    const bool whole = input.rest().starts_with("\x89HDF");
    const std::string content = whole ? std::string(input.rest()) : damaged(good, input);
    const std::filesystem::path path = fuzz::file_with(content);
    const std::string line = fuzz::expect_sound(content.size(), allowance, [&] { (void)read_golden(path); });
    fuzz::expect(line.empty() || content != good, "the good file was refused: " + line);
    return 0;
}
