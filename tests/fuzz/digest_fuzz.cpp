// The text of a digest. After an odd first byte the line that vouches for the others is added, so that damage gets past
// it.
#include "expar/store/digest.hpp"
#include "fuzz.hpp"

using namespace expar;

// 64 bytes for each line, which has 22 at least, in a vector that grows, and the name.
constexpr fuzz::Allowance allowance{.factor = 16};

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Bytes input(data, size);
    const bool vouched = input.byte() % 2 == 1;
    std::string text(input.rest());
    if (vouched) text += hash_text(hash_bytes(std::as_bytes(std::span(text)))) + '\n';
    Digest digest;
    if (!fuzz::expect_sound(text.size(), allowance, [&] { digest = parse_digest(text, "g.h5.digest"); }).empty())
        return 0;

    fuzz::expect(to_text(digest) == text, "a digest has two texts");
    std::uint64_t end = 0;
    for (const Piece& piece : digest.pieces) {
        fuzz::expect(piece.offset == end && piece.bytes > 0, "a gap between pieces");
        end += piece.bytes;
    }
    fuzz::expect(end == digest.file_bytes, "the pieces do not cover the file");
    return 0;
}
