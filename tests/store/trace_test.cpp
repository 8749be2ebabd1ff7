#include "expar/store/trace.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "expar/store/hdf5_file.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

using testing_support::complaint_of;
using testing_support::TemporaryFolder;

/// 5 tokens of 3 documents, layers 1 and 4, 2 of 6 experts each.
RoutingTrace small_trace() {
    RoutingTrace trace;
    trace.experts = 6;
    trace.top_k = 2;
    trace.layers = {1, 4};
    for (int t = 0; t < 5; ++t)
        for (const int choice : {t, 5, 3, (t + 4) % 6 == 3 ? 2 : (t + 4) % 6})
            trace.choices.push_back(std::uint16_t(choice));
    trace.documents = {{"exam", "history", false, 2}, {"exam", "", true, 1}, {"größer", "physics", false, 2}};
    trace.model = "a model";
    trace.source = "somewhere";
    trace.notice = "Keep this.\nAnd this.";
    return trace;
}

void expect_equal(const RoutingTrace& a, const RoutingTrace& b) {
    EXPECT_EQ(a.experts, b.experts);
    EXPECT_EQ(a.top_k, b.top_k);
    EXPECT_EQ(a.layers, b.layers);
    EXPECT_EQ(a.choices, b.choices);
    EXPECT_EQ(a.documents, b.documents);
    EXPECT_EQ(a.model + "|" + a.source + "|" + a.notice, b.model + "|" + b.source + "|" + b.notice);
}

TEST(Trace, ComesBackFromAFileAsItWas) {
    const Communicator world(MPI_COMM_WORLD);
    const TemporaryFolder folder;  // of this rank
    write_trace(folder / "t.h5", small_trace());
    expect_equal(read_trace(folder / "t.h5"), small_trace());
    expect_equal(read_trace(folder / "t.h5", world), small_trace());
}

TEST(Trace, ANeedleIsWhereItWasPut) {
    const RoutingTrace trace = small_trace();
    EXPECT_EQ(trace.tokens(), 5);
    EXPECT_EQ(trace.choices_of(2, trace.place_of(4))[0], 3);
    EXPECT_EQ(trace.choices_of(2, trace.place_of(1))[0], 2);
    EXPECT_EQ(complaint_of<UserError>([&] { (void)trace.place_of(3); }), "the trace has no layer 3; it has 1, 4");
}

TEST(Trace, PartsAreWholeDocuments) {
    const RoutingTrace trace = small_trace();
    const RoutingTrace part = part_of(trace, {true, false, true});
    EXPECT_EQ(part.tokens(), 4);
    EXPECT_EQ(part.documents.size(), 2u);
    EXPECT_EQ(part.choices_of(2, 0)[0], trace.choices_of(3, 0)[0]);
    EXPECT_EQ(part.notice, trace.notice);
    EXPECT_THROW((void)part_of(trace, {true}), Error);
}

TEST(Trace, ASplitTakesAboutItsShareAndDependsOnTheSeed) {
    std::vector<TraceDocument> documents;
    for (int d = 0; d < 200; ++d) documents.push_back({"a", "", false, 1 + d % 7});
    const auto taken = [&](const std::vector<bool>& chosen) {
        std::int64_t tokens = 0;
        for (std::size_t d = 0; d < chosen.size(); ++d) tokens += chosen[d] ? documents[d].tokens : 0;
        return double(tokens);
    };
    const auto chosen = choose_share(documents, 0.25, 1);
    const double all = taken(std::vector<bool>(200, true));
    EXPECT_GE(taken(chosen), 0.25 * all);
    EXPECT_LT(taken(chosen), 0.25 * all + 7);
    EXPECT_EQ(chosen, choose_share(documents, 0.25, 1));
    EXPECT_NE(chosen, choose_share(documents, 0.25, 2));
}

TEST(Trace, WhatIsNotATraceIsRefusedInOneLine) {
    const auto refused = [](auto damage) {
        RoutingTrace trace = small_trace();
        damage(trace);
        return complaint_of<UserError>([&] { trace.validate("t"); });
    };
    EXPECT_EQ(refused([](RoutingTrace&) {}), "");
    EXPECT_EQ(refused([](RoutingTrace& t) { t.choices[5] = 6; }), "t: token 1, layer 1: expert 6, expected one of 6");
    EXPECT_EQ(refused([](RoutingTrace& t) { t.choices[7] = t.choices[6]; }),
              "t: token 1, layer 4: expert 3 is chosen twice");
    EXPECT_EQ(refused([](RoutingTrace& t) { t.choices.pop_back(); }), "t: 19 choices, expected 4 for each token");
    EXPECT_EQ(refused([](RoutingTrace& t) { t.choices.clear(); }), "t: no tokens");
    EXPECT_EQ(refused([](RoutingTrace& t) { t.top_k = 7; }), "t: 7 choices of a token, expected 1 to 6");
    EXPECT_EQ(refused([](RoutingTrace& t) { t.layers = {4, 1}; }), "t: layers do not ascend from 0");
    EXPECT_EQ(refused([](RoutingTrace& t) { t.documents.pop_back(); }), "t: documents have 3 tokens, expected all 5");
    EXPECT_EQ(refused([](RoutingTrace& t) { t.documents[2].tokens = 9; }), "t: a document of 9 tokens, 2 are left");
    EXPECT_EQ(refused([](RoutingTrace& t) { t.experts = 1 << 17; }), "t: 131072 experts, expected 1 to 65536");
}

class DamagedTrace : public testing::Test {
protected:
    // What reading complains about when the file was written with `change` on top.
    template <class Change>
    std::string refused(Change change, const std::string& leave_out = "") {
        const auto path = folder / "t.h5";
        {
            Hdf5File file = Hdf5File::create(path);
            file.set_attribute("", "format", std::string(trace_format));
            file.set_attribute("", "experts", std::int64_t{4});
            const auto put = [&](const std::string& name, auto write) {
                if (name != leave_out) write(name);
            };
            put("layers", [&](auto& n) { file.write(n, std::vector<std::int32_t>{0}, {1}); });
            put("choices", [&](auto& n) { file.write(n, std::vector<std::uint16_t>{0, 1, 2, 3}, {2, 1, 2}); });
            put("documents/dataset", [&](auto& n) { file.write_texts(n, {"a", "b"}); });
            put("documents/category", [&](auto& n) { file.write_texts(n, {"", ""}); });
            put("documents/tokens", [&](auto& n) { file.write(n, std::vector<std::int32_t>{1, 1}, {2}); });
            put("documents/has_repetition", [&](auto& n) { file.write(n, std::vector<std::int32_t>{0, 0}, {2}); });
            change(file);
            file.close();
        }
        const std::string line = complaint_of<UserError>([&] { (void)read_trace(path); });
        const std::string name = path.string() + ": ";
        return line.starts_with(name) ? line.substr(name.size()) : line;
    }
    TemporaryFolder folder;
};

TEST_F(DamagedTrace, IsRefusedInOneLine) {
    const auto as_it_is = [](Hdf5File&) {};
    EXPECT_EQ(refused(as_it_is), "");
    EXPECT_EQ(refused(as_it_is, "choices"), "choices is missing");
    EXPECT_EQ(refused(as_it_is, "layers"), "layers is missing");
    EXPECT_EQ(refused(as_it_is, "documents/dataset"), "documents/dataset is missing");
    EXPECT_EQ(refused(
                  [](Hdf5File& f) {
                      f.write("layers", std::vector<std::int32_t>{0, 1}, {2});
                  },
                  "layers"),
              "layers is [2], expected [1]");
    EXPECT_EQ(refused(
                  [](Hdf5File& f) {
                      f.write("choices", std::vector<std::uint16_t>{0, 1}, {2});
                  },
                  "choices"),
              "choices is [2] of 4 experts, expected [tokens, layers, choices of a token]");
    EXPECT_EQ(refused(
                  [](Hdf5File& f) {
                      f.write("choices", std::vector<std::uint16_t>{0, 1, 2, 4}, {2, 1, 2});
                  },
                  "choices"),
              "token 1, layer 0: expert 4, expected one of 4");
    EXPECT_EQ(refused(
                  [](Hdf5File& f) {
                      f.write("documents/tokens", std::vector<std::int32_t>{1, -1}, {2});
                  },
                  "documents/tokens"),
              "a document of -1 tokens, 1 are left");
    EXPECT_EQ(refused(
                  [](Hdf5File& f) {
                      f.write("documents/dataset", std::vector<std::int32_t>{1, 1}, {2});
                  },
                  "documents/dataset"),
              "documents/dataset does not hold texts of one length");
    EXPECT_EQ(refused([](Hdf5File& f) { f.write_texts("documents/category", {"a"}); }, "documents/category"),
              "documents/category has 1, expected 2 as documents/dataset has");
    testing_support::write_text(folder / "text", "no HDF5");
    EXPECT_NE(complaint_of<UserError>([&] { (void)read_trace(folder / "text"); }).find("not an HDF5 file"),
              std::string::npos);
    EXPECT_NE(complaint_of<UserError>([&] { (void)read_trace(folder / "none"); }).find("no such file"),
              std::string::npos);
    {
        Hdf5File other = Hdf5File::create(folder / "other.h5");
        other.close();
    }
    EXPECT_NE(complaint_of<UserError>([&] { (void)read_trace(folder / "other.h5"); }).find("not a trace"),
              std::string::npos);
}

}  // namespace
}  // namespace expar
