#include "config_file.hpp"

#include <gtest/gtest.h>

#include <set>

#include "expar/base/error.hpp"
#include "support/temporary_folder.hpp"

namespace expar::cli {
namespace {

using testing_support::complaint_of;
using testing_support::TemporaryFolder;
using testing_support::write_text;

// Sets every field to what no other has by default, by its own text.
RunConfig unusual() {
    RunConfig config;
    int number = 3;
    for (const auto& group : field_groups(config))
        for (const auto& field : group.fields) {
            ++number;
            if (const auto* truth = std::get_if<bool*>(&field.value))
                **truth = !**truth;
            else if (std::holds_alternative<double*>(field.value))
                field.set(std::to_string(number) + ".1e-7");
            else if (std::holds_alternative<std::string*>(field.value))
                field.set("a \"quoted\" \\ name\n" + std::to_string(number));
            else
                field.set(std::to_string(number));
        }
    return config;
}

TEST(ConfigFile, GivesBackEveryFieldAndTheSameText) {
    for (const RunConfig& config : {RunConfig(), unusual()}) {
        const std::string text = to_toml(config);
        RunConfig read;
        apply_toml(text, "x.toml", read);
        EXPECT_EQ(to_toml(read), text);
        RunConfig original = config;
        const auto expected = field_groups(original);
        const auto found = field_groups(read);
        for (std::size_t g = 0; g < expected.size(); ++g)
            for (std::size_t f = 0; f < expected[g].fields.size(); ++f) {
                if (expected[g].fields[f].lifetime == Lifetime::command) continue;
                EXPECT_EQ(found[g].fields[f].text(), expected[g].fields[f].text()) << expected[g].fields[f].name;
            }
    }
}

TEST(ConfigFile, InFullAlsoHasWhatIsNotStored) {
    const RunConfig config = unusual();
    RunConfig read;
    apply_toml(to_full_toml(config), "x.toml", read);
    EXPECT_EQ(to_full_toml(read), to_full_toml(config));
    EXPECT_EQ(read.run.out, config.run.out);
    EXPECT_TRUE(read.run.resume);
    EXPECT_EQ(to_toml(config).find("resume"), std::string::npos);
}

TEST(ConfigFile, KeepsNumbersToTheLastBit) {
    RunConfig config, read;
    config.train.learning_rate = 0.1 + 0.2;
    config.train.seed = 9223372036854775807ULL;
    apply_toml(to_toml(config), "x.toml", read);
    EXPECT_EQ(read.train.learning_rate, 0.1 + 0.2);
    EXPECT_EQ(read.train.seed, 9223372036854775807ULL);
}

TEST(Fields, HaveNamesOfTheirOwn) {
    RunConfig config;
    std::set<std::string> flags;
    int fields = 0;
    for (const auto& group : field_groups(config))
        for (const auto& field : group.fields) {
            ++fields;
            flags.insert(field.flag());
            EXPECT_FALSE(field.help.empty()) << field.name;
        }
    EXPECT_EQ(int(flags.size()), fields);
    EXPECT_TRUE(flags.contains("--kv-heads"));
}

std::string complaint_about(const std::string& text) {
    return complaint_of<UserError>([&] {
        RunConfig config;
        apply_toml(text, "train.toml", config);
    });
}

TEST(ConfigFile, NamesLineAndKeyOfAMistake) {
    EXPECT_EQ(complaint_about("layers = 2\n\nhiden = 4\n"),
              "train.toml:3: unknown key 'hiden'; did you mean 'hidden'?");
    EXPECT_EQ(complaint_about("whatever = 4\n"), "train.toml:1: unknown key 'whatever'");
    EXPECT_EQ(complaint_about("# text\nlayers = \"two\"\n"), "train.toml:2: layers: expected an integer");
    EXPECT_EQ(complaint_about("layers = 2.0\n"), "train.toml:1: layers: expected an integer");
    EXPECT_EQ(complaint_about("layers = 99999999999\n"), "train.toml:1: layers: expected an integer");
    EXPECT_EQ(complaint_about("seed = -1\n"), "train.toml:1: seed: expected an integer of at least 0");
    EXPECT_EQ(complaint_about("tied_head = 1\n"), "train.toml:1: tied_head: expected true or false");
    EXPECT_EQ(complaint_about("text = [1]\n"), "train.toml:1: text: expected a string or a list of strings");
    const auto broken = complaint_about("layers = \n");
    EXPECT_TRUE(broken.starts_with("train.toml:1: ")) << broken;
    EXPECT_EQ(broken.find('\n'), std::string::npos);
}

TEST(ConfigFile, MayGiveOneTextOrSeveralAndAnIntegerForANumber) {
    RunConfig config;
    apply_toml("text = \"a\"\nclip = 2\n", "x.toml", config);
    EXPECT_EQ(config.run.text, std::vector<std::string>{"a"});
    EXPECT_EQ(config.train.clip, 2.0);
    apply_toml("text = [\"b\", \"c\"]\n", "x.toml", config);
    EXPECT_EQ(config.run.text, (std::vector<std::string>{"b", "c"}));
}

// toml++ would use the stack up on them.
TEST(ConfigFile, RefusesTablesThatAreDeep) {
    const std::string line =
        ": expected KEY = VALUE, a number, true, false, a text of one line in quotes, or a list of these";
    const auto repeat = [](const std::string& part, int times) {
        std::string text;
        for (int i = 0; i < times; ++i) text += part;
        return text;
    };
    EXPECT_EQ(complaint_about(concat("\n", repeat("a.", 400'000), "a = 1\n")), concat("train.toml:2", line));
    EXPECT_EQ(complaint_about(repeat("'a'.", 100'000) + "a = 1\n"), concat("train.toml:1", line));
    EXPECT_EQ(complaint_about("text = " + repeat("[", 9) + repeat("]", 9)), concat("train.toml:1", line));
    EXPECT_EQ(complaint_about("# " + repeat("a.", 20) + "\ntext = \"" + repeat("[", 20) + "\\\"\"\n"), "");
    EXPECT_EQ(complaint_about("text = 'C:\\'  # no escape\nout = '" + repeat("{.", 20) + "'"), "");
}

TEST(ConfigFile, RefusesWhatNoFieldIs) {
    const std::string line =
        ": expected KEY = VALUE, a number, true, false, a text of one line in quotes, or a list of these";
    EXPECT_EQ(complaint_about("layers = 1\nclip = 1979-05-27T\n"), concat("train.toml:2", line));
    EXPECT_EQ(complaint_about("\n[model]\nlayers = 1\n"), concat("train.toml:2", line));
    EXPECT_EQ(complaint_about("clip = {a = 1}"), concat("train.toml:1", line));
    EXPECT_EQ(complaint_about("text = [\n'a',\n'b',\n]\n[[text]]"), concat("train.toml:5", line));
    EXPECT_EQ(complaint_about("text = \"\"\"a\n\"\"\""), concat("train.toml:1", line));
    EXPECT_EQ(complaint_about("layers = 5'ö'"), concat("train.toml:1", line));
    EXPECT_EQ(complaint_about("layers = 5['ö']"), concat("train.toml:1", line));
    EXPECT_EQ(complaint_about("layers == 'ö'"), concat("train.toml:1", line));
    EXPECT_EQ(complaint_about("größe = 1"), concat("train.toml:1", line));
    EXPECT_EQ(complaint_about("\xEF\xBB\xBF# Größe\ntext = ['Größe', '']"), "");
    EXPECT_EQ(complaint_about("clip = 07:3"), concat("train.toml:1", line));
    EXPECT_EQ(complaint_about("clip = 1e-5  # at 07:32 of 1979-05-27\nlearning_rate = -1.0"), "");
}

TEST(ConfigFile, RefusesMoreThanAMegabyte) {
    EXPECT_EQ(complaint_about(std::string((1 << 20) + 1, ' ')),
              "train.toml: has 1048577 bytes, expected at most 1048576");
    EXPECT_LE(complaint_about(std::string(1 << 18, 'x') + " = 1").size(), 2000U);
}

TEST(ConfigFile, MustBeReadable) {
    const TemporaryFolder folder;
    RunConfig config;
    EXPECT_NE(complaint_of<UserError>([&] { apply_config_file(folder / "none.toml", config); }).find("cannot be read"),
              std::string::npos);
    write_text(folder / "some.toml", "layers = 7\n");
    apply_config_file(folder / "some.toml", config);
    EXPECT_EQ(config.model.layers, 7);
}

}  // namespace
}  // namespace expar::cli
