#include <doctest/doctest.h>

#include "text/grammar/grammar.h"

using namespace tap;

namespace {

bool matches(const GrammarPtr& grammar, std::string_view text) {
  GrammarState state(grammar);
  return state.advance(text) && state.can_end();
}

struct Table {
  std::string schema;
  std::vector<std::string> yes, no;
};

void check(const std::vector<Table>& tables) {
  for (const Table& table : tables) {
    const auto made = Grammar::from_schema(table.schema, "s");
    REQUIRE_MESSAGE(made.ok(), table.schema, " ", made.error().message());
    for (const std::string& text : table.yes) CHECK_MESSAGE(matches(*made, text), table.schema, " wants ", text);
    for (const std::string& text : table.no) CHECK_MESSAGE(!matches(*made, text), table.schema, " lets in ", text);
  }
}

std::string refused(std::string_view schema, ErrorCode code) {
  const auto made = Grammar::from_schema(schema, "s.json");
  REQUIRE_MESSAGE(!made.ok(), schema.substr(0, 200));
  CHECK_MESSAGE(made.error().code() == code, made.error().message());
  return made.error().message();
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

std::string nested(std::string_view before, std::string_view inside, std::string_view after, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += before;
  text += inside;
  for (int i = 0; i < times; ++i) text += after;
  return text;
}

}  // namespace

TEST_CASE("a schema's types allow their values") {
  check(
      {{R"({"type":"string"})",
        {R"("")", R"("a é 日 😀")", R"("\"\\\/\b\f\n\r\t")", R"("\u00e9\uD83D\uDE00")"},
        {R"(a)", R"("a)", "\"\n\"", R"("\x")", R"("\uD83D")", R"("\uDE00")", R"("\uD83Dx")", R"(""")", ""}},
       {R"({"type":"integer"})", {"0", "-1", "123456789012345"}, {"01", "-0", "1.0", "1e3", "+1", "1234567890123456"}},
       {R"({"type":"number"})", {"0", "-0.5", "1e99", "1.25E-7"}, {"1e999", "1e100", ".5", "1.", "NaN", "1e"}},
       {R"({"type":"boolean"})", {"true", "false"}, {"True", "0"}},
       {R"({"type":["null","integer"]})", {"null", "7"}, {"\"7\""}},
       {R"({"type":"integer","nullable":true})", {"null", "7"}, {"1.5"}},
       {R"(true)", {"null", "[]", "{}", R"({"a": [1, {"b":"c"}]})", "[[[]]]"}, {"[1,]", "{a:1}", R"({"a"})", "[ 1]"}}});
}

TEST_CASE("objects keep the order of the file and demand what is required") {
  check(
      {{R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"},"c":true},"required":["b"]})",
        {R"({"b":"x"})", R"({"a":1,"b":"x"})", R"({"a": 1, "b": "x", "c": [2]})", R"({"b":"","c":null})"},
        {"{}", R"({"a":1})", R"({"b":"x","a":1})", R"({"b":"x","d":1})", R"({"b":"x",})", R"({ "b":"x"})",
         R"({"b":  "x"})", R"({,"b":"x"})"}},
       {R"({"properties":{"a":{"const":1}},"additionalProperties":{"type":"null"}})",
        {"{}", R"({"a":1})", R"({"a":1,"é":null,"z":null})", R"({"aa":null})"},
        {R"({"a":null})", R"({"z":1})", R"({"z":null,"a":1})"}},
       {R"({"type":"object","patternProperties":{"^n_":{"type":"integer"},"_s$":{"type":"string"}},"additionalProperties":false})",
        {"{}", R"({"n_a":1,"x_s":"y"})"},
        {R"({"n_s":1})", R"({"n_a":"y"})", R"({"q":1})"}},
       {R"({"type":"object","required":["x"]})", {R"({"x":[]})"}, {"{}", R"({"y":1})"}},
       {R"({"properties":{"a":false,"b":{"type":"null"}}})", {"{}", R"({"b":null})"}, {R"({"a":1})"}}});
}

TEST_CASE("arrays count their items") {
  check({{R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3})",
          {"[1]", "[1,2]", "[1, 2, 3]"},
          {"[]", "[1,2,3,4]", "[1,]", "[\"1\"]", "[1,  2]"}},
         {R"({"items":{"type":"null"}})", {"[]", "[null]", "[null, null,null]"}, {"[1]"}},
         {R"({"prefixItems":[{"const":"a"},{"type":"integer"}],"items":{"type":"boolean"},"minItems":2})",
          {R"(["a",1])", R"(["a",1,true])"},
          {R"(["a"])", R"([1,"a"])", R"(["a",1,2])"}},
         {R"({"prefixItems":[{"const":"a"}],"items":false})", {"[]", R"(["a"])"}, {R"(["a",1])"}},
         {R"({"type":"array","maxItems":0})", {"[]"}, {"[1]"}}});
}

TEST_CASE("enum and const are their own JSON") {
  check({{R"({"enum":["a","a\"b\n",1,null,{"k":[1,true]},[]]})",
          {R"("a")", R"("a\"b\n")", "1", "null", R"({"k":[1,true]})", R"({"k": [1, true]})", "[]"},
          {R"("b")", "2", "{}", R"("\u0061")"}},
         {R"({"type":"string","enum":["a",1,null]})", {R"("a")"}, {"1", "null"}},
         {R"({"const":-2.5})", {"-2.5"}, {"2.5"}}});
}

TEST_CASE("strings keep length, pattern and format together") {
  check({{R"({"type":"string","minLength":2,"maxLength":3})",
          {R"("ab")", R"("é日😀")", R"("\"\n")"},
          {R"("a")", R"("abcd")"}},
         {R"({"type":"string","pattern":"^a+$","minLength":2})", {R"("aa")", R"("aaaa")"}, {R"("a")", R"("ab")"}},
         {R"({"type":"string","pattern":"b"})", {R"("b")", R"("abc")", R"("\nb")"}, {R"("a")"}},
         {R"({"type":"string","pattern":"^a|b$"})", {R"("ax")", R"("xb")"}, {R"("xa")", R"("bx")"}},
         {R"({"type":"string","pattern":"^[^a]$"})", {R"("\"")", R"("\u0001")", R"("é")"}, {R"("a")", R"("\u0061")"}},
         {R"({"type":"string","format":"date"})",
          {R"("2024-02-29")", R"("2000-02-29")"},
          {R"("2023-02-29")", R"("1900-02-29")", R"("2023-13-01")", R"("2023-04-31")", R"("0000-01-01")"}},
         {R"({"type":"string","format":"date-time"})",
          {R"("2024-02-29T23:59:59Z")"},
          {R"("2024-02-29 23:59:59Z")", R"("2024-02-29T24:00:00Z")"}},
         {R"({"type":"string","format":"ipv4"})", {R"("255.0.10.1")"}, {R"("256.0.0.1")", R"("01.0.0.1")"}},
         {R"({"type":"string","format":"uuid"})", {R"("01234567-89ab-cdef-0123-456789abcdef")"}, {R"("0123")"}}});
}

TEST_CASE("numbers stay within their bounds") {
  check({{R"({"type":"integer","minimum":-12,"maximum":105})",
          {"-12", "-9", "0", "7", "99", "100", "105"},
          {"-13", "106", "1000", "-99"}},
         {R"({"type":"integer","exclusiveMinimum":0})", {"1", "10", "999999999"}, {"0", "-1"}},
         {R"({"type":"integer","maximum":-5})", {"-5", "-50"}, {"-4", "0", "5"}},
         {R"({"type":"integer","minimum":0,"maximum":100,"multipleOf":7})", {"0", "7", "98"}, {"1", "105", "-7"}},
         {R"({"type":"number","minimum":0,"maximum":1})", {"0", "0.5", "1", "1.0", "0.000001"}, {"1.1", "-0.1", "2"}},
         {R"({"type":"number","exclusiveMinimum":0,"exclusiveMaximum":1})",
          {"0.5", "0.000001", "0.9"},
          {"0", "0.0", "1", "1.0"}},
         {R"({"type":"number","minimum":-2.75,"maximum":-0.5})",
          {"-2.75", "-0.5", "-1", "-2.7"},
          {"-2.76", "-0.4", "0", "-3"}},
         {R"({"type":"number","minimum":12.05,"maximum":12.5})",
          {"12.05", "12.1", "12.50"},
          {"12", "12.04", "12.51", "13"}},
         {R"({"type":"number","multipleOf":5})", {"10", "-5", "0"}, {"1", "5.0", "7"}}});
}

TEST_CASE("combinations merge exactly or are refused") {
  check(
      {{R"({"anyOf":[{"type":"integer"},{"const":"a"}]})", {"1", R"("a")"}, {R"("b")"}},
       {R"({"type":"object","properties":{"k":{"type":"string"}},"required":["k"],"anyOf":[{"properties":{"a":{"const":1}},"required":["a"]},{"properties":{"b":{"const":2}},"required":["b"]}]})",
        {R"({"k":"","a":1})", R"({"k":"","b":2})"},
        {R"({"k":""})", R"({"a":1})", R"({"k":"","a":1,"b":2})"}},
       {R"({"oneOf":[{"type":"null"},{"type":"integer"}]})", {"null", "3"}, {"\"\""}},
       {R"({"oneOf":[{"type":"object","properties":{"t":{"const":"a"}},"required":["t"]},{"type":"object","properties":{"t":{"const":"b"},"n":{"type":"null"}},"required":["t","n"]}]})",
        {R"({"t":"a"})", R"({"t":"b","n":null})"},
        {R"({"t":"b"})", R"({"t":"a","n":null})"}},
       {R"({"allOf":[{"properties":{"a":{"type":["integer","null"]}}},{"properties":{"a":{"type":["integer","string"]},"b":{"const":1}},"required":["a"]}]})",
        {R"({"a":1})", R"({"a":1,"b":1})"},
        {R"({"a":null})", R"({"a":"x"})", "{}"}},
       {R"({"allOf":[{"type":"integer","minimum":3},{"minimum":5,"maximum":9}],"maximum":7})", {"5", "7"}, {"4", "8"}},
       {R"({"$ref":"#/$defs/a~1b","$defs":{"a/b":{"type":"null"}}})", {"null"}, {"1"}},
       {R"({"$ref":"#/$defs/n","minimum":3,"$defs":{"n":{"type":"integer"}}})", {"3"}, {"2"}}});
  CHECK(contains(refused(R"({"oneOf":[{"type":"integer"},{"minimum":2}]})", ErrorCode::unsupported),
                 "exclude each other"));
  CHECK(contains(refused(R"({"allOf":[{"pattern":"a"},{"pattern":"b"}]})", ErrorCode::unsupported), "two \"pattern\""));
}

TEST_CASE("a schema may refer to itself through objects and arrays, 64 levels deep") {
  const std::string tree =
      R"({"type":"object","properties":{"v":{"type":"integer"},"c":{"type":"array","items":{"$ref":"#"}}},"required":["v"]})";
  check({{tree, {R"({"v":1})", R"({"v":1,"c":[{"v":2,"c":[]},{"v":3}]})"}, {R"({"c":[]})", R"({"v":1,"c":[{}]})"}}});
  const GrammarPtr any = Grammar::from_schema("{}", "s").value();
  CHECK(matches(any, nested("[", "", "]", 64)));
  CHECK_FALSE(matches(any, nested("[", "", "]", 65)));
  // At the limit only what can still be closed may begin: a list here needs an object inside.
  const GrammarPtr pair =
      Grammar::from_schema(
          R"({"$defs":{"l":{"type":"array","minItems":1,"items":{"$ref":"#/$defs/o"}},"o":{"anyOf":[{"type":"object","properties":{"l":{"$ref":"#/$defs/l"}}}]}},"$ref":"#/$defs/l"})",
          "s")
          .value();
  GrammarState state(pair);
  int levels = 0;
  while (state.advance(levels % 2 == 0 ? "[" : R"({"l":)")) ++levels;
  CHECK(levels == 63);
  CHECK(state.can_go_on());
}

TEST_CASE("keywords that constrain and are not supported are named with their path") {
  CHECK(refused(R"({"properties":{"a":{"not":{"type":"null"}}}})", ErrorCode::unsupported) ==
        "s.json: #/properties/a/not: the keyword \"not\" is not supported");
  for (const char* keyword :
       {"if", "dependentRequired", "contains", "propertyNames", "unevaluatedProperties", "minProperties", "frobnicate"})
    CHECK(
        contains(refused(fmt::format(R"({{"type":"object","{}":{{"type":"null"}}}})", keyword), ErrorCode::unsupported),
                 keyword));
  CHECK(contains(refused(R"({"type":"array","uniqueItems":true})", ErrorCode::unsupported), "unique"));
  CHECK(contains(refused(R"({"format":"iri"})", ErrorCode::unsupported), "iri"));
  CHECK(contains(refused(R"({"type":"number","multipleOf":0.1})", ErrorCode::unsupported), "multipleOf"));
  CHECK(contains(refused(R"({"$ref":"http://example.com/s"})", ErrorCode::unsupported), "within the file"));
  CHECK(contains(refused(R"({"$ref":"#/$defs/no"})", ErrorCode::bad_input), "no such place"));
  CHECK(contains(refused(R"({"type":"text"})", ErrorCode::bad_input), "#/type"));
  CHECK(contains(refused(R"x({"type":"string","pattern":"(?=a)"})x", ErrorCode::unsupported),
                 "#/pattern: position 0: look-ahead"));
  CHECK(contains(refused(R"({"enum":[1],"minimum":2})", ErrorCode::unsupported), "beside enum"));
  CHECK(contains(refused(R"({"minLength":3,"maxLength":2})", ErrorCode::bad_input), "above maxLength"));
  CHECK(contains(refused(R"({"minimum":3,"maximum":2})", ErrorCode::bad_input), "no number"));
  CHECK(contains(refused("[]", ErrorCode::bad_input), "a schema must be"));
  CHECK(contains(refused(R"({"title":"x","description":"y","default":1,"x-any":2,"$comment":"","properties":{"a":0}})",
                         ErrorCode::bad_input),
                 "#/properties/a"));
  CHECK_FALSE(Grammar::from_schema("{", "s").ok());
}

TEST_CASE("[B31] hostile schemas end in one clear error or work") {
  CHECK(contains(refused(R"({"pattern":"^+["})", ErrorCode::bad_input), "nothing to repeat"));
  CHECK(contains(refused(R"({"pattern":")" + std::string(60'000, '(') + R"("})", ErrorCode::limit), "nested deeper"));
  CHECK(contains(refused(R"({"$ref":"#"})", ErrorCode::bad_input), "refers to itself"));
  CHECK(contains(
      refused(R"({"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"anyOf":[{"$ref":"#/$defs/a"}]}}})",
              ErrorCode::bad_input),
      "refers to itself"));
  CHECK(contains(refused(R"({"allOf":[{"$ref":"#"}]})", ErrorCode::bad_input), "refers to itself"));
  CHECK(contains(refused(R"({"type":"object","properties":{"n":{"$ref":"#"}},"required":["n"]})", ErrorCode::bad_input),
                 "no answer can satisfy"));
  for (const char* schema : {R"({"minLength":1000000000})", R"({"maxLength":1000000000})", R"({"minItems":1000000000})",
                             R"({"items":{},"maxItems":1000000000})"})
    CHECK(contains(refused(schema, ErrorCode::limit), "more than"));
  std::string many = R"({"enum":["0")";
  for (int i = 1; i < 1'000'000; ++i) many += fmt::format(R"(,"v{}")", i);
  CHECK(contains(refused(many + "]}", ErrorCode::limit), "more than"));
  // What compares each with each is counted too.
  std::string names = R"(["n0")", tags = R"({"oneOf":[{"const":0})";
  for (int i = 1; i < 50'000; ++i) names += fmt::format(R"(,"n{}")", i);
  for (int i = 1; i < 5'000; ++i) tags += fmt::format(R"(,{{"const":{}}})", i);
  names += "]";
  CHECK(contains(refused(tags + "]}", ErrorCode::limit), "steps to compile"));
  CHECK(contains(refused(R"({"required":)" + names + "}", ErrorCode::limit), "more than"));
  CHECK(contains(
      refused(R"({"allOf":[{"enum":)" + names + R"(},{"enum":[1,)" + names.substr(1) + "}]}", ErrorCode::limit),
      "steps to compile"));
  CHECK(Grammar::from_schema(R"({"enum":)" + names + "}", "s").ok());
  // Each level doubles the ways: 2^25 without a limit.
  std::string doubling = R"({"$ref":"#/$defs/d0","$defs":{)";
  for (int i = 0; i < 25; ++i)
    doubling +=
        fmt::format(R"("d{}":{{"anyOf":[{{"$ref":"#/$defs/d{}"}},{{"$ref":"#/$defs/d{}"}}]}},)", i, i + 1, i + 1);
  CHECK(contains(refused(doubling + R"("d25":{"type":"null"}}})", ErrorCode::limit), "more than"));
  CHECK(contains(refused(nested(R"({"items":)", "{}", "}", 100), ErrorCode::limit), "nested deeper"));
  CHECK_FALSE(Grammar::from_schema(nested(R"({"items":)", "{}", "}", 60'000), "s").ok());
  CHECK(Grammar::from_schema(nested(R"({"items":)", "{}", "}", 60), "s").ok());
  // As ambiguous as can be: both ways of every level stay open; the answer goes on all the same.
  const GrammarPtr twice =
      Grammar::from_schema(
          R"({"anyOf":[{"type":"array","items":{"$ref":"#"}},{"type":"array","items":{"$ref":"#"},"minItems":1},{"type":"null"}]})",
          "s")
          .value();
  CHECK(matches(twice, nested("[", "null", "]", 60)));
}
