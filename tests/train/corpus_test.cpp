#include "expar/train/corpus.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <map>

#include "expar/base/error.hpp"

namespace expar {
namespace {

using namespace std::string_literals;

std::string letters(char first, int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += char(first + i % 20);
    return text;
}

Corpus small_corpus() {
    return Corpus({{"a", letters('A', 50) + '\0' + letters('a', 7) + '\0'}, {"b", '\0' + letters('a', 150)}});
}

TEST(Corpus, CutsDocumentsAtZeroBytes) {
    const Corpus corpus = small_corpus();
    ASSERT_EQ(corpus.documents().size(), 3);
    EXPECT_EQ(corpus.documents()[1].text, letters('a', 7));
    EXPECT_EQ(corpus.documents()[1].domain, 0);
    EXPECT_EQ(corpus.documents()[2].domain, 1);
    EXPECT_EQ(corpus.bytes(), 207);
    EXPECT_EQ(corpus.bytes_of(0), 57);
}

TEST(Corpus, HasAHashOfItsTextsAndNotOfTheirNames) {
    const auto hash = [](std::vector<Corpus::Domain> domains) { return Corpus(std::move(domains)).hash(); };
    const std::uint64_t expected = hash({{"a", "one"}, {"b", "two"}});
    EXPECT_EQ(hash({{"c", "one"}, {"d", "two"}}), expected);
    EXPECT_NE(hash({{"b", "two"}, {"a", "one"}}), expected);
    EXPECT_NE(hash({{"a", "onet"}, {"b", "wo"}}), expected);
    EXPECT_NE(hash({{"a", "onetwo"}}), expected);
    EXPECT_NE(hash({{"a", "one", true}, {"b", "two"}}), expected);
    EXPECT_NE(hash({{"a", "one"}, {"b", "twO"}}), expected);
}

// 41 places in the first document, none in the second, 141 in the third: each must come up, at about its share.
TEST(Corpus, DrawsFromEveryPlaceWithinADocumentAlike) {
    const Corpus corpus = small_corpus();
    std::map<const char*, int> times;
    constexpr int draws = 182 * 100;
    for (int step = 0; step < draws / 10; ++step)
        for (const Window& window : corpus.draw({.seed = 3, .step = step, .sequences = 10, .length = 9})) {
            ASSERT_EQ(window.text.size(), 10);
            ASSERT_EQ(window.text.find('\0'), std::string::npos);
            ++times[window.text.data()];
        }
    EXPECT_EQ(times.size(), 182);
    for (const auto& [place, count] : times) {
        EXPECT_GT(count, 50);
        EXPECT_LT(count, 160);
    }
}

TEST(Corpus, DrawsByStepAndMicroBatchAndSeed) {
    const Corpus corpus = small_corpus();
    const auto places = [&](BatchDraw draw) {
        draw.sequences = 8;
        draw.length = 9;
        std::vector<const char*> drawn;
        for (const Window& window : corpus.draw(draw)) drawn.push_back(window.text.data());
        return drawn;
    };
    const auto first = places({.seed = 1, .step = 1, .micro_batch = 0});
    EXPECT_EQ(places({.seed = 1, .step = 1, .micro_batch = 0}), first);
    EXPECT_NE(places({.seed = 2, .step = 1, .micro_batch = 0}), first);
    EXPECT_NE(places({.seed = 1, .step = 2, .micro_batch = 0}), first);
    EXPECT_NE(places({.seed = 1, .step = 1, .micro_batch = 1}), first);
}

// The shares of all ranks, one after the other, are the batch that one rank would take.
TEST(Corpus, GivesTheSameGlobalBatchToAnyNumberOfRanks) {
    const Communicator world(MPI_COMM_WORLD);
    const Communicator alone(MPI_COMM_SELF);
    const Corpus corpus = small_corpus();
    const BatchDraw draw{.seed = 5, .step = 9, .sequences = 7, .length = 12};
    const auto whole = draw_step(corpus, draw, 2, alone);
    const auto shares = draw_step(corpus, draw, 2, world);
    ASSERT_EQ(whole.size(), 2);
    EXPECT_EQ(whole[1].first_token, 7 * 12);
    for (int m = 0; m < 2; ++m) {
        std::vector<int> lengths = world.all_gather(std::array{shares[m].token_count()});
        int begin = 0;
        for (int rank = 0; rank < world.rank(); ++rank) begin += lengths[rank];
        EXPECT_EQ(shares[m].first_token, whole[m].first_token + begin);
        for (int t = 0; t < shares[m].token_count(); ++t) {
            ASSERT_EQ(shares[m].tokens[t], whole[m].tokens[begin + t]);
            ASSERT_EQ(shares[m].targets[t], whole[m].targets[begin + t]);
        }
        int tokens = shares[m].token_count();
        world.sum(std::span(&tokens, 1));
        EXPECT_EQ(tokens, whole[m].token_count());
    }
}

TEST(Corpus, CutsEvaluationWindowsThatNeitherOverlapNorCrossADocument) {
    const Corpus corpus(std::vector<Corpus::Domain>{{"a", "abcdefgh\0xy\0z\0pqrst"s}});
    std::vector<std::string_view> texts;
    for (const Window& window : corpus.windows(4)) texts.push_back(window.text);
    EXPECT_EQ(texts, (std::vector<std::string_view>{"abcd", "efgh", "xy", "pqrs"}));
    const MicroBatch batch = batch_of(corpus.windows(4));
    EXPECT_EQ(batch.offsets, (std::vector{0, 3, 6, 7, 10}));
    EXPECT_EQ(batch.tokens[6], 'x');
    EXPECT_EQ(batch.targets[6], 'y');
}

TEST(Corpus, ReadsBytesAboveAsciiAsTheyAre) {
    const Corpus corpus(std::vector<Corpus::Domain>{{"a", "\xc3\xa9"}});
    const MicroBatch batch = batch_of(corpus.windows(2));
    EXPECT_EQ(batch.tokens[0], 0xc3);
    EXPECT_EQ(batch.targets[0], 0xa9);
}

// A folder that rank 0 alone fills: the other ranks learn everything from it.
class LoadCorpus : public testing::Test {
protected:
    Communicator world{MPI_COMM_WORLD};
    std::filesystem::path folder =
        std::filesystem::path(testing::TempDir()) / world.broadcast(concat("expar_corpus_", getpid()), 0);

    void SetUp() override {
        if (world.rank() != 0) return;
        std::filesystem::create_directories(folder / "train");
        write("train/bible.txt", letters('a', 30) + '\0' + letters('b', 40));
        write("train/code.txt", letters('c', 20));
        write("empty.txt", "");
        write("short.txt", "abc");
    }
    void TearDown() override {
        world.barrier();
        if (world.rank() == 0) std::filesystem::remove_all(folder);
    }
    void write(const char* name, const std::string& text) const {
        std::ofstream(folder / name, std::ios::binary) << text;
    }
    [[nodiscard]] std::string path(const char* name) const { return (folder / name).string(); }
    [[nodiscard]] Corpus load(const std::vector<std::string>& paths, Split split = Split::train) const {
        return load_corpus(paths, split, 10, world);
    }
    // The line that a refusal carries, which every rank must have alike.
    [[nodiscard]] std::string refusal(const std::vector<std::string>& paths, Split split = Split::train) const {
        std::string line = "accepted";
        try {
            static_cast<void>(load(paths, split));
        } catch (const UserError& error) {
            line = error.what();
        }
        EXPECT_EQ(line, world.broadcast(line, 0));
        return world.broadcast(line, 0);
    }
};

TEST_F(LoadCorpus, ReadsAFolderByDomainOnEveryRank) {
    const Corpus corpus = load({folder.string()});
    ASSERT_EQ(corpus.domains().size(), 2);
    EXPECT_EQ(corpus.domains()[0].name, "bible");
    EXPECT_EQ(corpus.domains()[1].name, "code");
    EXPECT_EQ(corpus.documents().size(), 3);
    EXPECT_EQ(corpus.bytes(), 90);
}

TEST_F(LoadCorpus, ReadsFilesAndNamesEqualOnesApart) {
    const Corpus corpus = load({path("train/bible.txt"), path("train/bible.txt")});
    EXPECT_EQ(corpus.domains()[1].name, "bible-2");
    EXPECT_EQ(corpus.documents().size(), 2);  // zero bytes of such a file are text
    EXPECT_EQ(corpus.bytes_of(1), 71);
}

TEST_F(LoadCorpus, RefusesBadTextWithOneLineOnEveryRank) {
    const auto has = [](const std::string& line, const std::string& part) {
        EXPECT_NE(line.find(part), std::string::npos) << line;
    };
    has(refusal({}), "no file was given");
    has(refusal({path("absent.txt")}), "absent.txt: cannot be read: No such file");
    has(refusal({path("empty.txt")}), "empty.txt: is empty");
    has(refusal({path("short.txt")}), "the longest document has 3 bytes, expected at least the 10");
    has(refusal({folder.string()}, Split::validation), "validation: cannot be read: No such file");
    if (geteuid() != 0) {  // root reads everything
        if (world.rank() == 0) std::filesystem::permissions(folder / "short.txt", std::filesystem::perms::none);
        has(refusal({path("short.txt")}), "short.txt: cannot be read: Permission denied");
    }
}

}  // namespace
}  // namespace expar
