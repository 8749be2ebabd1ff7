#include "expar/convert/trace_import.hpp"

#include <charconv>
#include <memory>

#include "expar/base/error.hpp"
#include "expar/base/read_file.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/partial_file.hpp"
#include "trace.hpp"

namespace expar::cli {
namespace {

constexpr std::size_t most_bytes = std::size_t{1} << 33;           // of recorded ids, unpacked
constexpr std::size_t most_document_bytes = std::size_t{1} << 28;  // of a table or a notice

struct ImportOptions {
    std::string file;
    std::string shape, dtype = "u8";
    int experts = 0;
    std::string documents;
    std::vector<std::string> fields;
    std::string model, source, notice;
    std::string out;
};

std::vector<std::int64_t> shape_of(const std::string& text) {
    std::vector<std::int64_t> shape;
    for (const auto& word : words_of(text)) {
        std::int64_t size = 0;
        const auto parsed = std::from_chars(word.data(), word.data() + word.size(), size);
        if (parsed.ec != std::errc() || parsed.ptr != word.data() + word.size())
            throw UserError(
                concat("--shape ", text, ": '", word, "', expected whole numbers with commas between them"));
        shape.push_back(size);
    }
    return shape;
}

bool is_json_lines(const NamedText& file) {
    return file.text.find_first_not_of(" \t\r\n") != std::string::npos &&
           file.text[file.text.find_first_not_of(" \t\r\n")] == '{';
}

RoutingTrace read(const ImportOptions& options) {
    const NamedText file = unpacked_gzip({options.file, read_file(options.file, most_bytes)}, most_bytes);
    if (!options.shape.empty()) return import_ids(file, {options.dtype, shape_of(options.shape)}, options.experts);
    if (file.text.starts_with("\x93NUMPY")) return import_npy(file, options.experts);
    if (!is_json_lines(file))
        throw UserError(concat(options.file, ": neither .npy nor lines of JSON; raw ids need --shape"));
    JsonFields fields;
    for (const auto& field : options.fields) fields.set(field);
    return import_json_lines(file, fields, options.experts);
}

void import(const ImportOptions& options) {
    if (options.experts < 1) throw UserError(concat("--experts: ", options.experts, ", expected at least 1"));
    expect_writable(options.out);
    RoutingTrace trace = read(options);
    if (!options.documents.empty())
        set_documents(trace, unpacked_gzip({options.documents, read_file(options.documents, most_document_bytes)},
                                           most_document_bytes));
    trace.model = options.model;
    trace.source = options.source.empty() ? options.file : options.source;
    if (!options.notice.empty()) trace.notice = read_file(options.notice, most_document_bytes);
    write_and_say(options.out, trace);
}

}  // namespace

Runner add_trace_import(CLI::App& command) {
    const auto options = std::make_shared<ImportOptions>();
    command.add_option("FILE", options->file, "raw ids (with --shape), .npy, or lines of JSON; also gzipped")
        ->required();
    command.add_option("--experts", options->experts, "experts of a layer")->required();
    command.add_option("--out", options->out, "the HDF5 file to write")->required()->type_name("FILE");
    command.add_option("--shape", options->shape, "tokens,layers,choices of raw ids; one may be -1");
    command.add_option("--dtype", options->dtype, "type of raw ids: u8, i8, u16, …, i64, little-endian")
        ->capture_default_str();
    command
        .add_option("--documents", options->documents,
                    "table of texts: n_tokens, token_offset, dataset, category, has_repetition, tab-separated")
        ->type_name("TSV");
    command
        .add_option("--field", options->fields,
                    "what JSON calls request, routing, layer or experts: --field experts=topk.ids")
        ->type_name("NAME=PATH");
    command.add_option("--model", options->model, "whose routing it is");
    command.add_option("--source", options->source, "where it is from (default: FILE)");
    command.add_option("--notice", options->notice, "what must travel with it, such as a licence")->type_name("FILE");
    return [options](const Communicator& world) {
        judge_on_root(world, [&] { import(*options); });
        return 0;
    };
}

}  // namespace expar::cli
