#include "expar/bench/probe.hpp"

#include <emmintrin.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "expar/bench/statistics.hpp"
#include "expar/compute/matrix_product.hpp"

namespace expar {
namespace {

constexpr std::align_val_t page{4096};
constexpr std::size_t line_bytes = 64;
constexpr std::size_t least_piece = std::size_t{1} << 20, largest_piece = std::size_t{32} << 20;

void read_all(const std::byte* from, std::size_t bytes) {
    const auto* words = reinterpret_cast<const __m128i*>(from);
    __m128i sums[4] = {};
    for (std::size_t i = 0; i < bytes / 16; i += 4)
        for (std::size_t j = 0; j < 4; ++j) sums[j] = _mm_xor_si128(sums[j], _mm_load_si128(words + i + j));
    // So that the compiler has to make them.
    for (__m128i& sum : sums) asm volatile("" : "+x"(sum));
}

void copy_past_caches(const std::byte* from, std::byte* to, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; i += 16)
        _mm_stream_si128(reinterpret_cast<__m128i*>(to + i),
                         _mm_load_si128(reinterpret_cast<const __m128i*>(from + i)));
    _mm_sfence();
}

void fill_past_caches(std::byte* to, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; i += 16)
        _mm_stream_si128(reinterpret_cast<__m128i*>(to + i), _mm_setzero_si128());
    _mm_sfence();
}

void add_one(std::byte* to, std::size_t bytes) {
    const __m128i one = _mm_set1_epi32(1);
    auto* words = reinterpret_cast<__m128i*>(to);
    for (std::size_t i = 0; i < bytes / 16; ++i)
        _mm_store_si128(words + i, _mm_add_epi32(_mm_load_si128(words + i), one));
}

}  // namespace

std::size_t cold_bytes() {
    constexpr long least = 64L << 20, most = 512L << 20;
    return std::size_t(std::clamp(sysconf(_SC_LEVEL3_CACHE_SIZE), least, most));
}

void MemoryProbe::Free::operator()(std::byte* memory) const {
    ::operator delete(memory, page);
}

MemoryProbe::MemoryProbe(int threads)
    : threads_(threads), ring_bytes_(cold_bytes()), ring_(static_cast<std::byte*>(::operator new(ring_bytes_, page))) {
    std::memset(ring_.get(), 0, ring_bytes_);
}

std::byte* MemoryProbe::next(std::size_t bytes) {
    if (place_ + bytes > ring_bytes_) place_ = 0;
    std::byte* here = ring_.get() + place_;
    place_ += bytes;
    return here;
}

// loop(first, bytes) on every thread, of consecutive parts.
template <class Loop>
double MemoryProbe::timed(std::size_t bytes, Loop loop) {
    return seconds_of([&] {
        const std::size_t part = (bytes / std::size_t(threads_) + line_bytes - 1) / line_bytes * line_bytes;
#pragma omp parallel for schedule(static) num_threads(threads_)
        for (int thread = 0; thread < threads_; ++thread) {
            const std::size_t first = std::min(bytes, std::size_t(thread) * part);
            loop(first, std::min(part, bytes - first));
        }
    });
}

std::size_t MemoryProbe::piece_for(double bytes) {
    const double kept = std::clamp(bytes, double(least_piece), double(largest_piece));
    return std::size_t(kept) / least_piece * least_piece;
}

double MemoryProbe::read(std::size_t bytes) {
    const std::byte* from = next(bytes);
    return timed(bytes, [&](std::size_t first, std::size_t count) { read_all(from + first, count); });
}

double MemoryProbe::write(std::size_t bytes) {
    std::byte* to = next(bytes);
    const double ordinary =
        timed(bytes, [&](std::size_t first, std::size_t count) { std::memset(to + first, 0, count); });
    std::byte* past = next(bytes);
    return std::min(ordinary,
                    timed(bytes, [&](std::size_t first, std::size_t count) { fill_past_caches(past + first, count); }));
}

double MemoryProbe::copy(std::size_t bytes) {
    const std::byte* from = next(bytes / 2);
    std::byte* to = next(bytes / 2);
    const double ordinary =
        timed(bytes / 2, [&](std::size_t first, std::size_t count) { std::memcpy(to + first, from + first, count); });
    const std::byte* from_past = next(bytes / 2);
    std::byte* past = next(bytes / 2);
    return std::min(ordinary, timed(bytes / 2, [&](std::size_t first, std::size_t count) {
                        copy_past_caches(from_past + first, past + first, count);
                    }));
}

double MemoryProbe::update(std::size_t bytes) {
    std::byte* here = next(bytes / 2);
    return timed(bytes / 2, [&](std::size_t first, std::size_t count) { add_one(here + first, count); });
}

DenseProbe::DenseProbe(Device& device, DType dtype)
    : device_(device),
      x_(device, dtype, product.rows, product.depth),
      w_(device, DType::float32, product.columns, product.depth),
      y_(device, dtype, product.rows, product.columns) {
    fill(x_, 1, 1);
    fill(w_, 1, 2);
    weight_ = device.product().weight(w_, dtype);
}

double DenseProbe::run() {
    return seconds_of([&] {
        device_.product().forward(x_, *weight_, y_, device_.stream());
        device_.synchronize();
    });
}

}  // namespace expar
