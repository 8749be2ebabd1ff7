#include "fuzz.hpp"

#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "support/temporary_folder.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define EXPAR_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EXPAR_ADDRESS_SANITIZER
#endif
#endif

namespace {

thread_local bool counting = false;
thread_local std::size_t held = 0;
thread_local std::size_t most_held = 0;

void count_allocation(std::size_t bytes) {
    if (!counting) return;
    held += bytes;
    most_held = std::max(most_held, held);
}

// What was there before the count began may be released in it.
void count_release(std::size_t bytes) {
    if (counting) held -= std::min(held, bytes);
}

}  // namespace

#ifdef EXPAR_ADDRESS_SANITIZER
// As Clang's <sanitizer/allocator_interface.h> declares them; GCC has the functions without the header.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void*, std::size_t),
                                                         void (*)(const volatile void*));
extern "C" std::size_t __sanitizer_get_allocated_size(const volatile void*);
namespace {
[[maybe_unused]] const int hooks = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t bytes) { count_allocation(bytes); },
    [](const volatile void* data) { count_release(__sanitizer_get_allocated_size(data)); });
}  // namespace
#else
// Without a sanitizer only what C++ allocates is counted.
void* operator new(std::size_t bytes) {
    void* data = std::malloc(bytes);
    if (data == nullptr) throw std::bad_alloc();
    count_allocation(::malloc_usable_size(data));
    return data;
}
void operator delete(void* data) noexcept {
    count_release(::malloc_usable_size(data));
    std::free(data);
}
void operator delete(void* data, std::size_t) noexcept {
    operator delete(data);
}
#endif

namespace expar::fuzz {
namespace {

// The line of a UserError, or why it is none.
void check_line(const std::string& line) {
    expect(!line.empty(), "a UserError without a line");
    expect(line.size() <= 4096, concat("a line of ", line.size(), " bytes"));
    for (const unsigned char c : line)
        if (c < 0x20 || c == 0x7F) finding(concat("a line with the control character ", int(c), ": ", one_line(line)));
}

}  // namespace

void finding(const std::string& what) {
    counting = false;
    std::fprintf(stderr, "finding: %s\n", what.c_str());
    std::abort();
}

std::string expect_sound(std::size_t input_bytes, Allowance allowance, const std::function<void()>& reader) {
    bool succeeded = false;
    std::string line, other;
    held = most_held = 0;
    counting = true;
    try {
        reader();
        succeeded = true;
    } catch (const UserError& error) {
        counting = false;
        line = error.what();
    } catch (const std::exception& error) {
        counting = false;
        other = error.what();
    }
    counting = false;
    if (!other.empty()) finding(concat("no UserError: ", other));
    if (!succeeded) check_line(line);
    const std::size_t most = allowance.factor * input_bytes + allowance.constant;
    expect(most_held <= most,
           concat("held ", most_held, " bytes for an input of ", input_bytes, ", at most ", most, " are allowed"));
    return line;
}

std::filesystem::path file_with(std::string_view content) {
    static const testing_support::TemporaryFolder folder;
    const auto path = folder / "input";
    testing_support::write_text(path, std::string(content));
    return path;
}

unsigned Bytes::byte() {
    if (rest_.empty()) return 0;
    const auto value = static_cast<unsigned char>(rest_.front());
    rest_.remove_prefix(1);
    return value;
}

std::string damaged(std::string good, Bytes& edits) {
    while (!edits.empty()) {
        const unsigned place = edits.two_bytes();
        if (place == 0xFFFF)
            good.resize(edits.two_bytes());
        else if (!good.empty())
            good[place % good.size()] = char(edits.byte());
    }
    return good;
}

}  // namespace expar::fuzz
