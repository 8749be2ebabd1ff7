#include <algorithm>

#include "expar/base/error.hpp"
#include "expar/convert/safetensors.hpp"
#include "inspection.hpp"
#include "progress.hpp"

namespace expar::cli {
namespace {

// A file that nobody vouches for may have groups that hold themselves.
constexpr int deepest = 8;
constexpr std::size_t most_tensors = 100'000;
constexpr std::size_t most_lines = 60;

bool is_dataset(const Hdf5File& file, const std::string& name) {
    try {
        (void)file.shape(name);
        return true;
    } catch (const UserError&) {
        return false;
    }
}

void collect(const Hdf5File& file, const std::string& group, int depth, Json& tensors) {
    for (const auto& child : file.names(group)) {
        if (tensors.size() >= most_tensors) return;
        const std::string name = group.empty() ? child : concat(group, "/", child);
        if (is_dataset(file, name))
            tensors.push_back({{"name", printable(name)}, {"shape", file.shape(name)}});
        else if (depth < deepest)
            collect(file, name, depth + 1, tensors);
    }
}

// What golden files and others of ours say of themselves.
Json attributes_of(const Hdf5File& file) {
    Json attributes = Json::object();
    for (const char* name : {"format", "model", "router", "activation", "shared"})
        if (file.has_attribute("", name)) attributes[name] = printable(file.text_attribute("", name));
    for (const char* name : {"hidden", "intermediate", "experts", "top_k", "tokens", "shared_intermediate", "seed"})
        if (file.has_attribute("", name)) attributes[name] = file.integer_attribute("", name);
    for (const char* name : {"torch_version", "transformers_version"})
        if (file.has_attribute("", name)) attributes[name] = printable(file.text_attribute("", name));
    return attributes;
}

struct Kind {
    std::string name;
    std::string shape;
    std::string type;
    int count = 0;
};

std::vector<Kind> kinds_of(const Json& tensors) {
    std::vector<Kind> kinds;
    for (const auto& tensor : tensors) {
        const Kind found{kind_of(tensor.at("name")), shape_text(tensor.at("shape")), tensor.value("type", ""), 1};
        const auto known = std::ranges::find_if(kinds, [&](const Kind& kind) {
            return kind.name == found.name && kind.shape == found.shape && kind.type == found.type;
        });
        if (known != kinds.end())
            ++known->count;
        else if (kinds.size() <= most_lines)  // one more than is shown
            kinds.push_back(found);
    }
    return kinds;
}

}  // namespace

Json hdf5_facts(const Hdf5File& file) {
    Json facts = {{"kind", "hdf5"},
                  {"file", file.path().string()},
                  {"bytes", std::filesystem::file_size(file.path())},
                  {"attributes", attributes_of(file)},
                  {"tensors", Json::array()}};
    collect(file, "", 0, facts["tensors"]);
    return facts;
}

Json safetensors_facts(const std::filesystem::path& path) {
    const SafetensorsFile file(path);
    Json facts = {{"kind", "safetensors"},
                  {"file", path.string()},
                  {"bytes", std::filesystem::file_size(path)},
                  {"attributes", Json::object()},
                  {"tensors", Json::array()}};
    for (const auto& [name, value] : file.metadata()) facts["attributes"][printable(name)] = printable(value);
    for (const auto& [name, tensor] : file.tensors())
        facts["tensors"].push_back({{"name", printable(name)},
                                    {"shape", tensor.shape},
                                    {"type", printable(tensor.dtype)},
                                    {"bytes", tensor.end - tensor.begin}});
    return facts;
}

std::string tensors_text(const Json& facts) {
    std::string text = entry(facts.at("kind"), facts.at("file"));
    text +=
        entry("size", concat(size_text(facts.at("bytes")), ", ", with_commas(std::int64_t(facts.at("tensors").size())),
                             " tensors; without a digest of ours, so nothing says whether it is as it was written"));
    std::vector<std::vector<std::string>> attributes;
    for (const auto& [name, value] : facts.at("attributes").items())
        attributes.push_back({name, value.is_string() ? value.get<std::string>() : value.dump()});
    if (!attributes.empty()) text += concat("\n", table(attributes, "l"));
    std::vector<std::vector<std::string>> rows = {{"tensor", "shape", "type", "of them"}};
    const auto kinds = kinds_of(facts.at("tensors"));
    for (std::size_t i = 0; i < std::min(kinds.size(), most_lines); ++i)
        rows.push_back({kinds[i].name, kinds[i].shape, kinds[i].type, std::to_string(kinds[i].count)});
    text += concat("\n", table(rows, "lr"));
    if (kinds.size() > most_lines) text += "  and others; --json has all\n";
    return text;
}

}  // namespace expar::cli
