#include "cli/chat_words.h"

#include <set>

#include <doctest/doctest.h>

namespace tap::cli {

namespace {

std::vector<std::string> texts(std::string_view line) {
  std::vector<std::string> all;
  for (const Word& word : split_words(line)) all.push_back(word.text);
  return all;
}

using Words = std::vector<std::string>;

// With these files there.
Line find(std::string_view line) {
  static const std::set<std::string> files = {"roof.png",    "a b.png",  "/tmp/a b.png", "/tmp/John's.JPG",
                                              "it's.png",    "README",   "<image>.png",  "/tmp/roof.png",
                                              "/tmp/é.webp", "notes.txt"};
  return find_pictures(line, [](const std::string& path) { return files.contains(path); });
}

struct Case {
  std::string_view line;
  Words pictures;
  std::string_view text;
};

}  // namespace

TEST_CASE("words are split as a shell does and apostrophes stay") {
  CHECK(texts("  one\ttwo\n three ") == Words{"one", "two", "three"});
  CHECK(texts("'a b' \"c d\" e\\ f") == Words{"a b", "c d", "e f"});
  CHECK(texts("What's John's \"best\"?") == Words{"What's", "John's", "best?"});
  CHECK(texts("'John'\\''s a.png'") == Words{"John's a.png"});
  CHECK(texts("\"a \\\"b\\\" \\n\"") == Words{"a \"b\" \\n"});
  CHECK(texts("'tis the \"season") == Words{"'tis", "the", "\"season"});
  CHECK(texts("").empty());
  CHECK(texts("\\") == Words{"\\"});
  CHECK(texts(std::string(200'000, '"') + "'").size() == 1);
}

TEST_CASE("words know where they stand") {
  const std::string_view line = " x  'a b' y";
  const std::vector<Word> words = split_words(line);
  REQUIRE(words.size() == 3);
  CHECK(line.substr(words[1].begin, words[1].end - words[1].begin) == "'a b'");
  CHECK_FALSE(words[1].plain);
  CHECK(words[2].plain);
}

TEST_CASE("file URLs become paths and other text stays") {
  CHECK(path_of_url("file:///tmp/a%20b.png") == "/tmp/a b.png");
  CHECK(path_of_url("FILE://localhost/tmp/%C3%A9.webp") == "/tmp/é.webp");
  CHECK(path_of_url("file:///a%zz%4.png%00x") == "/a%zz%4.png%00x");
  CHECK(path_of_url("file://server/a.png") == "file://server/a.png");
  CHECK(path_of_url("roof%20.png") == "roof%20.png");
}

TEST_CASE("pictures are found wherever they stand in a line") {
  for (const Case& c : std::vector<Case>{
           {"roof.png", {"roof.png"}, ""},
           {"roof.png What is on the roof?", {"roof.png"}, "What is on the roof?"},
           {"What is on the roof? roof.png", {"roof.png"}, "What is on the roof?"},
           {"What is on roof.png?", {"roof.png"}, "What is on roof.png?"},
           {"Compare /tmp/roof.png and '/tmp/a b.png'",
            {"/tmp/roof.png", "/tmp/a b.png"},
            "Compare roof.png and a b.png"},
           {"/tmp/a\\ b.png", {"/tmp/a b.png"}, ""},
           {"/tmp/a b.png", {"/tmp/a b.png"}, ""},
           {"'/tmp/John'\\''s.JPG' Who is it?", {"/tmp/John's.JPG"}, "Who is it?"},
           {"file:///tmp/%C3%A9.webp", {"/tmp/é.webp"}, ""},
           {"it's.png Is it?", {"it's.png"}, "Is it?"},
           {"roof.png roof.png Same?", {"roof.png", "roof.png"}, "Same?"},
           {"https://a.org/b.JPG?w=80 Who?", {"https://a.org/b.JPG?w=80"}, "Who?"},
           {"<image>.png Who?", {"<image>.png"}, "Who?"},
       }) {
    CAPTURE(c.line);
    const Line line = find(c.line);
    CHECK(line.pictures == c.pictures);
    CHECK(line.text == c.text);
  }
}

TEST_CASE("what is no picture stays text") {
  for (const std::string_view text : {"What is README about?", "notes.txt says what?", "What does screen.png mean?",
                                      "See https://a.org/page", "a.b/c", "\"quoted\" words and it's fine", ".png"}) {
    const Line line = find(text);
    CHECK(line.pictures.empty());
    CHECK(line.text == text);
  }
}

TEST_CASE("a path that names no file is still asked for so that the user hears of it") {
  CHECK(find("missing.png").pictures == Words{"missing.png"});
  CHECK(find("Look at /tmp/missing.png now").pictures == Words{"/tmp/missing.png"});
}

TEST_CASE("[B28] endless lines are split in one pass") {
  CHECK(find(std::string(1'000'000, 'A')).text.size() == 1'000'000);
  std::string quotes;
  for (int i = 0; i < 300'000; ++i) quotes += "' \" ";
  CHECK(find(quotes).pictures.empty());
  std::string names;
  for (int i = 0; i < 10'000; ++i) names += "roof.png ";
  CHECK(find(names).pictures.size() == 10'000);
}

TEST_CASE("commands begin with a slash and a letter and paths are none") {
  ChatCommand command;
  REQUIRE(parse_command("  /image  a b ", command));
  CHECK(command.name == "image");
  CHECK(command.argument == "a b");
  REQUIRE(parse_command("/quit", command));
  CHECK(command.argument.empty());
  for (const std::string_view line : {"/tmp/a.png", "/a.png", "/", "//x", "/1", "image", "", "What /quit"})
    CHECK_FALSE(parse_command(line, command));
}

}  // namespace tap::cli
