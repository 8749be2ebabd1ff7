// A damaged file, or one with a damaged digest: refused by the digest, which is all that looks at a checkpoint before
// HDF5 does. The first byte says whose damage the rest is.
#include "expar/store/digest.hpp"
#include "fuzz.hpp"
#include "support/temporary_folder.hpp"

using namespace expar;

// Pieces are read through a buffer of at most a megabyte.
constexpr fuzz::Allowance allowance{.factor = 8, .constant = std::size_t{1} << 21};

namespace {

struct Good {
    std::string file;
    std::string digest;
};

// What lies where does not matter: a digest is about bytes.
Good make_good(const std::filesystem::path& path) {
    std::string bytes;
    for (int i = 0; i < 500; ++i) bytes += std::to_string(i);
    testing_support::write_text(path, bytes);
    const auto stretch = std::as_bytes(std::span(bytes)).subspan(200, 1000);
    return {bytes, to_text(make_digest(RawFile::open(path), {{200, 1000, hash_bytes(stretch), "value/a"}}))};
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const testing_support::TemporaryFolder folder;
    static const std::filesystem::path path = folder / "step-000001.h5";
    static const Good good = make_good(path);
    fuzz::Bytes input(data, size);
    const bool its_digest = input.byte() % 2 == 1;
    const std::string file = its_digest ? good.file : fuzz::damaged(good.file, input);
    const std::string digest = its_digest ? fuzz::damaged(good.digest, input) : good.digest;
    testing_support::write_text(path, file);
    testing_support::write_text(digest_path(path), digest);
    const std::string line =
        fuzz::expect_sound(file.size() + digest.size(), allowance, [&] { (void)verify_file(path); });
    const bool unchanged = file == good.file && digest == good.digest;
    fuzz::expect(line.empty() == unchanged, unchanged ? "a good file was refused: " + line : "damage was not seen");
    return 0;
}
