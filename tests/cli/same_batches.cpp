// same_batches WHOLE PART...: ends with 0 when the parts hold the steps of WHOLE, each once and none besides, with the
// same tokens, targets, offsets and choices; else says what differs.
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "expar/base/error.hpp"
#include "expar/store/hdf5_file.hpp"

namespace {

using expar::concat;
using expar::Hdf5File;

using Arrays = std::map<std::string, std::vector<int>>;  // by name

std::map<std::string, Arrays> steps_of(const std::string& path) {
    const Hdf5File file = Hdf5File::open(path);
    std::map<std::string, Arrays> steps;
    for (const auto& step : file.names(""))
        for (const auto& micro : file.names(step))
            for (const auto& name : file.names(concat(step, "/", micro))) {
                const std::string full = concat(step, "/", micro, "/", name);
                auto& values = steps[step][concat(micro, "/", name)];
                values.resize(expar::count_of(file.shape(full)));
                file.read(full, std::span(values));
            }
    return steps;
}

int compare(const std::vector<std::string>& paths) {
    const auto whole = steps_of(paths.front());
    std::map<std::string, Arrays> parts;
    for (std::size_t p = 1; p < paths.size(); ++p)
        for (auto& [step, arrays] : steps_of(paths[p]))
            if (!parts.emplace(step, std::move(arrays)).second) {
                std::cout << step << " is there twice\n";
                return 1;
            }
    for (const auto& [step, arrays] : whole)
        if (!parts.contains(step) || parts.at(step) != arrays) {
            std::cout << step << (parts.contains(step) ? " differs\n" : " is left out\n");
            return 1;
        }
    std::cout << parts.size() << " steps, " << whole.size() << " expected\n";
    return whole.empty() || parts.size() != whole.size() ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return argc < 3 ? 2 : compare({argv + 1, argv + argc});
    } catch (const std::exception& error) {
        std::cout << error.what() << "\n";
        return 1;
    }
}
