#include "text/detokenizer.h"

#include <doctest/doctest.h>

#include "base/file.h"
#include "base/rng.h"
#include "io/json.h"
#include "text/tokenizer.h"
#include "text/tokenizer_unicode.h"

namespace {

using tap::StreamDecoder;
using tap::TokenId;
using tap::Tokenizer;

const std::string kData = std::string(TAPETUM_SOURCE_DIR) + "/tests/data/tokenizers/";

const std::vector<std::string> kFolders{"chameleon",
                                        "gemma3",
                                        "kimi",
                                        "llama3",
                                        "paligemma",
                                        "qwen",
                                        "smollm",
                                        "unigram",
                                        "variants/llama2",
                                        "variants/metaspace_first",
                                        "variants/unigram_fallback",
                                        "variants/word_level",
                                        "variants/clip",
                                        "variants/added_flags"};

// Every piece is whole characters, and together they are what decode says.
void check_stream(const Tokenizer& tokenizer, StreamDecoder& stream, std::span<const TokenId> ids, bool skip_special) {
  std::string joined;
  for (const TokenId id : ids) {
    const std::string piece = stream.push(id);
    REQUIRE(tap::uni::is_valid_utf8(piece));
    joined += piece;
  }
  joined += stream.finish();
  CHECK(joined == tokenizer.decode(ids, skip_special));
}

}  // namespace

TEST_CASE("streamed text joined equals the decoded whole on the reference strings") {
  for (const std::string& name : kFolders) {
    CAPTURE(name);
    const Tokenizer tokenizer = Tokenizer::load(kData + name).value();
    const auto path = kData + "random.json";
    const tap::Json texts = tap::parse_json(tap::read_file(path, 1 << 24).value(), path).value();
    for (const bool skip : {false, true}) {
      StreamDecoder stream(tokenizer, skip);  // one for all: finish() makes it new
      for (std::size_t i = 0; i < texts["texts"].size(); i += 5)
        check_stream(tokenizer, stream, tokenizer.encode(texts["texts"][i].get<std::string>()), skip);
    }
  }
}

TEST_CASE("streamed random ids join to the decoded whole") {
  for (const std::string& name : kFolders) {
    CAPTURE(name);
    const Tokenizer tokenizer = Tokenizer::load(kData + name).value();
    tap::Rng rng(3);
    StreamDecoder stream(tokenizer);
    for (int round = 0; round < 300; ++round) {
      std::vector<TokenId> ids;
      for (std::uint32_t n = rng.next_u32() % 30; n > 0; --n)  // mostly single bytes, so that characters break
        ids.push_back(static_cast<TokenId>(rng.next_u32() % static_cast<std::uint32_t>(tokenizer.size() + 2)) - 1);
      check_stream(tokenizer, stream, ids, true);
    }
  }
}

TEST_CASE("half a character waits for its other half") {
  const Tokenizer tokenizer = Tokenizer::load(kData + "qwen").value();
  const auto ids = tokenizer.encode("\u65e5x");  // three byte tokens and a letter
  REQUIRE(ids.size() == 4);
  StreamDecoder stream(tokenizer);
  CHECK(stream.push(ids[0]).empty());
  CHECK(stream.push(ids[1]).empty());
  CHECK(stream.push(ids[2]) == "\u65e5");
  CHECK(stream.push(ids[3]) == "x");
  CHECK(stream.finish().empty());
  CHECK(stream.push(ids[0]).empty());
  CHECK(stream.push(ids[3]) == "\ufffdx");
  CHECK(stream.push(ids[0]).empty());
  CHECK(stream.finish() == "\ufffd");
}

TEST_CASE("plain text streams without delay") {
  for (const char* name : {"qwen", "gemma3", "kimi", "unigram"}) {
    CAPTURE(name);
    const Tokenizer tokenizer = Tokenizer::load(kData + name).value();
    StreamDecoder stream(tokenizer);
    for (const TokenId id : tokenizer.encode("the roof of the house")) CHECK_FALSE(stream.push(id).empty());
  }
}

TEST_CASE("a stream outlives the tokenizer value it was made from") {
  auto tokenizer = std::make_unique<Tokenizer>(Tokenizer::load(kData + "smollm").value());
  const auto ids = tokenizer->encode("hello");
  StreamDecoder first(*tokenizer);
  tokenizer.reset();
  StreamDecoder stream = std::move(first);
  std::string text;
  for (const TokenId id : ids) text += stream.push(id);
  CHECK(text + stream.finish() == "hello");
}

TEST_CASE("text steps after Fuse work across token borders") {
  using Kind = tap::DecodeStep::Kind;
  std::vector<tap::DecodeStep> steps(4);
  steps[0].kind = Kind::fuse;
  steps[1].kind = Kind::replace_text;
  steps[1].pattern = "abab";
  steps[1].content = "-";
  steps[2].kind = Kind::strip;
  steps[2].content = " ";
  steps[2].start = 2;
  steps[2].stop = 1;
  steps[3].kind = Kind::replace_regex;
  steps[3].regex = tap::TokenRegex::compile("x+$", "test").value();
  steps[3].content = "!";
  REQUIRE(tap::check_decode_steps(steps, "test").ok());
  tap::DecodeChain chain(steps);
  std::string out;
  for (const char* piece : {" ", "  a", "b", "ab", "aba", "xab", "x", "x", " ", " "}) chain.push(piece, out);
  chain.finish(out);
  CHECK(out == " -abaxabxx ");  // two of three leading spaces, one of two trailing; x+ stands before a space
  tap::DecodeStep late;
  late.kind = Kind::byte_fallback;
  steps.push_back(late);
  CHECK_FALSE(tap::check_decode_steps(steps, "test").ok());
}
