#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "expar/base/names.hpp"
#include "expar/compute/cpu_device.hpp"

namespace expar {
namespace {

struct Registers {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf = 0) {
    Registers r;
    if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
    return r;
}

constexpr std::array<Named<InstructionSet>, 4> known_sets = {{
    {"avx2", InstructionSet::avx2},
    {"avx512", InstructionSet::avx512},
    {"avx512_bf16", InstructionSet::avx512_bf16},
    {"amx", InstructionSet::amx},
}};

bool bit(unsigned word, int at) {
    return (word >> at & 1) != 0;
}

// Which register states the operating system saves: a processor's unit is of no use without.
unsigned saved_states() {
    constexpr int osxsave = 27;
    if (!bit(cpuid(1).ecx, osxsave)) return 0;
    unsigned low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

// Linux lets a process use tile registers once it has asked; then all of its threads may. Asking twice does no harm.
bool tiles_are_granted() {
    constexpr long request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, request, tile_data) == 0;
}

std::string model_name() {
    std::array<char, 49> name{};
    for (unsigned part = 0; part < 3; ++part) {
        const Registers r = cpuid(0x80000002 + part);
        std::memcpy(name.data() + std::size_t(part) * 16, &r, 16);
    }
    const std::string text(name.data());
    const auto first = text.find_first_not_of(' ');
    return first == std::string::npos ? "unknown" : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

}  // namespace

CpuFeatures cpu_features() {
    constexpr unsigned ymm = 0x6, zmm = 0xe6, tiles = 0x60000;
    const unsigned saved = saved_states();
    const Registers base = cpuid(1);
    const Registers extended = cpuid(7);
    const Registers more = cpuid(7, 1);
    CpuFeatures features;
    features.model = model_name();
    const bool fma = bit(base.ecx, 12);
    features.avx2 = (saved & ymm) == ymm && fma && bit(extended.ebx, 5);
    const bool foundation = bit(extended.ebx, 16), dq = bit(extended.ebx, 17), bw = bit(extended.ebx, 30),
               vl = bit(extended.ebx, 31);
    features.avx512 = features.avx2 && (saved & zmm) == zmm && foundation && dq && bw && vl;
    features.avx512_bf16 = features.avx512 && bit(more.eax, 5);
    features.amx_bf16 =
        (saved & tiles) == tiles && bit(extended.edx, 22) && bit(extended.edx, 24) && tiles_are_granted();
    return features;
}

std::string_view name_of(InstructionSet set) {
    return known_sets[std::size_t(set)].name;
}

InstructionSet instruction_set_named(std::string_view name) {
    return entry_named(known_sets, "instruction set", name).value;
}

std::vector<InstructionSet> instruction_sets() {
    const CpuFeatures features = cpu_features();
    std::vector<InstructionSet> sets;
    if (features.avx512_bf16 && features.amx_bf16) sets.push_back(InstructionSet::amx);
    if (features.avx512_bf16) sets.push_back(InstructionSet::avx512_bf16);
    if (features.avx512) sets.push_back(InstructionSet::avx512);
    if (features.avx2) sets.push_back(InstructionSet::avx2);
    return sets;
}

}  // namespace expar
