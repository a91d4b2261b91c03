#include "io/json_document.h"

#include <doctest/doctest.h>

#include "base/clock.h"
#include "base/rng.h"

using namespace tap;

namespace {

bool contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  MESSAGE(text);
  return false;
}

// Both doors must refuse; the message of the tree's door comes back.
std::string refused(const std::string& text, ErrorCode code = ErrorCode::bad_file) {
  const auto tree = parse_json(text, "config.json");
  const auto document = JsonDocument::parse(text, "config.json");
  CHECK_FALSE(document.ok());
  if (tree.ok()) return "(accepted)";
  CHECK(tree.error().code() == code);
  if (!document.ok()) CHECK(document.error().code() == code);
  CHECK(tree.error().item() == "config.json");
  CHECK(tree.error().message().find('\n') == std::string::npos);
  return tree.error().message();
}

}  // namespace

TEST_CASE("json keeps keys in file order and every kind of value") {
  const Json tree =
      parse_json(R"({"z": 1, "a": [true, null, -2, 1.5, "\u00e9\ud83d\ude00"], "m": {}, "big": 18446744073709551615})",
                 "x")
          .value();
  CHECK(tree.dump() ==
        "{\"z\":1,\"a\":[true,null,-2,1.5,\"\xc3\xa9\xf0\x9f\x98\x80\"],\"m\":{},\"big\":18446744073709551615}");
  CHECK(tree["big"].get<std::uint64_t>() == 18446744073709551615u);
  CHECK(parse_json(" 3 ", "x").value() == 3);
}

TEST_CASE("an integer beyond 64 bits becomes a double as Python writes model_max_length") {
  const Json tree =
      parse_json(R"({"model_max_length": 1000000000000000019884624838656})", "tokenizer_config.json").value();
  CHECK(tree["model_max_length"].get<double>() == doctest::Approx(1e30));
}

TEST_CASE("[B05] json nested 100 000 deep is refused with depth and limit") {
  CHECK(contains(refused(std::string(100'000, '[') + std::string(100'000, ']'), ErrorCode::limit),
                 "config.json: nested 100000 deep, the limit is 128"));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  CHECK(contains(refused(objects, ErrorCode::limit), "nested 100000 deep"));
  CHECK(parse_json(std::string(128, '[') + std::string(128, ']'), "x").ok());
  CHECK(parse_json("\"" + std::string(1000, '[') + "\"", "x").ok());  // brackets in strings do not count
}

TEST_CASE("[B05] duplicate keys and NaN and a byte order mark and lone surrogates are refused with their place") {
  const auto doubled = parse_json(R"({"hidden_size": 1, "b": {"hidden_size": 2}, "hidden_size": 3})", "config.json");
  REQUIRE_FALSE(doubled.ok());
  CHECK(doubled.error().message() == "config.json: key \"hidden_size\" stands twice");
  CHECK_FALSE(parse_json(R"({"a": 1, "\u0061": 2})", "x").ok());
  CHECK(contains(refused("{\n  \"rope_theta\": NaN\n}"), "config.json: not valid JSON: line 2, column 17"));
  CHECK(contains(refused("{\"a\": Infinity}"), "line 1, column 7"));
  CHECK(contains(refused("{\"a\": -Infinity}"), "line 1, column 8"));
  CHECK(contains(refused("\xEF\xBB\xBF{}"), "config.json: starts with a byte order mark"));
  CHECK(contains(refused(R"({"a": "\ud800"})"), "surrogate"));
  CHECK(contains(refused(R"({"a": "\udc00"})"), "surrogate"));
  CHECK(contains(refused("{\"a\": \"\xff\"}"), "UTF-8"));
  CHECK(contains(refused("{\"a\": 1} x"), "line 1, column 10"));
  CHECK(contains(refused("{\"a\": 1e999}"), "number"));
  for (const char* text : {"", " ", "{", "{\"a\"", "{\"a\":}", "[1,]", "{'a': 1}", "[01]", "[+1]", "[.5]", "// c\n1",
                           "\"a\tb\"", "nul", "\xff\xfe{", "[1\0]"})
    CHECK(refused(text) != "(accepted)");
  CHECK(refused(std::string("{\"a\": 1}\0", 9)) != "(accepted)");
}

TEST_CASE("a million keys are read in linear time and too many values or bytes are refused") {
  std::string text = "{";
  for (int i = 0; i < 1'000'000; ++i) text += fmt::format("{}\"k{}\":{}", i ? "," : "", i, i);
  CHECK(parse_json(text + "}", "x").value().size() == 1'000'000);  // a search for every key would take hours
  std::string commas = "[1";
  while (commas.size() < 10'000'000) commas += ",1";
  CHECK(contains(refused(commas + "]", ErrorCode::limit), "values, the limit is 4000000"));
  const auto large = parse_json("[1, 2, 3]", "x", {.bytes = 8});
  REQUIRE_FALSE(large.ok());
  CHECK(large.error().message() == "x: 9 bytes of JSON, the limit is 8");
}

TEST_CASE("both doors for json agree on damaged text") {
  const std::string good =
      R"({"a": [1, -2.5e3, true, false, null, "x\u00e9\n"], "b": {"c": {}, "d": []}, "e": "\ud83d\ude00"})";
  constexpr std::string_view pieces[] = {"{", "}", "[", "]", ",",   ":",    "\"",   "\\", "\\u", "\\ud800",
                                         "0", "-", ".", "e", "NaN", "true", "\xff", "\n", "\x01"};
  Rng rng(11);
  const auto pick = [&](std::size_t n) { return static_cast<std::size_t>(rng.next_u32() % n); };
  const Stopwatch watch;
  int accepted = 0, total = 0;
  while (watch.ms() < 1000) {
    std::string text = good;
    for (std::size_t change = 0, changes = 1 + pick(3); change < changes && !text.empty(); ++change) {
      const std::size_t at = pick(text.size());
      switch (pick(4)) {
        case 0: text[at] = static_cast<char>(rng.next_u32()); break;
        case 1: text.erase(at, 1 + pick(8)); break;
        case 2: text.insert(at, pieces[pick(std::size(pieces))]); break;
        default: text.insert(at, text.substr(pick(text.size()), pick(30))); break;
      }
    }
    const auto tree = parse_json(text, "x");
    const auto document = JsonDocument::parse(text, "x");
    ++total;
    if (tree.ok()) {
      ++accepted;
      REQUIRE(parse_json(tree->dump(), "x").value() == *tree);
    } else if (document.ok()) {  // the document leaves duplicate keys to its caller
      REQUIRE_MESSAGE(tree.error().message().ends_with("stands twice"), tree.error().message());
    }
    if (tree.ok() && !document.ok())
      REQUIRE_MESSAGE(contains(document.error().message(), "umber"), text);  // integers beyond 64 bits
  }
  CHECK(accepted > 0);
  CHECK(total > 1000);
}

TEST_CASE("one line of json never fails on bytes that are no text") {
  CHECK(to_json_line(Json{{"a", "x\xff\ny"}}) == "{\"a\":\"x\xef\xbf\xbd\\ny\"}");
}
