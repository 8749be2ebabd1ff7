#include "expar/base/error.hpp"

#include <gtest/gtest.h>

namespace expar {
namespace {

TEST(OneLine, KeepsWhatATerminalShows) {
    EXPECT_EQ(one_line(""), "");
    EXPECT_EQ(one_line("größe: 3 €, 𝄞"), "größe: 3 €, 𝄞");
}

TEST(OneLine, ReplacesControlsAndWhatIsNotUtf8) {
    EXPECT_EQ(one_line(std::string_view("a\nb\r\t\x1B[2J\0\x7F", 10)), "a?b???[2J?");
    EXPECT_EQ(one_line("\xFF\xC0\x80"), "???");
    EXPECT_EQ(one_line("\xC2\x9B"), "??");  // as ESC [ to some terminals
    EXPECT_EQ(one_line("cut \xE2\x82"), "cut ??");
    EXPECT_EQ(one_line("\xE0\x80\x8A"), "???");       // a line's end, overlong
    EXPECT_EQ(one_line("\xF0\x80\x80\x8A"), "????");  // the same
    EXPECT_EQ(one_line("\xED\xA0\x80"), "???");       // half of a pair of UTF-16
    EXPECT_EQ(one_line("\xF4\x90\x80\x80"), "????");  // beyond the last character
}

TEST(OneLine, LeavesOutTheMiddleOfALongText) {
    const auto line = one_line("begin" + std::string(1 << 20, 'x') + "end");
    EXPECT_LE(line.size(), 2000U);
    EXPECT_TRUE(line.starts_with("beginxx") && line.ends_with("xxend")) << line;
}

TEST(UserError, IsOneLineWhateverItQuotes) {
    EXPECT_STREQ(UserError("a.toml:1: unknown key 'x\ny'").what(), "a.toml:1: unknown key 'x?y'");
}

}  // namespace
}  // namespace expar
