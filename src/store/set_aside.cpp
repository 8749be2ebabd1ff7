#include "expar/store/set_aside.hpp"

#include "expar/base/error.hpp"

namespace expar {

namespace fs = std::filesystem;

fs::path set_aside(const fs::path& path) {
    std::error_code failed;
    fs::path aside = path.string() + ".set-aside";
    for (int number = 2; fs::symlink_status(aside, failed).type() != fs::file_type::not_found; ++number) {
        if (failed) throw UserError(concat(aside.string(), ": cannot be looked for: ", failed.message()));
        aside = concat(path.string(), ".set-aside-", number);
    }
    fs::rename(path, aside, failed);
    if (failed) throw UserError(concat(path.string(), ": cannot be set aside: ", failed.message()));
    return aside;
}

}  // namespace expar
