#include <cmath>
#include <map>
#include <set>

#include "expar/base/error.hpp"
#include "expar/store/checkpoint.hpp"
#include "expar/store/digest.hpp"
#include "inspection.hpp"
#include "progress.hpp"

namespace expar::cli {
namespace {

constexpr const char* groups[] = {"value", "moment1", "moment2"};
constexpr std::size_t floats_at_a_time = std::size_t{1} << 20;

// What the values of a tensor come to.
struct Amount {
    double squares = 0;
    std::int64_t numbers = 0;
    std::int64_t not_finite = 0;

    void add(std::span<const float> values) {
        for (const float value : values)
            if (std::isfinite(value)) {
                squares += double(value) * value;
                ++numbers;
            } else
                ++not_finite;
    }
};

Amount measure(const Hdf5File& file, const std::string& name, const Hdf5File::Shape& shape) {
    Amount amount;
    if (shape.empty() || count_of(shape) == 0) return amount;
    const std::size_t slice = count_of(shape) / std::size_t(shape[0]);
    const auto at_a_time = std::int64_t(std::max<std::size_t>(1, floats_at_a_time / slice));
    std::vector<float> values;
    for (std::int64_t first = 0; first < shape[0]; first += at_a_time) {
        values.resize(std::size_t(std::min(at_a_time, shape[0] - first)) * slice);
        file.read_slices(name, first, values);
        amount.add(values);
    }
    return amount;
}

Json tensor_facts(const Hdf5File& file, const std::string& name, bool moments) {
    const auto shape = file.shape(concat("value/", name));
    Json facts = {{"name", name}, {"shape", shape}, {"bytes", (moments ? 3 : 1) * count_of(shape) * sizeof(float)}};
    std::int64_t not_finite = 0;
    for (const char* group : groups) {
        if (!moments && group != groups[0]) continue;
        const std::string stored = concat(group, "/", name);
        const Amount amount = measure(file, stored, file.shape(stored));
        facts["rms"][group] = amount.numbers > 0 ? std::sqrt(amount.squares / double(amount.numbers)) : 0;
        not_finite += amount.not_finite;
    }
    facts["not_finite"] = not_finite;
    return facts;
}

Json placement_facts(const Placement& placement) {
    Json layers = Json::array();
    for (int layer = 0; layer < placement.layers(); ++layer) {
        Json members = Json::array();
        for (int member = 0; member < placement.members(); ++member) {
            const auto experts = placement.experts_on(layer, member);
            members.push_back(std::vector<int>(experts.begin(), experts.end()));
        }
        layers.push_back(std::move(members));
    }
    return layers;
}

// A line for each placement that some layers share.
std::string placement_text(const Json& placement) {
    std::map<std::string, std::vector<int>> layers_of;
    for (std::size_t layer = 0; layer < placement.size(); ++layer) {
        std::string line;
        for (const auto& member : placement[layer])
            line += concat(line.empty() ? "" : " | ", ranges_text(member.get<std::vector<int>>()));
        layers_of[line].push_back(int(layer));
    }
    std::string text;
    for (const auto& [line, layers] : layers_of)
        text += entry(text.empty() ? "placement" : "", concat("layers ", ranges_text(layers), ": experts ", line));
    return text;
}

// One row for the tensors of a kind in all layers; the root mean square is that of all of them together.
struct Kind {
    std::string name;
    Json shape;
    int count = 0;
    std::uint64_t bytes = 0;
    std::map<std::string, double> squares;  // mean squares, added up
};

std::string tensors_table(const Json& tensors) {
    std::vector<Kind> kinds;
    for (const auto& tensor : tensors) {
        const std::string name = kind_of(tensor.at("name"));
        auto kind = std::ranges::find_if(
            kinds, [&](const Kind& one) { return one.name == name && one.shape == tensor.at("shape"); });
        if (kind == kinds.end()) kind = kinds.insert(kinds.end(), Kind{name, tensor.at("shape"), 0, 0, {}});
        ++kind->count;
        kind->bytes += tensor.at("bytes").get<std::uint64_t>();
        for (const auto& [group, rms] : tensor.at("rms").items())
            kind->squares[group] += rms.get<double>() * rms.get<double>();
    }
    std::vector<std::vector<std::string>> rows = {{"tensor", "shape", "of them", "size"}};
    for (const char* group : groups)
        if (!kinds.empty() && kinds.front().squares.contains(group)) rows[0].push_back(concat("rms ", group));
    for (const auto& kind : kinds) {
        rows.push_back({kind.name, shape_text(kind.shape), std::to_string(kind.count), size_text(kind.bytes)});
        for (const char* group : groups)
            if (const auto sum = kind.squares.find(group); sum != kind.squares.end())
                rows.back().push_back(number_text(std::sqrt(sum->second / kind.count)));
    }
    return table(rows, "lr");
}

}  // namespace

Json checkpoint_facts(const std::filesystem::path& path) {
    const CheckpointReader reader(path);  // which holds it against its digest
    const CheckpointHeader& header = reader.header();
    const Hdf5File file = Hdf5File::open(path);
    Json facts = {{"kind", "checkpoint"},
                  {"file", path.string()},
                  {"bytes", std::filesystem::file_size(path)},
                  {"digest", "ok"},
                  {"format", checkpoint_format},
                  {"version", header.version},
                  {"step", header.step},
                  {"tokens", header.tokens},
                  {"seconds", header.seconds},
                  {"seed", header.seed},
                  {"ranks", header.ranks},
                  {"ep", header.ep},
                  {"text_bytes", header.text_bytes},
                  {"text_hash", hash_text(header.text_hash)},
                  {"moments", header.has_moments},
                  {"config", config_facts(header.config, path.string())},
                  {"placement", placement_facts(header.placement)}};
    facts["tensors"] = Json::array();
    for (const auto& name : file.names("value"))
        facts["tensors"].push_back(tensor_facts(file, name, header.has_moments));
    return facts;
}

std::string checkpoint_text(const Json& facts) {
    const auto number = [&](const char* key) { return with_commas(facts.at(key).get<std::int64_t>()); };
    const int ranks = facts.at("ranks"), ep = facts.at("ep");
    std::string text = entry("checkpoint", facts.at("file"));
    text += entry("format",
                  concat(facts.at("format").get<std::string>(), ", written by expar ", printable(facts.at("version"))));
    text += entry("size", concat(size_text(facts.at("bytes")), "; agrees with its digest, byte for byte"));
    text += entry("step", concat(number("step"), " done, ", number("tokens"), " tokens in ",
                                 number_text(facts.at("seconds")), " s, seed ", number("seed")));
    text += entry("written by", concat(ranks, ranks == 1 ? " rank" : " ranks", ", EP=", ep, " x DP=", ranks / ep));
    text += entry("text", concat(number("text_bytes"), " bytes, hash ", facts.at("text_hash").get<std::string>()));
    text += config_text(facts.at("config"));
    text += placement_text(facts.at("placement"));
    text += entry("holds", facts.at("moments").get<bool>() ? "values, and both moments of AdamW" : "values");
    text += concat("\n", tensors_table(facts.at("tensors")));
    for (const auto& tensor : facts.at("tensors"))
        if (tensor.at("not_finite").get<std::int64_t>() > 0)
            text += concat("  ", tensor.at("name").get<std::string>(), " holds ",
                           with_commas(tensor.at("not_finite").get<std::int64_t>()), " values that are no numbers\n");
    return text;
}

}  // namespace expar::cli
