#include <algorithm>
#include <limits>

#include "checkpoint_parts.hpp"
#include "expar/base/error.hpp"
#include "expar/store/digest.hpp"

namespace expar {
namespace {

constexpr const char* experts_name = "placement/experts";
constexpr const char* counts_name = "placement/counts";

// experts: those of layer 0, member 0, by slot, then member 1, …; counts [layers, members]: how many each has
void write_placement(Hdf5File& file, const Placement& placement) {
    std::vector<std::int32_t> experts, counts;
    for (int layer = 0; layer < placement.layers(); ++layer)
        for (int member = 0; member < placement.members(); ++member) {
            const auto here = placement.experts_on(layer, member);
            counts.push_back(std::int32_t(here.size()));
            experts.insert(experts.end(), here.begin(), here.end());
        }
    file.write(experts_name, experts, {std::int64_t(experts.size())});
    file.write(counts_name, counts, {placement.layers(), placement.members()});
}

[[noreturn]] void fail(const Hdf5File& file, const std::string& what) {
    throw UserError(concat(file.path().string(), ": ", what));
}

std::vector<std::int32_t> read_integers(const Hdf5File& file, const char* name, const Hdf5File::Shape& shape) {
    std::error_code ignored;
    const std::uint64_t count = count_of(shape);
    if (count > std::filesystem::file_size(file.path(), ignored) / sizeof(std::int32_t))
        fail(file, concat(name, " is ", describe(shape), ", more than the file holds"));
    std::vector<std::int32_t> values(count);
    file.read(name, values);
    return values;
}

Placement read_placement(const Hdf5File& file) {
    const auto shape = file.shape(counts_name);
    if (shape.size() != 2) fail(file, concat(counts_name, " is ", describe(shape), ", expected [layers, members]"));
    const auto counts = read_integers(file, counts_name, shape);
    const auto experts = read_integers(file, experts_name, file.shape(experts_name));
    try {
        return unpack_placement(std::size_t(shape[1]), counts, experts);
    } catch (const UserError& error) {
        fail(file, error.what());
    }
}

std::int64_t natural(const Hdf5File& file, const char* name, std::int64_t least, std::int64_t most) {
    const std::int64_t value = file.integer_attribute("", name);
    if (value < least || value > most)
        fail(file, concat("attribute '", name, "' is ", value, ", expected ", least, " to ", most));
    return value;
}

}  // namespace

Placement unpack_placement(std::size_t members, std::span<const std::int32_t> counts,
                           std::span<const std::int32_t> listed) {
    const std::size_t layers = members == 0 ? 0 : counts.size() / members;
    if (layers == 0 || layers * members != counts.size())
        throw UserError(concat(counts_name, ": ", counts.size(), " counts for ", members, " members a layer"));
    std::vector slots(layers, std::vector(members, std::vector<int>()));
    std::size_t next = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        if (counts[i] < 0 || std::size_t(counts[i]) > listed.size() - next)
            throw UserError(concat(counts_name, ": has a count of ", counts[i], ", and ", listed.size() - next, " of ",
                                   experts_name, " are left"));
        const auto here = listed.subspan(next, std::size_t(counts[i]));
        slots[i / members][i % members].assign(here.begin(), here.end());
        next += here.size();
    }
    if (next != listed.size())
        throw UserError(concat(experts_name, " has ", listed.size(), " experts, ", counts_name, " says ", next));
    // Every expert is somewhere in every layer, so that no number is larger than what is listed.
    std::size_t experts = 0;
    for (const int expert : listed) {
        if (expert < 0 || std::size_t(expert) >= listed.size() / layers)
            throw UserError(concat(experts_name, ": expert ", expert, " of at most ", listed.size() / layers));
        experts = std::max(experts, std::size_t(expert) + 1);
    }
    return Placement(int(experts), std::move(slots));
}

void write_header(Hdf5File& file, const CheckpointHeader& header) {
    file.set_attribute("", "format", std::string(checkpoint_format));
    file.set_attribute("", "config", header.config);
    file.set_attribute("", "step", std::int64_t{header.step});
    file.set_attribute("", "seed", std::int64_t(header.seed));  // its bits
    file.set_attribute("", "tokens", header.tokens);
    file.set_attribute("", "seconds", header.seconds);
    file.set_attribute("", "text_bytes", header.text_bytes);
    file.set_attribute("", "text_hash", hash_text(header.text_hash));
    file.set_attribute("", "ranks", std::int64_t{header.ranks});
    file.set_attribute("", "ep", std::int64_t{header.ep});
    file.set_attribute("", "version", header.version);
    write_placement(file, header.placement);
}

CheckpointHeader read_header(const Hdf5File& file) {
    if (!file.has_attribute("", "format") || file.text_attribute("", "format") != checkpoint_format)
        fail(file, concat("not a checkpoint (its attribute 'format' is not '", checkpoint_format, "')"));
    constexpr std::int64_t largest = std::numeric_limits<int>::max();
    constexpr std::int64_t anything = std::numeric_limits<std::int64_t>::max();
    CheckpointHeader header;
    header.config = file.text_attribute("", "config");
    header.step = int(natural(file, "step", 0, largest));
    header.seed = std::uint64_t(file.integer_attribute("", "seed"));
    header.tokens = natural(file, "tokens", 0, anything);
    header.seconds = file.real_attribute("", "seconds");
    header.text_bytes = natural(file, "text_bytes", 0, anything);
    const auto hash = parse_hash(file.text_attribute("", "text_hash"));
    if (!hash) fail(file, "attribute 'text_hash' is not 16 hexadecimal digits");
    header.text_hash = *hash;
    header.ranks = int(natural(file, "ranks", 1, largest));
    header.ep = int(natural(file, "ep", 1, header.ranks));
    header.version = file.text_attribute("", "version");
    header.placement = read_placement(file);
    header.has_moments = file.contains("moment1") && file.contains("moment2");
    if (!file.contains("value")) fail(file, "value is missing");
    return header;
}

}  // namespace expar
