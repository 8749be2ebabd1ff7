#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "expar/compute/cpu_device.hpp"

namespace expar {

/// Tests of the cpu device, once for every instruction set of this processor.
class InstructionSetTest : public testing::TestWithParam<InstructionSet> {
protected:
    static std::unique_ptr<Device> make_cpu(int threads) { return make_cpu_device(threads, GetParam()); }
};

/// The reference device and the cpu device for every instruction set of this processor.
inline std::vector<std::string> device_names() {
    std::vector<std::string> names = {"reference"};
    for (const InstructionSet set : instruction_sets()) names.emplace_back(name_of(set));
    return names;
}

inline std::unique_ptr<Device> make_device_named(const std::string& name, int threads = 1) {
    for (const InstructionSet set : instruction_sets())
        if (name == name_of(set)) return make_cpu_device(threads, set);
    return make_reference_device();
}

/// Every instruction set of this processor on one and on three threads.
inline std::vector<std::pair<InstructionSet, int>> sets_and_threads() {
    std::vector<std::pair<InstructionSet, int>> pairs;
    for (const InstructionSet set : instruction_sets())
        for (const int threads : {1, 3}) pairs.emplace_back(set, threads);
    return pairs;
}

/// The last argument of INSTANTIATE_TEST_SUITE_P.
inline std::string instruction_set_name(const testing::TestParamInfo<InstructionSet>& info) {
    return std::string(name_of(info.param));
}

}  // namespace expar
