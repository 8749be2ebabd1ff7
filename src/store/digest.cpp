#include "expar/store/digest.hpp"

#define XXH_STATIC_LINKING_ONLY  // for a state whose size is known
#include <xxhash.h>

#include <algorithm>
#include <charconv>

#include "expar/base/error.hpp"
#include "expar/base/read_file.hpp"
#include "expar/comm/verdict.hpp"

namespace expar {
namespace {

constexpr std::string_view first_word = "expar-digest-1";
constexpr std::string_view no_name = "-";

std::uint64_t hash_of(std::string_view text) {
    return hash_bytes(std::as_bytes(std::span(text)));
}

// Canonical, so that a number has one text: no sign, no leading zero.
std::optional<std::uint64_t> parse_number(std::string_view text) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    if (text.size() > 1 && text.front() == '0') return std::nullopt;
    return number;
}

bool is_name(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
}

// The words of a line that one blank separates; more than four are none of ours.
std::vector<std::string_view> words_of(std::string_view line) {
    std::vector<std::string_view> words;
    while (words.size() < 5) {
        const std::size_t blank = line.find(' ');
        words.push_back(line.substr(0, blank));
        if (blank == std::string_view::npos) break;
        line.remove_prefix(blank + 1);
    }
    return words;
}

std::optional<Piece> parse_piece(std::string_view line) {
    const auto words = words_of(line);
    if (words.size() != 4 || !is_name(words[3])) return std::nullopt;
    const auto hash = parse_hash(words[0]);
    const auto offset = parse_number(words[1]);
    const auto bytes = parse_number(words[2]);
    if (!hash || !offset || !bytes || *bytes == 0) return std::nullopt;
    return Piece{*offset, *bytes, *hash, std::string(words[3] == no_name ? "" : words[3])};
}

std::uint64_t hash_of_stretch(const RawFile& file, std::uint64_t offset, std::uint64_t bytes) {
    std::vector<std::byte> buffer(std::min<std::uint64_t>(bytes, 1 << 20));
    Hash hash;
    for (std::uint64_t done = 0; done < bytes;) {
        const auto part = std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), bytes - done));
        file.read_at(offset + done, part);
        hash.add(part);
        done += part.size();
    }
    return hash.value();
}

void expect_undamaged(const RawFile& file, const Piece& piece) {
    if (hash_of_stretch(file, piece.offset, piece.bytes) == piece.hash) return;
    throw UserError(concat(file.path().string(),
                           ": damaged: ", piece.name.empty() ? "HDF5's own structure" : piece.name, " (bytes ",
                           piece.offset, " to ", piece.offset + piece.bytes - 1, ")"));
}

std::string read_digest(const std::filesystem::path& path) {
    (void)RawFile::open(path);  // what is missing itself is named first
    const std::filesystem::path beside = digest_path(path);
    std::error_code ignored;
    if (!std::filesystem::exists(beside, ignored))
        throw UserError(concat(path.string(), ": no digest beside it (", beside.filename().string(),
                               "): half-written, or not by expar"));
    (void)RawFile::open(beside);  // a pipe would wait for a writer
    return read_file(beside, most_digest_bytes);
}

void expect_size(const RawFile& file, const Digest& digest) {
    if (const std::uint64_t bytes = file.bytes(); bytes != digest.file_bytes)
        throw UserError(concat(file.path().string(), ": ", bytes, " bytes, its digest says ", digest.file_bytes));
}

}  // namespace

struct Hash::State {
    XXH3_state_t state;
};

Hash::Hash() : state_(std::make_unique<State>()) {
    XXH3_64bits_reset(&state_->state);
}

Hash::~Hash() = default;

void Hash::add(std::span<const std::byte> bytes) {
    XXH3_64bits_update(&state_->state, bytes.data(), bytes.size());
}

std::uint64_t Hash::value() const {
    return XXH3_64bits_digest(&state_->state);
}

std::uint64_t hash_bytes(std::span<const std::byte> bytes) {
    return XXH3_64bits(bytes.data(), bytes.size());
}

std::string hash_text(std::uint64_t hash) {
    std::string text(16, '0');
    for (std::size_t i = 0; i < text.size(); ++i) text[i] = "0123456789abcdef"[hash >> (60 - 4 * i) & 15];
    return text;
}

std::optional<std::uint64_t> parse_hash(std::string_view text) {
    std::uint64_t hash = 0;
    for (const char c : text) {
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f')) return std::nullopt;
        hash = hash << 4 | std::uint64_t(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return text.size() == 16 ? std::optional(hash) : std::nullopt;
}

std::filesystem::path digest_path(const std::filesystem::path& file) {
    return file.string() + ".digest";
}

std::string to_text(const Digest& digest) {
    std::string text = concat(first_word, ' ', digest.file_bytes, ' ', digest.pieces.size(), '\n');
    for (const Piece& piece : digest.pieces)
        text += concat(hash_text(piece.hash), ' ', piece.offset, ' ', piece.bytes, ' ',
                       piece.name.empty() ? no_name : piece.name, '\n');
    return text + hash_text(hash_of(text)) + '\n';
}

Digest parse_digest(std::string_view text, const std::string& source) {
    constexpr std::size_t last_line = 17;
    const auto fail = [&](const std::string& what) { throw UserError(concat(source, ": ", what)); };
    if (!text.starts_with(first_word)) fail(concat("not a digest, its first word is not '", first_word, "'"));
    if (text.size() < last_line || text.back() != '\n' ||
        parse_hash(text.substr(text.size() - last_line, 16)) != hash_of(text.substr(0, text.size() - last_line)))
        fail("damaged: its last line is not the hash of the lines before");
    text.remove_suffix(last_line);

    Digest digest;
    std::uint64_t pieces = 0, end = 0;
    for (int line = 1; !text.empty(); ++line) {
        const std::size_t length = text.find('\n');
        if (length == std::string_view::npos) fail(concat("line ", line, ": has no end"));
        if (line == 1) {
            const auto words = words_of(text.substr(0, length));
            const auto bytes = words.size() == 3 ? parse_number(words[1]) : std::nullopt;
            const auto count = words.size() == 3 ? parse_number(words[2]) : std::nullopt;
            if (!bytes || !count || words[0] != first_word)
                fail(concat("line 1: is not '", first_word, " <bytes> <pieces>'"));
            digest.file_bytes = *bytes;
            pieces = *count;
        } else {
            auto piece = parse_piece(text.substr(0, length));
            if (!piece) fail(concat("line ", line, ": is not '<hash> <offset> <bytes> <name>'"));
            if (piece->offset != end || piece->bytes > digest.file_bytes - end)
                fail(concat("line ", line, ": ", piece->bytes, " bytes from ", piece->offset,
                            ", the piece before ends at ", end, " and the file at ", digest.file_bytes));
            end += piece->bytes;
            digest.pieces.push_back(std::move(*piece));
        }
        text.remove_prefix(length + 1);
    }
    if (digest.pieces.size() != pieces) fail(concat("has ", digest.pieces.size(), " pieces, line 1 says ", pieces));
    if (end != digest.file_bytes) fail(concat("its pieces end at ", end, ", the file at ", digest.file_bytes));
    return digest;
}

Digest make_digest(const RawFile& file, std::vector<Piece> named) {
    std::ranges::sort(named, {}, &Piece::offset);
    Digest digest{file.bytes(), {}};
    std::uint64_t end = 0;
    const auto fill_up_to = [&](std::uint64_t next) {
        if (next > end) digest.pieces.push_back({end, next - end, hash_of_stretch(file, end, next - end), ""});
    };
    for (Piece& piece : named) {
        if (piece.offset < end || piece.offset + piece.bytes > digest.file_bytes)
            throw Error(concat("digest: ", piece.name, " at byte ", piece.offset, " overlaps another or the end"));
        fill_up_to(piece.offset);
        end = piece.offset + piece.bytes;
        digest.pieces.push_back(std::move(piece));
    }
    fill_up_to(digest.file_bytes);
    return digest;
}

Digest verify_file(const std::filesystem::path& path) {
    Digest digest = parse_digest(read_digest(path), digest_path(path).string());
    const RawFile file = RawFile::open(path);
    expect_size(file, digest);
    for (const Piece& piece : digest.pieces) expect_undamaged(file, piece);
    return digest;
}

Digest verify_file(const std::filesystem::path& path, const Communicator& world) {
    std::string text;
    judge_on_root(world, [&] { text = read_digest(path); });
    text = world.broadcast(std::move(text), 0, {"digest"});
    Digest digest = parse_digest(text, digest_path(path).string());  // the same text, so the same verdict, everywhere
    judge_everywhere(world, [&] {
        const StuckCallWatch watch(*world.policy(), {"checking a digest"}, world.rank(), "read");
        const RawFile file = RawFile::open(path);
        expect_size(file, digest);
        // By where they begin, so that the lowest rank that complains names the first damage.
        for (const Piece& piece : digest.pieces)
            if (int(double(piece.offset) / double(digest.file_bytes) * world.size()) == world.rank())
                expect_undamaged(file, piece);
    });
    return digest;
}

}  // namespace expar
