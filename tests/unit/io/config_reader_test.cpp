#include "io/config_reader.h"

#include <doctest/doctest.h>

#include "support/temp_folder.h"

using namespace tap;
using test::TempFolder;

namespace {

ConfigReader reader(const std::string& text) {
  return ConfigReader(parse_json(text, "config.json").value(), "config.json");
}

template <class Fn>
std::string error_of(Fn&& fn) {
  try {
    fn();
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::bad_file);
    CHECK_FALSE(error.item().empty());
    return error.message();
  }
  return "(accepted)";
}

}  // namespace

TEST_CASE("a config gives typed values and fallbacks for absent and null ones") {
  const ConfigReader c = reader(
      R"({"a": 3, "b": null, "n": 1e-5, "i": 2, "t": "silu", "f": true, "mean": [0.5, 1], "names": ["x"], "eos": [1, 2], "one": 7,
                                   "inner": {"a": 4}})");
  CHECK(c.positive("a") == 3);
  CHECK(c.positive_or("b", 9) == 9);
  CHECK(c.positive_or("absent", 8) == 8);
  CHECK(c.number("n") == 1e-5f);
  CHECK(c.number_or("i", 0) == 2.0f);
  CHECK(c.text("t") == "silu");
  CHECK(c.text_or("b", "gelu") == "gelu");
  CHECK(c.flag_or("f", false));
  CHECK(c.numbers_or("mean", {}) == std::vector<float>{0.5f, 1});
  CHECK(c.texts_or("names", {}) == std::vector<std::string>{"x"});
  CHECK(c.integers_or("eos", {}) == std::vector<std::int64_t>{1, 2});
  CHECK(c.integers_or("one", {}) == std::vector<std::int64_t>{7});
  CHECK(c.integers_or("b", {5}) == std::vector<std::int64_t>{5});
  CHECK(c.has("a"));
  CHECK_FALSE(c.has("b"));
  CHECK(c.child("inner").positive("a") == 4);
  CHECK(c.child_or_empty("outer").positive_or("a", 6) == 6);
  CHECK(c.one_of("t", {"silu", "gelu"}, "silu") == "silu");
}

TEST_CASE("[B06] a value of the wrong type or size is refused with file and key and value") {
  const ConfigReader c = reader(
      R"({"zero": 0, "negative": -4, "vocab": 2147483648, "huge": 9223372036854775808, "real": 960.5, "text": "960", "flag": 1,
                                   "theta": 1e39, "act": "relu", "list": [1, "x"], "null": null, "inner": {"zero": 0}})");
  const auto positive = [&](const char* key) { return error_of([&] { c.positive(key); }); };
  CHECK(positive("zero") == "config.json: zero is 0: want an integer from 1 to 2147483647");
  CHECK(positive("negative") == "config.json: negative is -4: want an integer from 1 to 2147483647");
  CHECK(positive("vocab") == "config.json: vocab is 2147483648: want an integer from 1 to 2147483647");
  CHECK(positive("huge") == "config.json: huge is 9223372036854775808: want an integer from 1 to 2147483647");
  CHECK(positive("real") == "config.json: real is 960.5: want an integer from 1 to 2147483647");
  CHECK(positive("text") == "config.json: text is \"960\": want an integer from 1 to 2147483647");
  CHECK(positive("null") == "config.json: null is missing, want an integer of at least 1");
  CHECK(positive("absent") == "config.json: absent is missing, want an integer of at least 1");
  CHECK(error_of([&] { c.positive_or("zero", 3); }) == "config.json: zero is 0: want an integer from 1 to 2147483647");
  CHECK(error_of([&] { c.non_negative_or("negative", 3); }) ==
        "config.json: negative is -4: want an integer from 0 to 2147483647");
  CHECK(c.non_negative_or("zero", 3) == 0);
  CHECK(error_of([&] {
          c.number("theta");
        }).starts_with("config.json: theta is 1e+39: want a number of at most 3.40282e+38"));
  CHECK(error_of([&] { c.number("text"); }) == "config.json: text is \"960\": want a number");
  CHECK(error_of([&] { c.flag_or("flag", true); }) == "config.json: flag is 1: want true or false");
  CHECK(error_of([&] { c.text("zero"); }) == "config.json: zero is 0: want a string");
  CHECK(error_of([&] { c.numbers_or("list", {}); }).starts_with("config.json: list is [1,\"x\"]: want"));
  CHECK(error_of([&] { c.texts_or("text", {}); }) == "config.json: text is \"960\": want a list of strings");
  CHECK(error_of([&] { c.integers_or("list", {}); }).ends_with("want an integer or a list of integers"));
  CHECK(error_of([&] { c.integers_or("huge", {}); }).ends_with("want an integer or a list of integers"));
  CHECK(error_of([&] { c.child("zero"); }) == "config.json: zero is 0: want an object");
  CHECK(error_of([&] { c.child("absent"); }) == "config.json: absent is missing, want an object");
  CHECK(error_of([&] { c.child("inner").positive("zero"); }) ==
        "config.json: inner.zero is 0: want an integer from 1 to 2147483647");
  CHECK(error_of([&] { c.one_of("act", {"silu"}, "silu"); }) ==
        "config.json: act is \"relu\": only \"silu\" is supported");
  CHECK(error_of([&] {
          c.one_of("act", {"silu", "gelu"}, "silu");
        }) == "config.json: act is \"relu\": one of \"silu\", \"gelu\" are supported");
  CHECK(error_of([&] { c.refuse("zero", "must divide hidden_size"); }) ==
        "config.json: zero is 0: must divide hidden_size");
}

TEST_CASE("keys that nobody read are listed with their dots") {
  const ConfigReader c =
      reader(R"({"a": 1, "b": 2, "text_config": {"x": 1, "y": {"z": 1}}, "whole": {"k": 1}, "never": {"k": 1}})");
  c.positive("a");
  c.child("text_config").positive("x");
  c.has("whole");
  CHECK(c.unread() == std::vector<std::string>{"b", "text_config.y", "never"});
}

TEST_CASE("[B05] a config file that is no object or too large or damaged is refused by name") {
  const TempFolder folder;
  const auto load = [&](const std::string& bytes) {
    folder.write("config.json", bytes);
    return error_of([&] { ConfigReader::load(folder / "config.json").value(); });
  };
  CHECK(load("[1]") == "config.json: is [1], want an object");
  CHECK(load("{\"a\": 1, \"a\": 2}") == "config.json: key \"a\" stands twice");
  CHECK(load("{\"a\": NaN}").starts_with("config.json: not valid JSON: line 1, column 7"));
  folder.write("config.json", "{\"a\": 5}");
  CHECK(ConfigReader::load(folder / "config.json").value().positive("a") == 5);
  const auto absent = ConfigReader::load(folder / "absent.json");
  REQUIRE_FALSE(absent.ok());
  CHECK(absent.error().code() == ErrorCode::not_found);
  std::filesystem::resize_file(folder / "config.json", (std::uintmax_t{16} << 20) + 1);
  const auto large = ConfigReader::load(folder / "config.json");
  REQUIRE_FALSE(large.ok());
  CHECK(large.error().code() == ErrorCode::limit);
}
