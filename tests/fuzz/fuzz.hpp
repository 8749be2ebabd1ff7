#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "expar/base/error.hpp"

/// Given by each file of this folder that ends in _fuzz.cpp: one input for one reader. libFuzzer calls it, or
/// replay.cpp.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace expar::fuzz {

/// What a reader may hold at one time, beyond what is there when it begins: this many bytes for each of the input, and
/// a constant. Stated by each target.
struct Allowance {
    std::size_t factor = 1;
    std::size_t constant = std::size_t{1} << 16;
};

/// Runs a reader on an input of that size. It succeeds, or throws a UserError that is one printable line; anything else
/// ends the process with a line that says what was wrong, which is a finding. Returns the line, "" when it succeeded.
std::string expect_sound(std::size_t input_bytes, Allowance allowance, const std::function<void()>& reader);

/// Ends the process, which is a finding.
[[noreturn]] void finding(const std::string& what);
inline void expect(bool holds, const std::string& what) {
    if (!holds) finding(what);
}

/// Gives a temporary file this content, the same one each time. HDF5 opens none that is only in memory.
[[nodiscard]] std::filesystem::path file_with(std::string_view content);

/// The bytes of an input, taken from its front; zeros once it is at its end.
class Bytes {
public:
    Bytes(const std::uint8_t* data, std::size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}
    [[nodiscard]] bool empty() const { return rest_.empty(); }
    [[nodiscard]] unsigned byte();
    [[nodiscard]] unsigned two_bytes() { return byte() << 8 | byte(); }
    [[nodiscard]] std::string_view rest() const { return rest_; }

private:
    std::string_view rest_;
};

/// `good` with the rest of an input as its damage: pairs of a place (two bytes) and a value to put there, or, at place
/// 0xFFFF, a new length.
[[nodiscard]] std::string damaged(std::string good, Bytes& edits);

}  // namespace expar::fuzz
