#include "text/tokenizer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "base/file.h"
#include "io/json.h"

namespace {

using tap::Json;
using tap::TokenId;
using tap::Tokenizer;

const std::string kData = std::string(TAPETUM_SOURCE_DIR) + "/tests/data/tokenizers/";

std::vector<std::string> folders() {
  return {"chameleon", "gemma3", "kimi", "llama3", "paligemma", "qwen", "qwen_omni", "smollm", "unigram"};
}

Json json_file(const std::string& path) {
  return tap::parse_json(tap::read_file(path, 64 << 20).value(), path).value();
}

std::vector<TokenId> ids_of(const Json& list) { return list.get<std::vector<TokenId>>(); }

std::uint64_t digest(std::span<const unsigned char> bytes) {  // FNV-1a
  std::uint64_t h = 0xCBF29CE484222325u;
  for (const unsigned char b : bytes) h = (h ^ b) * 0x100000001B3u;
  return h;
}

std::string hex_digests(const std::vector<TokenId>& ids, const std::string& text) {
  std::vector<unsigned char> bytes;
  for (const TokenId id : ids)
    for (int shift = 0; shift < 32; shift += 8)
      bytes.push_back(static_cast<unsigned char>(static_cast<std::uint32_t>(id) >> shift));
  return fmt::format("{:016x}{:016x}", digest(bytes),
                     digest({reinterpret_cast<const unsigned char*>(text.data()), text.size()}));
}

}  // namespace

TEST_CASE("all nine reference tokenizers encode and decode as their references") {
  int rows = 0;
  for (const std::string& name : folders()) {
    CAPTURE(name);
    const Tokenizer tokenizer = Tokenizer::load(kData + name).value();
    const Json golden = json_file(kData + name + "/encodings.json");
    for (const Json& row : golden["rows"]) {
      const auto text = row["text"].get<std::string>();
      CAPTURE(text);
      const auto ids = ids_of(row["ids"]);
      CHECK(tokenizer.encode(text) == ids);
      if (row.contains("ids_with_special")) CHECK(tokenizer.encode(text, true) == ids_of(row["ids_with_special"]));
      CHECK(tokenizer.decode(ids) == row["decoded"].get<std::string>());
      ++rows;
    }
  }
  CHECK(rows > 450);
}

// tools/tokenizers/random_texts.py writes such files; TAPETUM_RANDOM_TEXTS names a larger one.
TEST_CASE("random Unicode texts encode and decode as their references") {
  const char* other = std::getenv("TAPETUM_RANDOM_TEXTS");
  const std::vector<std::string> files = other
                                             ? std::vector<std::string>{other}
                                             : std::vector<std::string>{kData + "random.json", kData + "variants.json"};
  std::size_t compared = 0;
  for (const std::string& file : files) {
    const Json expected = json_file(file);
    for (const auto& [name, folder] : expected["folders"].items()) {
      CAPTURE(name);
      const auto path = folder["path"].get<std::string>();
      const Tokenizer tokenizer = Tokenizer::load(path.starts_with('/') ? path : kData + path).value();
      int wrong = 0;
      for (std::size_t i = 0; i < expected["texts"].size(); ++i) {
        const auto text = expected["texts"][i].get<std::string>();
        const auto ids = tokenizer.encode(text);
        if (hex_digests(ids, tokenizer.decode(ids)) != folder["rows"][i].get<std::string>() && wrong++ < 5) {
          CAPTURE(i);
          FAIL_CHECK(Json(text).dump(-1, ' ', true));
        }
        ++compared;
      }
      CHECK(wrong == 0);
    }
  }
  CHECK(compared >= 4000);
}

TEST_CASE("post-processors of every kind add their tokens around the text") {
  const auto ends = [](const std::string& folder) {
    const auto ids = Tokenizer::load(kData + folder).value().encode("the", true);
    return std::pair{ids.front(), ids.back()};
  };
  CHECK(ends("variants/gpt2_prefix") == std::pair{65, 64});  // Roberta: cls text sep
  CHECK(ends("variants/word_level") == std::pair{1, 2});     // Bert
  CHECK(Tokenizer::load(kData + "variants/llama2").value().encode("", true) == std::vector<TokenId>{1});
}

TEST_CASE("the nano tokenizer loads and reads its own answers back") {
  const Tokenizer nano = Tokenizer::load(std::string(TAPETUM_SOURCE_DIR) + "/data/nano").value();
  const std::string text =
      "<|im_start|>User:<image>What is on the roof?<end_of_utterance>\nAssistant: a bird at <loc_0>";
  CHECK(nano.decode(nano.encode(text)) == text);
  CHECK(nano.is_special(nano.id_of("<image>").value()));
}

TEST_CASE("ids outside the vocabulary decode to nothing and have no text") {
  for (const std::string& name : folders()) {
    const Tokenizer tokenizer = Tokenizer::load(kData + name).value();
    const auto past = static_cast<TokenId>(tokenizer.size());
    for (const TokenId id : {TokenId{-1}, past, TokenId{1 << 30}, std::numeric_limits<TokenId>::min(),
                             std::numeric_limits<TokenId>::max()}) {
      CHECK(tokenizer.decode(std::vector<TokenId>{id}).empty());
      CHECK(tokenizer.bytes_of(id).empty());
      CHECK(tokenizer.token_text(id).empty());
      CHECK_FALSE(tokenizer.is_special(id));
      CHECK_FALSE(tokenizer.is_added(id));
    }
    CHECK_FALSE(tokenizer.token_text(past - 1).empty());
    CHECK(tokenizer.id_of(tokenizer.token_text(past - 1)) == past - 1);
    CHECK_FALSE(tokenizer.id_of("no such token at all").has_value());
  }
}

TEST_CASE("special tokens vanish from decoded text only when asked") {
  const Tokenizer tokenizer = Tokenizer::load(kData + "qwen").value();
  const auto ids = tokenizer.encode("<|im_start|>a<tool_call>b<|im_end|>");
  CHECK(tokenizer.decode(ids, true) == "a<tool_call>b");  // an added token that is not special stays
  CHECK(tokenizer.decode(ids, false) == "<|im_start|>a<tool_call>b<|im_end|>");
}

TEST_CASE("bytes of a token are what it stands for") {
  const Tokenizer qwen = Tokenizer::load(kData + "qwen").value();
  const auto ids = qwen.encode("\u65e5 a");
  std::string bytes;
  for (const TokenId id : ids) bytes += qwen.bytes_of(id);
  CHECK(bytes == "\u65e5 a");
  const Tokenizer gemma = Tokenizer::load(kData + "gemma3").value();
  CHECK(gemma.bytes_of(gemma.id_of("<0xE6>").value()) == "\xE6");
  CHECK(gemma.bytes_of(gemma.id_of("\u2581\u2581").value()) == "  ");
}

TEST_CASE("a folder without a tokenizer says which files it looked for") {
  const auto result = Tokenizer::load(kData);
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().code() == tap::ErrorCode::not_found);
  CHECK(result.error().message().find("no tokenizer.json and no tiktoken.model") != std::string::npos);
}
