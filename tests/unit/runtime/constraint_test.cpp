#include "runtime/constraint.h"

#include <doctest/doctest.h>

#include <algorithm>

using namespace tap;

namespace {

const std::string kFolder = TAPETUM_SOURCE_DIR "/tests/data/tokenizers/";

bool allows(std::span<const std::uint64_t> mask, TokenId id) {
  const auto at = static_cast<std::size_t>(id);
  return at / 64 < mask.size() && (mask[at / 64] >> (at % 64) & 1);
}

struct Setup {
  Tokenizer tokenizer;
  TokenId end = 0;
  explicit Setup(const std::string& name) : tokenizer(Tokenizer::load(kFolder + name).value()) {
    while (!tokenizer.is_special(end)) ++end;
  }
  TokenConstraint constrain(const GrammarPtr& grammar) const {
    return TokenConstraint(std::make_shared<const Constraint>(grammar, tokenizer, std::vector<TokenId>{end}));
  }
};

}  // namespace

TEST_CASE("a mask allows exactly the tokens whose bytes may follow") {
  const GrammarPtr grammars[] = {
      Grammar::from_regex("[a-z ]{1,9}(é|日)*x?").value(),
      Grammar::from_schema(
          R"({"type":"object","properties":{"a":{"type":"string"},"b":{"type":"array","items":{"type":"integer"}}},"required":["a","b"]})",
          "s")
          .value(),
      Grammar::from_schema("{}", "s").value()};
  const std::string texts[] = {"the 日x", R"({"a": "the \"x\" \u00e9", "b": [1, -20]})",
                               R"([[{"the":[true, "a"]}], null])"};
  for (const char* name : {"qwen", "gemma3", "smollm", "kimi", "unigram"}) {
    const Setup setup(name);
    for (std::size_t g = 0; g < std::size(grammars); ++g) {
      if (name == std::string_view("unigram") && g == 1) continue;  // has no token for the quotes of a name
      const auto shared =
          std::make_shared<const Constraint>(grammars[g], setup.tokenizer, std::vector<TokenId>{setup.end});
      // Along the text, a byte at a time: the mask against every token tried by itself.
      GrammarState state(shared->masks().grammar());
      std::vector<std::uint64_t> mask(shared->masks().trie().words());
      for (std::size_t at = 0; at <= texts[g].size(); ++at) {
        shared->masks().fill(state, mask);
        for (TokenId id = 0; id < setup.tokenizer.size(); ++id) {
          const std::string bytes = setup.tokenizer.bytes_of(id);
          GrammarState tried = state;
          const bool wanted = !bytes.empty() && !setup.tokenizer.is_added(id) && tried.advance(bytes);
          if (allows(mask, id) != wanted)
            FAIL(name, " grammar ", g, " after ", texts[g].substr(0, at), ": token ", id, " ", bytes);
        }
        if (at < texts[g].size() && !state.advance(texts[g].substr(at, 1))) break;  // a byte that is no token
      }
    }
  }
}

TEST_CASE("special tokens never follow and ends follow exactly where the answer may end") {
  const Setup setup("qwen");
  TokenConstraint any = setup.constrain(Grammar::from_regex("[^\\x00]*").value());
  for (TokenId id = 0; id < setup.tokenizer.size(); ++id)
    if (setup.tokenizer.is_added(id)) CHECK(allows(any.allowed(), id) == (id == setup.end));
  CHECK_FALSE(allows(any.allowed(true), setup.end));
  TokenConstraint one = setup.constrain(Grammar::from_choices(std::vector<std::string>{"ab", "abc"}).value());
  CHECK_FALSE(allows(one.allowed(), setup.end));
  for (const TokenId id : setup.tokenizer.encode("ab")) CHECK_NOTHROW(one.accept(id));
  CHECK(allows(one.allowed(), setup.end));
  CHECK_FALSE(one.must_end());
  for (const TokenId id : setup.tokenizer.encode("c")) one.accept(id);
  CHECK(one.must_end());
  CHECK(one.can_end());
}

TEST_CASE("one space before the answer is allowed and is no part of it") {
  const Setup setup("qwen");
  const GrammarPtr grammar = Grammar::from_choices(std::vector<std::string>{"yes", "no"}).value();
  for (const char* written : {"yes", " yes"}) {
    TokenConstraint constraint = setup.constrain(grammar);
    std::string text;
    for (const TokenId id : setup.tokenizer.encode(written)) {
      REQUIRE(allows(constraint.allowed(), id));
      text += constraint.accept(id);
    }
    CHECK(text == "yes");
    CHECK(constraint.must_end());
  }
  TokenConstraint constraint = setup.constrain(grammar);
  const TokenId space = setup.tokenizer.encode(" ").at(0);
  CHECK(constraint.accept(space).empty());
  CHECK_FALSE(allows(constraint.allowed(), space));
  // A grammar with a space of its own keeps it.
  TokenConstraint own = setup.constrain(Grammar::from_regex(" ?a").value());
  CHECK(own.accept(space) == " ");
}

TEST_CASE("text comes out in whole characters") {
  const Setup setup("qwen");
  TokenConstraint constraint = setup.constrain(Grammar::from_regex("(é|😀)+").value());
  std::string text;
  for (const TokenId id : setup.tokenizer.encode("é😀é")) {
    REQUIRE(allows(constraint.allowed(), id));
    const std::string piece = constraint.accept(id);
    CHECK(setup.tokenizer.decode(setup.tokenizer.encode(piece)) == piece);
    text += piece;
  }
  CHECK(text == "é😀é");
}

TEST_CASE("[B31] a vocabulary without the bytes of every answer is an error") {
  const Setup setup("variants/word_level");
  CHECK_THROWS_AS(setup.constrain(Grammar::from_regex("[0-9]{3}\\u0001").value()), Error);
  const GrammarPtr named = Grammar::from_schema(R"({"required":["a"]})", "s").value();
  CHECK_THROWS_AS(Setup("unigram").constrain(named), Error);
  CHECK_NOTHROW(Setup("qwen").constrain(named));
}
