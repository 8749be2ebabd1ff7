#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "expar/comm/communicator.hpp"
#include "expar/store/raw_file.hpp"

namespace expar {

/// XXH3 with 64 bits of bytes that come piece by piece; the same whatever the pieces.
class Hash {
public:
    Hash();
    ~Hash();
    Hash(const Hash&) = delete;
    Hash& operator=(const Hash&) = delete;
    void add(std::span<const std::byte> bytes);
    [[nodiscard]] std::uint64_t value() const;

private:
    struct State;
    std::unique_ptr<State> state_;
};
[[nodiscard]] std::uint64_t hash_bytes(std::span<const std::byte> bytes);

/// 16 digits, lower case; and back, nothing for any other text.
[[nodiscard]] std::string hash_text(std::uint64_t hash);
[[nodiscard]] std::optional<std::uint64_t> parse_hash(std::string_view text);

/// A stretch of a file, and what it holds.
struct Piece {
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    std::uint64_t hash = 0;
    std::string name;  ///< "value/layers.0.experts.up.weight[3]"; empty: HDF5's own structure
};

/// What a file must be, to be read at all. Its pieces cover the file exactly once, ascending. A value.
struct Digest {
    std::uint64_t file_bytes = 0;
    std::vector<Piece> pieces;
};

/// More than a digest ever has: that of ten million tensors would.
constexpr std::size_t most_digest_bytes = std::size_t{1} << 30;

/// FILE.digest
[[nodiscard]] std::filesystem::path digest_path(const std::filesystem::path& file);

/// "expar-digest-1 <bytes of the file> <number of pieces>", a line "<hash> <offset> <bytes> <name, or ->" for each
/// piece, and the hash of all lines before.
[[nodiscard]] std::string to_text(const Digest& digest);
/// Throws UserError, naming `source` and the line. Takes memory of at most 10 times the text.
[[nodiscard]] Digest parse_digest(std::string_view text, const std::string& source);

/// The digest of a file of which `named` pieces are known; what lies between is hashed as it is in the file.
[[nodiscard]] Digest make_digest(const RawFile& file, std::vector<Piece> named);

/// Holds a file against the digest beside it. Throws UserError, naming the file and the piece that is damaged, or that
/// there is no digest. Local.
Digest verify_file(const std::filesystem::path& path);
/// The same, the file shared out over the ranks. Collective; throws on every rank alike.
Digest verify_file(const std::filesystem::path& path, const Communicator& world);

}  // namespace expar
