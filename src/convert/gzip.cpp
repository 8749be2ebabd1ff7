#include <zlib.h>

#include <algorithm>

#include "expar/base/error.hpp"
#include "expar/convert/trace_import.hpp"

namespace expar {
namespace {

/// zlib's state, for as long as it is needed.
struct Inflation {
    Inflation() {
        constexpr int gzip_of_any_window = 16 + MAX_WBITS;
        if (inflateInit2(&stream, gzip_of_any_window) != Z_OK) throw Error("zlib cannot begin");
    }
    Inflation(const Inflation&) = delete;
    Inflation& operator=(const Inflation&) = delete;
    ~Inflation() { inflateEnd(&stream); }
    z_stream stream{};
};

}  // namespace

NamedText unpacked_gzip(NamedText file, std::size_t most_bytes) {
    if (!file.text.starts_with("\x1f\x8b")) return file;
    constexpr std::size_t step = std::size_t{1} << 20;
    Inflation inflation;
    z_stream& stream = inflation.stream;
    std::string_view rest = file.text;
    std::string out, block(step, '\0');
    bool inside = true;  // of a member
    while (inside || !rest.empty()) {
        if (!inside) inflateReset(&stream);
        const std::size_t given = std::min(rest.size(), step);
        stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(rest.data()));  // zlib does not write there
        stream.avail_in = uInt(given);
        stream.next_out = reinterpret_cast<Bytef*>(block.data());
        stream.avail_out = uInt(block.size());
        const int code = inflate(&stream, Z_NO_FLUSH);
        const std::size_t written = block.size() - stream.avail_out, taken = given - stream.avail_in;
        if ((code != Z_OK && code != Z_STREAM_END) || (code == Z_OK && written == 0 && taken == 0))
            throw UserError(concat(file.name, ": a damaged gzip file", stream.msg ? concat(": ", stream.msg) : ""));
        if (written > most_bytes - out.size())
            throw UserError(concat(file.name, ": unpacks to more than ", most_bytes, " bytes"));
        out.append(block, 0, written);
        rest.remove_prefix(taken);
        inside = code != Z_STREAM_END;
        if (inside && rest.empty() && written < block.size())
            throw UserError(concat(file.name, ": a gzip file that is cut off"));
    }
    return {std::move(file.name), std::move(out)};
}

}  // namespace expar
