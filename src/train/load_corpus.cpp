#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>
#include <utility>

#include "expar/base/read_file.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/train/corpus.hpp"

namespace expar {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t most_bytes = std::numeric_limits<int>::max();  // of a file

// The files of FOLDER/train or FOLDER/validation, by name.
std::vector<fs::path> files_of(const fs::path& folder, Split split) {
    const fs::path part = folder / (split == Split::train ? "train" : "validation");
    std::error_code failed;
    std::vector<fs::path> files;
    for (fs::directory_iterator entry(part, failed), end; !failed && entry != end; entry.increment(failed))
        if (entry->path().extension() == ".txt" && entry->is_regular_file()) files.push_back(entry->path());
    if (failed) throw UserError(concat("text ", part.string(), ": cannot be read: ", failed.message()));
    if (files.empty()) throw UserError(concat("text ", part.string(), ": holds no .txt file, expected one per domain"));
    std::ranges::sort(files);
    return files;
}

std::string unused_name(const std::string& stem, const std::vector<Corpus::Domain>& domains) {
    std::string name = stem;
    for (int n = 2; std::ranges::find(domains, name, &Corpus::Domain::name) != domains.end(); ++n)
        name = concat(stem, "-", n);
    return name;
}

}  // namespace

std::vector<Corpus::Domain> read_domains(std::span<const std::string> paths, Split split) {
    if (paths.empty()) throw UserError("text: no file was given, expected at least one");
    std::vector<Corpus::Domain> domains;
    for (const fs::path path : paths) {
        std::error_code failed;
        const fs::file_status status = fs::status(path, failed);
        if (!fs::exists(status))
            throw UserError(concat("text ", path.string(), ": cannot be read: ", std::strerror(ENOENT)));
        const bool prepared = fs::is_directory(status);
        const std::vector<fs::path> files = prepared ? files_of(path, split) : std::vector{path};
        for (const fs::path& file : files) {
            Corpus::Domain domain{unused_name(file.stem().string(), domains), read_file(file, most_bytes), !prepared};
            if (domain.text.empty() || (prepared && domain.text.find_first_not_of('\0') == std::string::npos))
                throw UserError(concat("text ", file.string(), ": is empty"));
            domains.push_back(std::move(domain));
        }
    }
    return domains;
}

namespace {

void expect_length(const Corpus& corpus, std::span<const std::string> paths, int shortest) {
    std::size_t longest = 0;
    for (const Window& document : corpus.documents()) longest = std::max(longest, document.text.size());
    if (longest < std::size_t(shortest))
        throw UserError(concat("text ", paths.front(), paths.size() > 1 ? " and others" : "",
                               ": the longest document has ", longest, " bytes, expected at least the ", shortest,
                               " of a sequence and its target"));
}

}  // namespace

Corpus load_corpus(std::span<const std::string> paths, Split split, int shortest, const Communicator& world) {
    std::vector<Corpus::Domain> domains;
    judge_on_root(world, [&] { domains = read_domains(paths, split); });

    int count = int(domains.size());
    world.max(std::span(&count, 1));
    domains.resize(count);
    for (Corpus::Domain& domain : domains) {
        domain.name = world.broadcast(std::move(domain.name), 0, {"text"});
        domain.text = world.broadcast(std::move(domain.text), 0, {"text"});
        domain.whole = !world.broadcast(std::string(domain.whole ? "1" : ""), 0, {"text"}).empty();
    }
    Corpus corpus(std::move(domains));
    expect_length(corpus, paths, shortest);  // the same text, so the same verdict, everywhere
    return corpus;
}

}  // namespace expar
