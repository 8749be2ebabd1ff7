#include "expar/comm/mpi_library.hpp"

#include <gtest/gtest.h>

namespace expar {
namespace {

TEST(MpiLibrary, IsNamedInOneLine) {
    const std::string name = mpi_library();
    EXPECT_NE(name.find(", MPI standard "), std::string::npos) << name;
    EXPECT_EQ(name.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace expar
