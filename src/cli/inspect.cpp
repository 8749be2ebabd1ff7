#include <array>
#include <fstream>
#include <iostream>
#include <memory>

#include "expar/base/error.hpp"
#include "expar/comm/rank_status.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/digest.hpp"
#include "expar/store/isolated.hpp"
#include "expar/store/partial_file.hpp"
#include "inspection.hpp"
#include "run_folder.hpp"
#include "subcommands.hpp"

namespace expar::cli {
namespace {

namespace fs = std::filesystem;

struct InspectOptions {
    std::string path;
    std::string json;
    bool end = false;
};

std::string first_bytes(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    std::array<char, 8> bytes{};
    in.read(bytes.data(), bytes.size());
    return {bytes.data(), std::size_t(in.gcount())};
}

// Runs in a process of its own: without a digest, nobody vouches for the file.
Json unvouched_hdf5_facts(const fs::path& path) {
    const Hdf5File file = Hdf5File::open(path);
    const std::string format = file.has_attribute("", "format") ? file.text_attribute("", "format") : "";
    if (format.starts_with("expar-checkpoint"))
        throw UserError(concat(path.string(), ": a checkpoint without its digest (", digest_path(path).string(),
                               "): half-written, or not by expar"));
    return format == "expar-routing-1" ? routing_facts(file) : hdf5_facts(file);
}

Json file_facts(const fs::path& path) {
    constexpr std::string_view hdf5 = "\x89HDF\r\n\x1a\n";
    if (fs::exists(digest_path(path))) return checkpoint_facts(path);
    const std::string head = first_bytes(path);
    if (head == hdf5) {
        const auto dump = [&] {
            return unvouched_hdf5_facts(path).dump(-1, ' ', false, Json::error_handler_t::replace);
        };
        return Json::parse(isolated(path, limits_for(path), dump));
    }
    if (path.extension() == ".safetensors") return safetensors_facts(path);
    throw UserError(concat(path.string(), ": neither a run's folder nor a file of HDF5 or safetensors"));
}

Json facts_of(const fs::path& path) {
    std::error_code unreadable;
    const auto status = fs::status(path, unreadable);
    if (!fs::exists(status)) throw UserError(concat(path.string(), ": no such file or folder"));
    if (fs::is_directory(status)) return run_facts(path);
    if (!fs::is_regular_file(status))
        throw UserError(concat(path.string(), ": expected a file or the folder of a run"));
    return file_facts(path);
}

std::string text_of(const Json& facts) {
    const std::string kind = facts.at("kind");
    if (kind == "run") return run_text(facts);
    if (kind == "checkpoint") return checkpoint_text(facts);
    return kind == "routing" ? routing_text(facts) : tensors_text(facts);
}

void inspect(const InspectOptions& options) {
    if (!options.json.empty()) expect_writable(options.json);
    const Json facts = facts_of(options.path);
    std::cout << text_of(facts) << std::flush;
    if (!options.json.empty())
        replace_file(options.json, facts.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

void say_end(const InspectOptions& options) {
    const RunFolder run{options.path};
    if (!fs::is_directory(run.root)) throw UserError(concat(options.path, ": no such folder of a run"));
    std::cout << describe_end(read_statuses(run.status())) << std::endl;
}

}  // namespace

Runner add_inspect(CLI::App& command) {
    const auto options = std::make_shared<InspectOptions>();
    command.add_option("FILE", options->path, "folder of a run, checkpoint, routing.h5, or other HDF5 or safetensors")
        ->required();
    command.add_option("--json", options->json, "write the same there")->type_name("FILE");
    command.add_flag("--end", options->end, "say in one line how the run ended: which rank died, where, who waited");
    return [options](const Communicator& world) {
        judge_on_root(world, [&] {
            try {
                if (options->end)
                    say_end(*options);
                else
                    inspect(*options);
            } catch (const Json::exception& error) {  // of what a damaged file has made a reader say
                throw UserError(concat(options->path, ": damaged: ", error.what()));
            }
        });
        return 0;
    };
}

}  // namespace expar::cli
