#include "expar/convert/trace_import.hpp"

#include <gtest/gtest.h>
#include <zlib.h>

#include "expar/base/error.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

using testing_support::complaint_of;

template <class T>
std::string bytes_of(const std::vector<T>& values) {
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::vector<int> choices_of(const RoutingTrace& trace) {
    return {trace.choices.begin(), trace.choices.end()};
}

std::string npy(const std::string& header, const std::string& data) {
    const auto length = std::uint16_t(header.size());
    return std::string("\x93NUMPY\x01\x00", 8) + bytes_of(std::vector{length}) + header + data;
}

std::string gzipped(const std::string& text) {
    std::string out(text.size() + 256, '\0');
    z_stream stream{};
    deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream.avail_in = uInt(text.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = uInt(out.size());
    EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    return out;
}

// Two tokens, two layers, two choices.
const std::vector<int> ids = {0, 1, 2, 3, 3, 2, 1, 0};

template <class T>
std::string ids_as() {
    return bytes_of(std::vector<T>(ids.begin(), ids.end()));
}

TEST(TraceImport, ReadsIdsOfEveryType) {
    const std::vector<std::pair<std::string, std::string>> kinds = {
        {"u8", ids_as<std::uint8_t>()},   {"i8", ids_as<std::int8_t>()},    {"u16", ids_as<std::uint16_t>()},
        {"i16", ids_as<std::int16_t>()},  {"u32", ids_as<std::uint32_t>()}, {"i32", ids_as<std::int32_t>()},
        {"u64", ids_as<std::uint64_t>()}, {"i64", ids_as<std::int64_t>()}};
    for (const auto& [type, bytes] : kinds) {
        const RoutingTrace trace = import_ids({"folder/ids", bytes}, {type, {-1, 2, 2}}, 4);
        EXPECT_EQ(choices_of(trace), ids) << type;
        EXPECT_EQ(trace.layers, (std::vector<int>{0, 1}));
        EXPECT_EQ(trace.documents, (std::vector<TraceDocument>{{"ids", "", false, 2}}));
        const std::string numpy = concat("'|", type[0],
                                         type == "u8" || type == "i8"     ? "1"
                                         : type == "u16" || type == "i16" ? "2"
                                         : type == "u32" || type == "i32" ? "4"
                                                                          : "8",
                                         "'");
        const RoutingTrace again = import_npy(
            {"n", npy("{'descr': " + numpy + ", 'fortran_order': False, 'shape': (2, 2, 2), }\n", bytes)}, 4);
        EXPECT_EQ(choices_of(again), ids) << type;
    }
    EXPECT_EQ(import_ids({"one", ids_as<std::uint8_t>()}, {"u8", {4, 2}}, 4).tokens(), 4);
}

TEST(TraceImport, RefusesIdsInOneLine) {
    const auto refused = [](const std::string& bytes, const IdLayout& layout, int experts = 4) {
        return complaint_of<UserError>([&] { (void)import_ids({"f", bytes}, layout, experts); });
    };
    const std::string good = ids_as<std::uint8_t>();
    EXPECT_EQ(refused(good, {"u8", {-1, 2, 2}}), "");
    EXPECT_EQ(refused(good, {"u8", {-1, 2, 2}}, 3), "f: token 0, layer 1: expert 3, expected one of 3");
    EXPECT_EQ(refused(bytes_of(std::vector<std::int8_t>{0, -1}), {"i8", {-1, 1, 2}}),
              "f: token 0, layer 0: expert -1, expected one of 4");
    EXPECT_EQ(refused(bytes_of(std::vector<std::uint64_t>{0, ~std::uint64_t{0}}), {"u64", {-1, 1, 2}}),
              "f: token 0, layer 0: expert 2147483647, expected one of 4");
    EXPECT_EQ(refused(bytes_of(std::vector<std::uint8_t>{0, 1, 2, 2}), {"u8", {-1, 1, 2}}),
              "f: token 1, layer 0: expert 2 is chosen twice");
    EXPECT_EQ(refused(good.substr(1), {"u8", {-1, 2, 2}}),
              "f: shape -1,2,2: 7 ids are there, expected a multiple of 4");
    EXPECT_EQ(refused(good, {"u8", {3, 2, 2}}), "f: shape 3,2,2: 8 ids are there, expected 12");
    EXPECT_EQ(refused("", {"u8", {-1, 2, 2}}), "f: shape -1,2,2: 0 ids are there, expected a multiple of 4");
    EXPECT_EQ(refused(good, {"u8", {8}}), "f: shape 8: expected tokens,layers,choices or tokens,choices");
    EXPECT_EQ(refused(good, {"u8", {-1, -1, 2}}),
              "f: shape -1,-1,2: expected sizes of at least 1, one of which may be -1");
    EXPECT_EQ(refused(good + "x", {"u16", {-1, 2, 2}}), "f: 9 bytes, expected a multiple of 2 for u16");
    EXPECT_NE(refused(good, {"f32", {-1, 2, 2}}).find("known: u8, i8"), std::string::npos);
}

TEST(TraceImport, RefusesNumpyFilesInOneLine) {
    const auto refused = [](const std::string& text) {
        return complaint_of<UserError>([&] { (void)import_npy({"n", text}, 4); });
    };
    const std::string data = ids_as<std::uint8_t>();
    EXPECT_EQ(refused(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 2)}", data)), "");
    EXPECT_EQ(refused(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 3)}", data)),
              "n: shape 2,2,3: 8 ids are there, expected 12");
    EXPECT_EQ(refused(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)}", data)),
              "n: a .npy file of type '<f4', expected integers, little-endian");
    EXPECT_EQ(refused(npy("{'descr': '>i4', 'fortran_order': False, 'shape': (1, 2)}", data)),
              "n: a .npy file of type '>i4', expected integers, little-endian");
    EXPECT_EQ(refused(npy("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 2, 2)}", data)),
              "n: a .npy file in Fortran's order, expected C's");
    EXPECT_EQ(refused(npy("{'descr': '|u1', 'shape': (2, 2, 2)}", data)),
              "n: a .npy file whose header has no 'fortran_order'");
    EXPECT_EQ(refused(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, x)}", data)),
              "n: shape: 'x', expected a whole number");
    EXPECT_EQ(refused(std::string("\x93NUMPY\x01\x00\xff\xff", 10)), "n: a .npy file that is cut off");
    EXPECT_EQ(refused("\x93NUMPY"), "n: a .npy file that is cut off");
    EXPECT_EQ(refused("text"), "n: not a .npy file");
}

const std::string lines =
    "{\"kind\": \"header\"}\n"
    "{\"request_id\": \"a\", \"routing\": [{\"layer_index\": 3, \"expert_ids\": [0, 1]}, {\"layer_index\": 1, "
    "\"expert_ids\": [2, 3]}]}\n\r\n"
    "{\"request_id\": \"a\", \"routing\": [{\"layer_index\": 1, \"expert_ids\": [3, 0]}, {\"layer_index\": 3, "
    "\"expert_ids\": [1, 2]}]}\r\n"
    "{\"request_id\": 7, \"routing\": [{\"layer_index\": 1, \"expert_ids\": [1, 0]}, {\"layer_index\": 3, "
    "\"expert_ids\": [2, 1]}]}";

TEST(TraceImport, ReadsLinesOfJson) {
    const RoutingTrace trace = import_json_lines({"r.jsonl", lines}, {}, 4);
    EXPECT_EQ(trace.layers, (std::vector<int>{1, 3}));
    EXPECT_EQ(choices_of(trace), (std::vector<int>{2, 3, 0, 1, 3, 0, 1, 2, 1, 0, 2, 1}));
    EXPECT_EQ(trace.documents, (std::vector<TraceDocument>{{"r.jsonl", "a", false, 2}, {"r.jsonl", "7", false, 1}}));
}

TEST(TraceImport, ReadsJsonOfOtherNames) {
    JsonFields fields;
    for (const char* field : {"request=id", "routing=moe.layers", "layer=l", "experts=top.ids"}) fields.set(field);
    const RoutingTrace trace = import_json_lines(
        {"r", "{\"id\": \"x\", \"moe\": {\"layers\": [{\"l\": 0, \"top\": {\"ids\": [1, 0]}}]}}"}, fields, 2);
    EXPECT_EQ(choices_of(trace), (std::vector<int>{1, 0}));
    EXPECT_EQ(trace.documents.front().category, "x");
    for (const char* field : {"expert=x", "experts", "experts=", "=x"})
        EXPECT_NE(complaint_of<UserError>([&] { fields.set(field); }).find("expected request, routing"),
                  std::string::npos);
}

TEST(TraceImport, RefusesLinesOfJsonInOneLine) {
    const auto refused = [](const std::string& text) {
        return complaint_of<UserError>([&] { (void)import_json_lines({"r", text}, {}, 4); });
    };
    const auto token = [](const std::string& layers) { return "{\"routing\": [" + layers + "]}\n"; };
    const auto layer = [](const std::string& index, const std::string& experts) {
        return "{\"layer_index\": " + index + ", \"expert_ids\": " + experts + "}";
    };
    EXPECT_EQ(refused(token(layer("0", "[1, 2]"))), "");
    EXPECT_EQ(refused("{}\nnot json"), "r:2: not JSON");
    EXPECT_EQ(refused("{}\n{}"), "r: no line has 'routing'; see --field");
    EXPECT_EQ(refused("{\"routing\": 3}"), "r:1: 'routing' is no list of layers");
    EXPECT_EQ(refused(token("")), "r:1: 'routing' is no list of layers");
    EXPECT_EQ(refused(token("7")), "r:1: a layer whose 'layer_index' is not a number from 0 to 1048576");
    EXPECT_EQ(refused(token(layer("-1", "[0]"))), "r:1: a layer whose 'layer_index' is not a number from 0 to 1048576");
    EXPECT_EQ(refused(token(layer("0", "3"))), "r:1: a layer without a list 'expert_ids'");
    EXPECT_EQ(refused(token(layer("0", "[1, 9]"))), "r:1: layer 0: expert 9, expected one of 4");
    EXPECT_EQ(refused(token(layer("0", "[1, -9]"))), "r:1: layer 0: expert -9, expected one of 4");
    EXPECT_EQ(refused(token(layer("0", "[1, 18446744073709551615]"))), "r:1: layer 0: expert -1, expected one of 4");
    EXPECT_EQ(refused(token(layer("0", "[1, 1.5]"))), "r:1: layer 0 has an expert that is no whole number");
    EXPECT_EQ(refused(token(layer("0", "[1, 1]"))), "r: token 0, layer 0: expert 1 is chosen twice");
    EXPECT_EQ(refused(token(layer("0", "[1, 2]")) + token(layer("0", "[1]"))),
              "r:2: layer 0 has 1 experts, expected 2 as the first token has");
    EXPECT_EQ(refused(token(layer("0", "[1, 2]")) + token(layer("1", "[1, 2]"))),
              "r:2: other layers than the first token has");
    EXPECT_EQ(refused(token(layer("0", "[1]") + ", " + layer("0", "[1]"))), "r: layers do not ascend from 0");
}

TEST(TraceImport, TablesCutTokensIntoDocuments) {
    RoutingTrace trace = import_ids({"f", ids_as<std::uint8_t>()}, {"u8", {4, 2}}, 4);
    set_documents(
        trace, {"i.tsv", "dataset\tcategory\thas_repetition\tn_tokens\ttoken_offset\nb\ty\t1\t1\t3\na\tx\t0\t3\t0\n"});
    EXPECT_EQ(trace.documents, (std::vector<TraceDocument>{{"a", "x", false, 3}, {"b", "y", true, 1}}));
    set_documents(trace, {"i.tsv", "token_offset\tn_tokens\r\n0\t4\r\n"});
    EXPECT_EQ(trace.documents, (std::vector<TraceDocument>{{"", "", false, 4}}));

    const auto refused = [&](const std::string& table) {
        return complaint_of<UserError>([&] {
            set_documents(trace, {"i", "n_tokens\ttoken_offset\thas_repetition\n" + table});
        });
    };
    EXPECT_EQ(refused("4\t0\t0\n"), "");
    EXPECT_EQ(refused("3\t0\t0\n"), "i: documents end at token 3, expected 4");
    EXPECT_EQ(refused("3\t0\t0\n2\t2\t0\n"), "i: a document of 2 tokens from 2, expected one from 3 and none behind 4");
    EXPECT_EQ(refused("3\t0\t0\n1\t4\t0\n"), "i: a document of 1 tokens from 4, expected one from 3 and none behind 4");
    EXPECT_EQ(refused("9\t0\t0\n"), "i: a document of 9 tokens from 0, expected one from 0 and none behind 4");
    EXPECT_EQ(refused("x\t0\t0\n"), "i:2: 'x', expected a whole number");
    EXPECT_EQ(refused("4\t0\tno\n"), "i:2: has_repetition is 'no', expected 0 or 1");
    EXPECT_EQ(refused("4\t0\n"), "i:2: 2 columns, expected 3 as the first line has");
    EXPECT_EQ(complaint_of<UserError>([&] {
                  set_documents(trace, {"i", "a\tb\n"});
              }),
              "i:1: expected columns n_tokens and token_offset, separated by tabs");
}

TEST(TraceImport, UnpacksGzip) {
    const std::string text(100000, 'x'), packed = gzipped(text);
    EXPECT_EQ(unpacked_gzip({"g", packed}, 1 << 20).text, text);
    EXPECT_EQ(unpacked_gzip({"g", packed + gzipped("more")}, 1 << 20).text, text + "more");
    EXPECT_EQ(unpacked_gzip({"g", "plain"}, 4).text, "plain");
    const auto refused = [](const std::string& bytes, std::size_t most) {
        return complaint_of<UserError>([&] { (void)unpacked_gzip({"g", bytes}, most); });
    };
    EXPECT_EQ(refused(packed, 99999), "g: unpacks to more than 99999 bytes");
    EXPECT_EQ(refused(packed.substr(0, packed.size() - 5), 1 << 20), "g: a gzip file that is cut off");
    EXPECT_EQ(refused(packed.substr(0, 2), 1 << 20), "g: a gzip file that is cut off");
    std::string damaged = packed;
    damaged[packed.size() / 2] = char(~damaged[packed.size() / 2]);
    EXPECT_TRUE(refused(damaged, 1 << 20).starts_with("g: a damaged gzip file"));
    EXPECT_TRUE(refused(packed + "rest", 1 << 20).starts_with("g: a damaged gzip file"));
}

}  // namespace
}  // namespace expar
