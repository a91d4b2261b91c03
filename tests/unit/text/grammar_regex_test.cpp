#include <doctest/doctest.h>

#include "base/clock.h"
#include "base/file.h"
#include "text/grammar/grammar.h"

using namespace tap;

namespace {

bool matches(const GrammarPtr& grammar, std::string_view text) {
  GrammarState state(grammar);
  return state.advance(text) && state.can_end();
}

GrammarPtr regex(std::string_view pattern) { return Grammar::from_regex(pattern).value(); }

std::string refused(std::string_view pattern, ErrorCode code) {
  const auto made = Grammar::from_regex(pattern);
  REQUIRE_MESSAGE(!made.ok(), pattern);
  CHECK_MESSAGE(made.error().code() == code, made.error().message());
  return made.error().message();
}

}  // namespace

TEST_CASE("a regex matches what Python's re.fullmatch matches") {
  const std::string file = TAPETUM_SOURCE_DIR "/tests/data/grammar/regex.json";
  const Json cases = parse_json(read_file(file, 1 << 22).value(), file).value();
  REQUIRE(cases.size() > 60);
  std::size_t yes = 0;
  for (const Json& one : cases) {
    const auto pattern = one["pattern"].get<std::string>();
    const auto made = Grammar::from_regex(pattern);
    REQUIRE_MESSAGE(made.ok(), made.error().message());
    for (const Json& row : one["texts"]) {
      const auto text = row[0].get<std::string>();
      const bool got = matches(*made, text), wanted = row[1].get<bool>();
      yes += wanted;
      // \d \w \s are ASCII and their complements leave all of Unicode's out: narrower than Python beyond ASCII.
      const bool ascii = std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
      const bool classes = pattern.find("\\d") != pattern.npos || pattern.find("\\D") != pattern.npos ||
                           pattern.find("\\w") != pattern.npos || pattern.find("\\W") != pattern.npos ||
                           pattern.find("\\s") != pattern.npos || pattern.find("\\S") != pattern.npos;
      if (classes && !ascii)
        CHECK_MESSAGE((!got || wanted), pattern, " / ", text);
      else
        CHECK_MESSAGE(got == wanted, pattern, " / ", text);
    }
  }
  CHECK(yes > 500);
}

TEST_CASE("what a regex cannot say here is refused by name and position") {
  CHECK(refused("ab(?=c)", ErrorCode::unsupported) == "regex: position 2: look-ahead (?= is not supported");
  CHECK(refused("(?<!a)b", ErrorCode::unsupported).find("look-behind (?<!") != std::string::npos);
  CHECK(refused("(a)\\1", ErrorCode::unsupported) == "regex: position 3: a back reference is not supported");
  CHECK(refused("a\\b", ErrorCode::unsupported).find("word boundary") != std::string::npos);
  CHECK(refused("\\p{L}", ErrorCode::unsupported).find("Unicode property") != std::string::npos);
  CHECK(refused("(?i)a", ErrorCode::unsupported).find("flag") != std::string::npos);
  CHECK(refused("a*+", ErrorCode::unsupported).find("possessive") != std::string::npos);
  CHECK(refused("(a$|b)", ErrorCode::unsupported).find("$ other than at the end") != std::string::npos);
  CHECK(refused("*a", ErrorCode::bad_input) == "regex: position 0: nothing to repeat before *");
  CHECK(refused("a**", ErrorCode::bad_input).find("a repeat of a repeat") != std::string::npos);
  CHECK(refused("(a", ErrorCode::bad_input) == "regex: position 0: a ( without its )");
  CHECK(refused("a)", ErrorCode::bad_input) == "regex: position 1: unmatched )");
  CHECK(refused("[a", ErrorCode::bad_input).find("a [ without its ]") != std::string::npos);
  CHECK(refused("[z-a]", ErrorCode::bad_input).find("range of a class") != std::string::npos);
  CHECK(refused("a{2", ErrorCode::bad_input).find("not a repeat") != std::string::npos);
  CHECK(refused("a{3,2}", ErrorCode::bad_input).find("least count is above") != std::string::npos);
  CHECK(refused("\\q", ErrorCode::unsupported).find("\\q") != std::string::npos);
  CHECK(refused("\\u12", ErrorCode::bad_input).find("4 hexadecimal") != std::string::npos);
  CHECK(refused("a\\", ErrorCode::bad_input).find("\\ at the end") != std::string::npos);
  CHECK(refused("\xFF", ErrorCode::bad_input).find("UTF-8") != std::string::npos);
  CHECK(refused("[^\\x00-\\u{10FFFF}]", ErrorCode::bad_input).find("hexadecimal") != std::string::npos);
  CHECK(refused("a[^\\s\\S]", ErrorCode::bad_input).find("no answer can satisfy") != std::string::npos);
}

TEST_CASE("classes and their complements hold what every dialect agrees on") {
  const std::string space = "\u00A0", digit = "\u0663", letter = "\u00E9", sign = "\u2192";
  for (const char* spelled : {"\\S", "[\\S]", "[^\\s]"}) {
    CHECK(matches(regex(spelled), letter));
    CHECK_FALSE(matches(regex(spelled), space));  // a space to Python and ECMA 262, none to RE2
    CHECK_FALSE(matches(regex(spelled), "\t"));
  }
  for (const char* spelled : {"\\D", "[\\D]", "[^\\d]"}) {
    CHECK(matches(regex(spelled), letter));
    CHECK_FALSE(matches(regex(spelled), digit));
    CHECK_FALSE(matches(regex(spelled), "7"));
  }
  for (const char* spelled : {"\\W", "[\\W]", "[^\\w]"}) {
    CHECK(matches(regex(spelled), sign));
    CHECK_FALSE(matches(regex(spelled), letter));
    CHECK_FALSE(matches(regex(spelled), "_"));
  }
  for (const char* spelled : {"\\s", "[\\s]", "[^\\S]"}) {
    CHECK(matches(regex(spelled), "\t"));
    CHECK_FALSE(matches(regex(spelled), space));
  }
  CHECK_FALSE(matches(regex("[^\\D]"), digit));
  CHECK_FALSE(matches(regex("[^\\W]"), letter));
  CHECK(matches(regex("[^\\W_]"), "a"));
  CHECK_FALSE(matches(regex("[^\\W_]"), "_"));
}

TEST_CASE("a prefix of a match may go on and half a character is one") {
  GrammarState state(regex("é{2}x"));
  CHECK(state.advance("\xC3"));
  CHECK_FALSE(state.can_end());
  CHECK_FALSE(state.advance("x"));
  CHECK(state.advance("\xA9\xC3\xA9x"));
  CHECK(state.can_end());
  CHECK_FALSE(state.can_go_on());
  CHECK_FALSE(state.advance("x"));
}

TEST_CASE("only well-formed UTF-8 matches") {
  const GrammarPtr any = regex("(.|\\n)*");
  CHECK(matches(any, "aé日😀\n"));
  for (const std::string_view bad : {"\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\x80", "\xF8\x88\x80\x80\x80"})
    CHECK_FALSE(matches(any, bad));
}

TEST_CASE("choices match themselves and nothing else") {
  const std::vector<std::string> choices = {"yes", "yesterday", "no", "né"};
  const GrammarPtr grammar = Grammar::from_choices(choices).value();
  for (const std::string& choice : choices) CHECK(matches(grammar, choice));
  for (const std::string_view other : {"", "y", "ye", "yest", "none", "n", "yesno"})
    CHECK_FALSE(matches(grammar, other));
  CHECK_FALSE(Grammar::from_choices({}).ok());
  CHECK_FALSE(Grammar::from_choices(std::vector<std::string>{"a", ""}).ok());
  CHECK_FALSE(Grammar::from_choices(std::vector<std::string>{"\xFF"}).ok());
}

TEST_CASE("[B31] deep and huge regexes end in one clear error") {
  CHECK(refused(std::string(60'000, '('), ErrorCode::limit).find("nested deeper than 64") != std::string::npos);
  CHECK(refused(std::string(70'000, 'a'), ErrorCode::limit).find("the limit is 65536") != std::string::npos);
  CHECK(refused("a{1000000000}", ErrorCode::limit).find("a count above 1000000") != std::string::npos);
  CHECK(refused("(a{1000}){1000}b", ErrorCode::limit).find("automaton states") != std::string::npos);
  CHECK(refused("((((a{100}){100}){100}){100}){100}", ErrorCode::limit).find("more than") != std::string::npos);
  CHECK(refused("(.*)a.{40}", ErrorCode::limit).find("more than") != std::string::npos);
  CHECK(refused("((()*)*)*" + std::string(65'000, '*'), ErrorCode::bad_input).find("repeat") != std::string::npos);
  std::string classes;
  while (classes.size() < 65'000) classes += "[\\W]";
  CHECK(refused(classes, ErrorCode::limit).find("more than") != std::string::npos);
  std::string nested;
  for (int i = 0; i < 64; ++i) nested += "(a|";
  CHECK(matches(regex(nested + "b" + std::string(64, ')')), "b"));
  CHECK(matches(regex("(((a{0,3}){0,3}){0,3}){0,3}"), std::string(81, 'a')));
}
