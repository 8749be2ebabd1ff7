#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

#include "expar/base/error.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/hdf5_file.hpp"
#include "expar/store/isolated.hpp"
#include "expar/store/partial_file.hpp"
#include "expar/store/trace.hpp"

namespace expar {
namespace {

constexpr Hdf5File::Storage compressed = {.level = 9};

// Reads a list of as many numbers as `choices` or the documents need.
std::vector<std::int32_t> read_list(const Hdf5File& file, const std::string& name, std::int64_t length) {
    const auto shape = file.shape(name);
    if (shape != Hdf5File::Shape{length})
        throw UserError(concat(file.path().string(), ": ", name, " is ", describe(shape), ", expected [", length, "]"));
    std::vector<std::int32_t> values(count_of(shape));
    file.read(name, values);
    return values;
}

std::vector<TraceDocument> read_documents(const Hdf5File& file) {
    const auto datasets = file.read_texts("documents/dataset");
    const auto categories = file.read_texts("documents/category");
    const auto count = std::int64_t(datasets.size());
    if (categories.size() != datasets.size())
        throw UserError(concat(file.path().string(), ": documents/category has ", categories.size(), ", expected ",
                               count, " as documents/dataset has"));
    const auto tokens = read_list(file, "documents/tokens", count);
    const auto has_repetition = read_list(file, "documents/has_repetition", count);
    std::vector<TraceDocument> documents;
    for (std::size_t d = 0; d < datasets.size(); ++d)
        documents.push_back({datasets[d], categories[d], has_repetition[d] != 0, tokens[d]});
    return documents;
}

std::string text_or_nothing(const Hdf5File& file, const std::string& name) {
    return file.has_attribute("", name) ? file.text_attribute("", name) : "";
}

// Nobody vouches for the file, so this runs where a crash of HDF5 ends nothing else.
RoutingTrace read_file(const std::filesystem::path& path) {
    const Hdf5File file = Hdf5File::open(path);
    const std::string name = path.string();
    if (text_or_nothing(file, "format") != trace_format)
        throw UserError(
            concat(name, ": not a trace (its attribute 'format' is not '", trace_format, "'); see expar trace import"));
    RoutingTrace trace;
    const std::int64_t experts = file.integer_attribute("", "experts");
    const auto shape = file.shape("choices");
    constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
    if (shape.size() != 3 || std::ranges::max(shape) > most || experts > most || experts < 0)
        throw UserError(concat(name, ": choices is ", describe(shape), " of ", experts,
                               " experts, expected [tokens, layers, choices of a token]"));
    trace.experts = int(experts);
    trace.top_k = int(shape[2]);
    trace.layers = read_list(file, "layers", shape[1]);
    trace.choices.resize(count_of(shape));
    file.read("choices", trace.choices);
    trace.documents = read_documents(file);
    trace.model = text_or_nothing(file, "model");
    trace.source = text_or_nothing(file, "source");
    trace.notice = text_or_nothing(file, "notice");
    trace.validate(name);
    return trace;
}

// What travels from process to process, all of which run this program: sizes, then what they count.
class Packer {
public:
    void put(std::int64_t value) { bytes_.append(reinterpret_cast<const char*>(&value), sizeof value); }
    void put(const std::string& text) { put_all(text); }
    template <class List>
    void put_all(const List& list) {
        put(std::int64_t(list.size()));
        bytes_.append(reinterpret_cast<const char*>(list.data()), list.size() * sizeof(*list.data()));
    }
    std::string take() { return std::move(bytes_); }

private:
    std::string bytes_;
};

class Unpacker {
public:
    explicit Unpacker(std::string_view bytes) : rest_(bytes) {}
    std::int64_t number() {
        std::int64_t value = 0;
        take(&value, sizeof value);
        return value;
    }
    template <class List>
    List all() {
        using Element = std::remove_reference_t<decltype(*std::declval<List>().data())>;
        const std::int64_t count = number();
        if (count < 0 || std::uint64_t(count) > rest_.size() / sizeof(Element)) refuse();
        List list;
        list.resize(std::size_t(count));
        take(list.data(), list.size() * sizeof(Element));
        return list;
    }

private:
    [[noreturn]] static void refuse() { throw UserError("trace: its reader gave back too little"); }
    void take(void* out, std::size_t size) {
        if (size > rest_.size()) refuse();
        if (size > 0) std::memcpy(out, rest_.data(), size);
        rest_.remove_prefix(size);
    }
    std::string_view rest_;
};

std::string packed(const RoutingTrace& trace) {
    Packer out;
    out.put(trace.experts);
    out.put(trace.top_k);
    out.put_all(trace.layers);
    out.put_all(trace.choices);
    for (const auto* text : {&trace.model, &trace.source, &trace.notice}) out.put(*text);
    out.put(std::int64_t(trace.documents.size()));
    for (const auto& document : trace.documents) {
        out.put(document.dataset);
        out.put(document.category);
        out.put(document.has_repetition);
        out.put(document.tokens);
    }
    return out.take();
}

// Checked again: the bytes may come from a process that a damaged file has led astray.
RoutingTrace unpacked(std::string_view bytes, const std::string& name) {
    Unpacker in(bytes);
    RoutingTrace trace;
    trace.experts = int(in.number());
    trace.top_k = int(in.number());
    trace.layers = in.all<std::vector<int>>();
    trace.choices = in.all<std::vector<std::uint16_t>>();
    for (auto* text : {&trace.model, &trace.source, &trace.notice}) *text = in.all<std::string>();
    for (std::int64_t left = in.number(); left > 0; --left) {
        auto& document = trace.documents.emplace_back();
        document.dataset = in.all<std::string>();
        document.category = in.all<std::string>();
        document.has_repetition = in.number() != 0;
        document.tokens = in.number();
    }
    trace.validate(name);
    return trace;
}

void write_documents(Hdf5File& file, std::span<const TraceDocument> documents) {
    std::vector<std::string> datasets, categories;
    std::vector<std::int32_t> tokens, has_repetition;
    for (const auto& document : documents) {
        datasets.push_back(document.dataset);
        categories.push_back(document.category);
        tokens.push_back(std::int32_t(document.tokens));
        has_repetition.push_back(document.has_repetition);
    }
    const Hdf5File::Shape shape = {std::int64_t(documents.size())};
    file.write_texts("documents/dataset", datasets, compressed);
    file.write_texts("documents/category", categories, compressed);
    file.write("documents/tokens", tokens, shape, compressed);
    file.write("documents/has_repetition", has_repetition, shape, compressed);
}

}  // namespace

RoutingTrace read_trace(const std::filesystem::path& path) {
    return unpacked(isolated(path, limits_for(path), [&] { return packed(read_file(path)); }), path.string());
}

RoutingTrace read_trace(const std::filesystem::path& path, const Communicator& world) {
    std::string bytes;
    judge_on_root(world, [&] { bytes = packed(read_trace(path)); });
    return unpacked(world.broadcast(std::move(bytes), 0, {"trace"}), path.string());
}

void write_trace(const std::filesystem::path& path, const RoutingTrace& trace) {
    trace.validate(path.string());
    PartialFile partial(path);
    Hdf5File file = Hdf5File::create(partial.temporary());
    file.set_attribute("", "format", std::string(trace_format));
    file.set_attribute("", "experts", std::int64_t(trace.experts));
    file.set_attribute("", "model", trace.model);
    file.set_attribute("", "source", trace.source);
    file.set_attribute("", "notice", trace.notice);
    const auto layers = std::int64_t(trace.layers.size());
    file.write("layers", trace.layers, {layers});
    file.write("choices", trace.choices, {trace.tokens(), layers, trace.top_k}, compressed);
    write_documents(file, trace.documents);
    file.close();
    partial.commit();
}

}  // namespace expar
