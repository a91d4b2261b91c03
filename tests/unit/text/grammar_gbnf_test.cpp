#include <doctest/doctest.h>

#include "text/grammar/call_grammar.h"
#include "text/grammar/grammar.h"

using namespace tap;

namespace {

bool matches(const GrammarPtr& grammar, std::string_view text) {
  GrammarState state(grammar);
  return state.advance(text) && state.can_end();
}

GrammarPtr gbnf(std::string_view text) { return Grammar::from_gbnf(text, "g").value(); }

std::string refused(std::string_view text, ErrorCode code = ErrorCode::bad_input) {
  const auto made = Grammar::from_gbnf(text, "g");
  REQUIRE_MESSAGE(!made.ok(), text);
  CHECK_MESSAGE(made.error().code() == code, made.error().message());
  return made.error().message();
}

// llama.cpp's grammars/json.gbnf in its words.
constexpr std::string_view json = R"(root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws

array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws

string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws

number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws

# Optional space: by convention, applied in this grammar after literal chars when allowed
ws ::= | " " | "\n" [ \t]{0,20}
)";

std::string nested(std::size_t levels) {
  std::string text = "{\"a\":";
  for (std::size_t i = 0; i < levels; ++i) text += "[";
  text += "1";
  for (std::size_t i = 0; i < levels; ++i) text += "]";
  return text + "}";
}

}  // namespace

TEST_CASE("GBNF reads literals, classes, groups, repeats and rules") {
  const GrammarPtr one = gbnf("root ::= \"a\\n\\\"\\u00e9\\U0001F600\" [b-d\\]^-] . # the end\n");
  CHECK(matches(one, "a\n\"é😀b\n"));
  CHECK(matches(one, "a\n\"é😀]日"));
  CHECK(matches(one, "a\n\"é😀-x"));
  CHECK_FALSE(matches(one, "a\n\"é😀ex"));
  CHECK_FALSE(matches(one, "a\n\"é😀b"));
  const GrammarPtr list =
      gbnf("root ::= item (\", \" item){1,2} end?\nitem ::= [^,!]+\nend ::=\n  \"!\"\n  | \"!!\"\n");
  CHECK(matches(list, "a, bc"));
  CHECK(matches(list, "a, b, c!!"));
  CHECK_FALSE(matches(list, "a"));
  CHECK_FALSE(matches(list, "a, b, c, d"));
  CHECK(matches(gbnf("root ::= \"x\"{3} \"y\"{2,} | \"\""), "xxxyyyyy"));
  CHECK(matches(gbnf("root ::= \"x\"{3} \"y\"{2,} | \"\""), ""));
  CHECK(matches(gbnf("a_1 ::= \"x\"\r\nroot ::= (a_1 |\r\n  \"y\")*\r\n"), "xyyx"));
}

TEST_CASE("llama.cpp's JSON grammar writes JSON, as deep as answers nest") {
  const GrammarPtr grammar = gbnf(json);
  CHECK(matches(grammar, R"({"a": [1, -2.5e+1, {"b\n": null}, "\u00e9 日"], "c":true})"));
  CHECK_FALSE(matches(grammar, "[1]"));
  CHECK_FALSE(matches(grammar, R"({"a":01})"));
  CHECK(matches(grammar, nested(40)));
  CHECK_FALSE(matches(grammar, nested(70)));
}

TEST_CASE("a rule that ends with itself is a loop and nests nothing") {
  const std::string many(100'000, 'a');
  CHECK(matches(gbnf("root ::= \"a\" root | \"b\""), many + "b"));
  CHECK(matches(gbnf("root ::= \"a\" x | \"b\"\nx ::= y\ny ::= root"), many + "b"));
  CHECK(matches(gbnf("root ::= ws \"b\"\nws ::= ([a\\n] ws)?"), many + "b"));
  CHECK(matches(gbnf("root ::= ws \"b\"\nws ::= \"a\" ws |"), many + "b"));
  // What nests for good is remembered.
  const GrammarPtr pairs = gbnf("root ::= \"(\" root \")\" | \"x\"");
  CHECK(matches(pairs, std::string(60, '(') + "x" + std::string(60, ')')));
  CHECK_FALSE(matches(pairs, std::string(60, '(') + "x" + std::string(59, ')')));
}

TEST_CASE("rules that all end with one byte end, however many they are") {
  // Each of 60 rules may be over with what the next one writes, and the last one begins again.
  std::string text = "root ::= r0\n";
  for (int i = 0; i < 60; ++i) text += fmt::format("r{} ::= \"a\" r{} \"b\"?\n", i, i + 1);
  text += "r60 ::= \"c\" | \"d\" r0\n";
  const GrammarPtr grammar = gbnf(text);
  const std::string once(60, 'a');
  CHECK(matches(grammar, once + "c"));
  CHECK(matches(grammar, once + "c" + std::string(60, 'b')));
  CHECK(matches(grammar, once + "d" + once + "d" + once + "c"));
  CHECK(matches(grammar, once + "d" + once + "d" + once + "c" + std::string(180, 'b')));
}

TEST_CASE("what is wrong with a grammar is said with its line") {
  CHECK(refused("") == "g: there is no rule root");
  CHECK(refused("a ::= \"b\"\n") == "g: there is no rule root");
  CHECK(refused("root ::= a\n\nb ::= c") == "g: line 1: there is no rule a");
  CHECK(refused("root ::= \"a\"\nroot ::= \"b\"").find("line 2: root is given already, in line 1") !=
        std::string::npos);
  CHECK(refused("root = \"a\"").find("line 1: ::= is wanted after root") != std::string::npos);
  CHECK(refused("root ::= \"a\"\n\n  \"b\"").find("line 3: a rule's name is wanted") != std::string::npos);
  CHECK(refused("root ::= (\"a\" |\n\"b\"\n") == "g: line 1: a ( without its )");
  CHECK(refused("root ::= \"a") == "g: line 1: a \" without its end");
  CHECK(refused("root ::= [a") == "g: line 1: a [ without its ]");
  CHECK(refused("root ::= []").find("an empty class") != std::string::npos);
  CHECK(refused("root ::= [z-a]").find("a range of a class") != std::string::npos);
  CHECK(refused("root ::= \"\\q\"").find("an escape that is none") != std::string::npos);
  CHECK(refused("root ::= \"\\xZ1\"").find("2 hexadecimal digits") != std::string::npos);
  CHECK(refused("root ::= \"\\ud800\"").find("no character of Unicode") != std::string::npos);
  CHECK(refused("root ::= * \"a\"").find("nothing to repeat") != std::string::npos);
  CHECK(refused("root ::= \"a\"**").find("a repeat of a repeat") != std::string::npos);
  CHECK(refused("root ::= \"a\"{3,2}").find("least count is above") != std::string::npos);
  CHECK(refused("root ::= \"a\"{x}").find("not a repeat") != std::string::npos);
  CHECK(refused("root ::= \"a\" )").find("the end of the line is wanted") != std::string::npos);
  CHECK(refused("root ::= \"\xFF\"").find("UTF-8") != std::string::npos);
  CHECK(refused("root ::= \"(\" root \")\"").find("no answer can satisfy it") != std::string::npos);
  CHECK(refused("root ::= <think> .", ErrorCode::unsupported).find("tokens") != std::string::npos);
  for (const char* left : {"root ::= root \"a\" | \"b\"", "root ::= a\na ::= \"x\"* b \"y\" | \"z\"\nb ::= root",
                           "root ::= (e root)* \"b\"\ne ::= \"\" | \"x\""})
    CHECK(refused(left, ErrorCode::unsupported).find("left recursion") != std::string::npos);
}

TEST_CASE("[B31] grammars that are too much are refused quickly") {
  CHECK(refused("root ::= " + std::string(60'000, '('), ErrorCode::limit).find("nested deeper than 64") !=
        std::string::npos);
  CHECK(refused(std::string(300 << 10, '#'), ErrorCode::limit).find("the limit is 262144") != std::string::npos);
  CHECK(refused("root ::= \"a\"{1000000000}", ErrorCode::limit).find("a count above") != std::string::npos);
  refused("root ::= ((([a-z]{1000}){1000}){1000})", ErrorCode::limit);
  std::string doubling = "root ::= r0\n", chain = "root ::= r0\n", many = "root ::= \"a\"\n";
  for (int i = 0; i < 60; ++i) doubling += fmt::format("r{0} ::= r{1} r{1}\n", i, i + 1);
  doubling += "r60 ::= \"ab\"\n";
  CHECK(Grammar::from_gbnf(doubling, "g").ok());  // a long text, a small grammar
  for (int i = 0; i < 4000; ++i) chain += fmt::format("r{} ::= \"a\" r{} \"b\"\n", i, i + 1);
  refused(chain + "r4000 ::= \"c\"\n", ErrorCode::limit);
  for (int i = 0; i < 5000; ++i) many += fmt::format("r{} ::= \"a\"\n", i);
  CHECK(refused(many, ErrorCode::limit).find("more than 4096 rules") != std::string::npos);
}

TEST_CASE("calls follow free text, and nothing but a valid call begins like one") {
  grammar::CallGrammar calls;
  calls.calls = {
      {{"<c>f="}, R"({"type":"object","properties":{"x":{"type":"integer"}},"required":["x"]})", "f", "</c>"},
      {{"<c>g="}, R"({"type":"object","properties":{"y":{"enum":["<c>"]}},"required":["y"]})", "g", "</c>"}};
  calls.between = "\n";
  calls.mark = "<c>";
  const auto made = [&] { return Grammar::join(compile_calls(calls), "tools"); };
  const std::string f = "<c>f={\"x\": 12}</c>", g = "<c>g={\"y\":\"<c>\"}</c>";
  CHECK(matches(made(), "no call, but <c and < and é"));
  CHECK(matches(made(), ""));
  CHECK(matches(made(), "Let me see. <<c>f={\"x\": 12}</c>"));
  CHECK(matches(made(), g));
  CHECK_FALSE(matches(made(), f + "\n" + g));
  CHECK_FALSE(matches(made(), f + " and more"));
  CHECK_FALSE(matches(made(), "<c>"));
  CHECK_FALSE(matches(made(), "<c>g={\"x\": 12}</c>"));
  CHECK_FALSE(matches(made(), "<c>h={}</c>"));
  calls.many = true;
  CHECK(matches(made(), f + "\n" + g + "\n" + f));
  calls.required = true;
  CHECK(matches(made(), f));
  CHECK_FALSE(matches(made(), "text" + f));
  CHECK_FALSE(matches(made(), ""));
  calls.required = false;
  calls.content = grammar::regex_rules("[0-9]+");
  calls.section_begin = "[";
  calls.section_end = "]";
  CHECK(matches(made(), "[" + f + "\n" + g + "]"));
  CHECK(matches(made(), "123"));
  CHECK_FALSE(matches(made(), "12[" + f + "]"));
  CHECK_FALSE(matches(made(), "word"));
  calls.calls[1].schema = R"({"properties":{"y":{"not":{}}}})";
  try {
    (void)made();
    FAIL("a keyword that is not supported went unseen");
  } catch (const Error& error) {
    CHECK(error.message() == "g: #/properties/y/not: the keyword \"not\" is not supported");
  }
}
