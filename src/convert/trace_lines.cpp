#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "expar/base/error.hpp"
#include "expar/convert/trace_import.hpp"
#include "trace_text.hpp"

namespace expar {
namespace {

using Json = nlohmann::json;

constexpr std::array field_members = {&JsonFields::request, &JsonFields::routing, &JsonFields::layer,
                                      &JsonFields::experts};
constexpr std::array field_names = {"request", "routing", "layer", "experts"};

// What lies at "a.b" of an object; null when there is no such thing.
const Json* found_at(const Json& object, std::string_view path) {
    const Json* found = &object;
    while (found != nullptr && !path.empty()) {
        const std::size_t dot = std::min(path.find('.'), path.size());
        const auto next = found->is_object() ? found->find(std::string(path.substr(0, dot))) : found->end();
        found = found->is_object() && next != found->end() ? &*next : nullptr;
        path.remove_prefix(std::min(dot + 1, path.size()));
    }
    return found;
}

// Takes the tokens of a file one after the other.
class LineReader {
public:
    LineReader(const NamedText& file, const JsonFields& fields, int experts) : file_(file), fields_(fields) {
        trace_.experts = experts;
    }

    void add(int number, std::string_view line) {
        where_ = concat(file_.name, ":", number);
        const Json object = Json::parse(line, nullptr, false);
        if (object.is_discarded()) refuse("not JSON");
        const Json* routing = found_at(object, fields_.routing);
        if (routing == nullptr) return;
        if (!routing->is_array() || routing->empty()) refuse(concat("'", fields_.routing, "' is no list of layers"));
        read_layers(*routing);
        start_document(object);
        ++trace_.documents.back().tokens;
    }

    RoutingTrace finished() && {
        if (trace_.documents.empty())
            throw UserError(concat(file_.name, ": no line has '", fields_.routing, "'; see --field"));
        trace_.validate(file_.name);
        return std::move(trace_);
    }

private:
    [[noreturn]] void refuse(const std::string& why) const { throw UserError(concat(where_, ": ", why)); }

    void read_layers(const Json& routing) {
        std::vector<std::pair<int, const Json*>> layers;
        for (const auto& layer : routing) {
            const Json* index = found_at(layer, fields_.layer);
            const Json* experts = found_at(layer, fields_.experts);
            if (index == nullptr || !index->is_number_integer() || *index < 0 || *index > largest_layer)
                refuse(concat("a layer whose '", fields_.layer, "' is not a number from 0 to ", largest_layer));
            if (experts == nullptr || !experts->is_array())
                refuse(concat("a layer without a list '", fields_.experts, "'"));
            layers.emplace_back(index->get<int>(), experts);
        }
        std::ranges::sort(layers, {}, [](const auto& layer) { return layer.first; });
        if (trace_.documents.empty()) {  // the first token says what all look like
            for (const auto& [index, experts] : layers) trace_.layers.push_back(index);
            trace_.top_k = int(layers.front().second->size());
        }
        if (!std::ranges::equal(layers, trace_.layers, {}, [](const auto& layer) { return layer.first; }))
            refuse("other layers than the first token has");
        for (const auto& [index, experts] : layers) read_experts(index, *experts);
    }

    void read_experts(int layer, const Json& experts) {
        if (int(experts.size()) != trace_.top_k)
            refuse(concat("layer ", layer, " has ", experts.size(), " experts, expected ", trace_.top_k,
                          " as the first token has"));
        for (const auto& id : experts) {
            if (!id.is_number_integer()) refuse(concat("layer ", layer, " has an expert that is no whole number"));
            const auto number = id.get<std::int64_t>();  // negative where it is too large for that
            trace_.choices.push_back(
                checked_id(number, trace_.experts, [&] { return concat(where_, ": layer ", layer); }));
        }
    }

    void start_document(const Json& object) {
        const Json* request = found_at(object, fields_.request);
        std::string name = request == nullptr     ? ""
                           : request->is_string() ? request->get<std::string>()
                                                  : request->dump(-1, ' ', false, Json::error_handler_t::replace);
        if (trace_.documents.empty() || trace_.documents.back().category != name)
            trace_.documents.push_back({dataset_of(file_.name), std::move(name), false, 0});
    }

    static constexpr std::int64_t largest_layer = 1 << 20;
    const NamedText& file_;
    const JsonFields& fields_;
    std::string where_;
    RoutingTrace trace_;
};

// Which column has what; -1: none.
struct Columns {
    int dataset = -1, category = -1, has_repetition = -1, n_tokens = -1, token_offset = -1;
};

std::vector<std::string> cells_of(std::string_view line) {
    std::vector<std::string> cells;
    for (;;) {
        const std::size_t tab = line.find('\t');
        cells.emplace_back(line.substr(0, tab));
        if (tab == std::string_view::npos) return cells;
        line.remove_prefix(tab + 1);
    }
}

Columns columns_of(const std::vector<std::string>& names, const std::string& where) {
    const auto place = [&](const char* name) {
        const auto found = std::ranges::find(names, name);
        return found == names.end() ? -1 : int(found - names.begin());
    };
    const Columns columns{place("dataset"), place("category"), place("has_repetition"), place("n_tokens"),
                          place("token_offset")};
    if (columns.n_tokens < 0 || columns.token_offset < 0)
        throw UserError(concat(where, ": expected columns n_tokens and token_offset, separated by tabs"));
    return columns;
}

struct PlacedDocument {
    std::int64_t offset;
    TraceDocument document;
};

PlacedDocument document_of(const std::vector<std::string>& cells, const Columns& columns, const std::string& where) {
    const auto text = [&](int column) { return column < 0 ? std::string() : cells[std::size_t(column)]; };
    const std::string repeats = text(columns.has_repetition);
    if (repeats != "" && repeats != "0" && repeats != "1")
        throw UserError(concat(where, ": has_repetition is '", repeats, "', expected 0 or 1"));
    return {whole_number_of(text(columns.token_offset), where),
            {text(columns.dataset), text(columns.category), repeats == "1",
             whole_number_of(text(columns.n_tokens), where)}};
}

}  // namespace

void JsonFields::set(std::string_view assignment) {
    const std::size_t equals = assignment.find('=');
    if (equals != std::string_view::npos && equals + 1 < assignment.size())
        for (std::size_t i = 0; i < field_names.size(); ++i)
            if (assignment.substr(0, equals) == field_names[i]) {
                this->*field_members[i] = assignment.substr(equals + 1);
                return;
            }
    throw UserError(concat("--field ", assignment, ": expected request, routing, layer or experts, '=' and a path"));
}

RoutingTrace import_json_lines(const NamedText& file, const JsonFields& fields, int experts) {
    LineReader reader(file, fields, experts);
    for_each_line(file.text, [&](int number, std::string_view line) { reader.add(number, line); });
    return std::move(reader).finished();
}

void set_documents(RoutingTrace& trace, const NamedText& table) {
    std::vector<PlacedDocument> documents;
    Columns columns;
    std::size_t width = 0;
    for_each_line(table.text, [&](int number, std::string_view line) {
        const std::string where = concat(table.name, ":", number);
        const auto cells = cells_of(line);
        if (width == 0) {
            width = cells.size();
            columns = columns_of(cells, where);
            return;
        }
        if (cells.size() != width)
            throw UserError(concat(where, ": ", cells.size(), " columns, expected ", width, " as the first line has"));
        documents.push_back(document_of(cells, columns, where));
    });
    std::ranges::sort(documents, {}, &PlacedDocument::offset);
    trace.documents.clear();
    std::int64_t next = 0;
    for (const auto& [offset, document] : documents) {
        if (offset != next || document.tokens < 1 || document.tokens > trace.tokens() - next)
            throw UserError(concat(table.name, ": a document of ", document.tokens, " tokens from ", offset,
                                   ", expected one from ", next, " and none behind ", trace.tokens()));
        next += document.tokens;
        trace.documents.push_back(document);
    }
    if (next != trace.tokens())
        throw UserError(concat(table.name, ": documents end at token ", next, ", expected ", trace.tokens()));
}

}  // namespace expar
