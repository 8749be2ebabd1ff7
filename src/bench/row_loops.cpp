#include "row_loops.hpp"

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace expar {
namespace {

constexpr std::size_t line_bytes = 64;

bool aligned(const void* address) {
    return reinterpret_cast<std::uintptr_t>(address) % line_bytes == 0;
}

// The last bytes of rows that are no whole number of lines.
void merge_bytes(std::span<std::byte* const> rows, std::byte* out, std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to; ++i) {
        out[i] = {};
        for (const std::byte* row : rows) out[i] ^= row[i];
    }
}

[[gnu::target("avx512f")]] void copy_to_avx512(const std::byte* row, std::span<std::byte* const> places,
                                               std::size_t bytes, Stores stores) {
    const std::size_t lines = bytes / line_bytes * line_bytes;
    for (std::byte* place : places) {
        if (stores == Stores::past_caches && aligned(place))
            for (std::size_t i = 0; i < lines; i += line_bytes)
                _mm512_stream_si512(reinterpret_cast<__m512i*>(place + i), _mm512_loadu_si512(row + i));
        else
            for (std::size_t i = 0; i < lines; i += line_bytes)
                _mm512_storeu_si512(place + i, _mm512_loadu_si512(row + i));
        std::memcpy(place + lines, row + lines, bytes - lines);
    }
}

[[gnu::target("avx512f")]] void merge_avx512(const MergedRows& in, std::byte* out, std::size_t bytes, Stores stores) {
    const std::size_t lines = bytes / line_bytes * line_bytes;
    const bool past = stores == Stores::past_caches && aligned(out);
    for (std::size_t i = 0; i < lines; i += line_bytes) {
        for (const std::byte* row : in.next) __builtin_prefetch(row + i);
        __m512i all = _mm512_setzero_si512();
        for (const std::byte* row : in.rows) all = _mm512_xor_si512(all, _mm512_loadu_si512(row + i));
        if (past)
            _mm512_stream_si512(reinterpret_cast<__m512i*>(out + i), all);
        else
            _mm512_storeu_si512(out + i, all);
    }
    merge_bytes(in.rows, out, lines, bytes);
}

[[gnu::target("avx512f")]] void combine_two_avx512(const TwoRows& in, std::byte* out, std::size_t bytes,
                                                   Stores stores) {
    const std::size_t lines = bytes / line_bytes * line_bytes;
    const bool past = stores == Stores::past_caches && aligned(out);
    for (std::size_t i = 0; i < lines; i += line_bytes) {
        if (in.next_other) __builtin_prefetch(in.next_other + i);
        const __m512i both = _mm512_xor_si512(_mm512_loadu_si512(in.row + i), _mm512_loadu_si512(in.other + i));
        if (past)
            _mm512_stream_si512(reinterpret_cast<__m512i*>(out + i), both);
        else
            _mm512_storeu_si512(out + i, both);
    }
    for (std::size_t i = lines; i < bytes; ++i) out[i] = in.row[i] ^ in.other[i];
}

const __m256i* words(const std::byte* address) {
    return reinterpret_cast<const __m256i*>(address);
}
__m256i* words(std::byte* address) {
    return reinterpret_cast<__m256i*>(address);
}

[[gnu::target("avx2")]] void copy_to_avx2(const std::byte* row, std::span<std::byte* const> places, std::size_t bytes,
                                          Stores stores) {
    constexpr std::size_t width = 32;
    const std::size_t whole = bytes / width * width;
    for (std::byte* place : places) {
        if (stores == Stores::past_caches && aligned(place))
            for (std::size_t i = 0; i < whole; i += width)
                _mm256_stream_si256(words(place + i), _mm256_loadu_si256(words(row + i)));
        else
            for (std::size_t i = 0; i < whole; i += width)
                _mm256_storeu_si256(words(place + i), _mm256_loadu_si256(words(row + i)));
        std::memcpy(place + whole, row + whole, bytes - whole);
    }
}

[[gnu::target("avx2")]] void merge_avx2(const MergedRows& in, std::byte* out, std::size_t bytes, Stores stores) {
    constexpr std::size_t width = 32;
    const std::size_t whole = bytes / width * width;
    const bool past = stores == Stores::past_caches && aligned(out);
    for (std::size_t i = 0; i < whole; i += width) {
        for (const std::byte* row : in.next) __builtin_prefetch(row + i);
        __m256i all = _mm256_setzero_si256();
        for (const std::byte* row : in.rows) all = _mm256_xor_si256(all, _mm256_loadu_si256(words(row + i)));
        if (past)
            _mm256_stream_si256(words(out + i), all);
        else
            _mm256_storeu_si256(words(out + i), all);
    }
    merge_bytes(in.rows, out, whole, bytes);
}

[[gnu::target("avx2")]] void combine_two_avx2(const TwoRows& in, std::byte* out, std::size_t bytes, Stores stores) {
    constexpr std::size_t width = 32;
    const std::size_t whole = bytes / width * width;
    const bool past = stores == Stores::past_caches && aligned(out);
    for (std::size_t i = 0; i < whole; i += width) {
        if (in.next_other) __builtin_prefetch(in.next_other + i);
        const __m256i both =
            _mm256_xor_si256(_mm256_loadu_si256(words(in.row + i)), _mm256_loadu_si256(words(in.other + i)));
        if (past)
            _mm256_stream_si256(words(out + i), both);
        else
            _mm256_storeu_si256(words(out + i), both);
    }
    for (std::size_t i = whole; i < bytes; ++i) out[i] = in.row[i] ^ in.other[i];
}

}  // namespace

const RowLoops& row_loops() {
    static constexpr RowLoops avx512{copy_to_avx512, merge_avx512, combine_two_avx512};
    static constexpr RowLoops avx2{copy_to_avx2, merge_avx2, combine_two_avx2};
    return __builtin_cpu_supports("avx512f") ? avx512 : avx2;
}

void complete_stores() {
    _mm_sfence();
}

}  // namespace expar
