#include "expar/store/set_aside.hpp"

#include <gtest/gtest.h>

#include "expar/base/error.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

namespace fs = std::filesystem;

TEST(SetAside, KeepsWhatWasSetAsideBefore) {
    const testing_support::TemporaryFolder folder;
    const fs::path path = folder / "routing.h5";
    for (const char* name : {"routing.h5.set-aside", "routing.h5.set-aside-2", "routing.h5.set-aside-3"}) {
        testing_support::write_text(path, name);
        EXPECT_EQ(set_aside(path), folder / name);
        EXPECT_FALSE(fs::exists(path));
    }
    for (const char* name : {"routing.h5.set-aside", "routing.h5.set-aside-2", "routing.h5.set-aside-3"})
        EXPECT_EQ(fs::file_size(folder / name), std::string(name).size()) << name;
}

TEST(SetAside, NamesAFileThatIsNotThere) {
    const testing_support::TemporaryFolder folder;
    EXPECT_THROW(set_aside(folder / "none"), UserError);
}

}  // namespace
}  // namespace expar
