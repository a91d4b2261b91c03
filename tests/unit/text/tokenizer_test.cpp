#include "text/tokenizer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

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

Json json_file(const std::string& path) { return tap::parse_json(tap::read_file(path, 64 << 20).value(), path).value(); }

std::vector<TokenId> ids_of(const Json& list) { return list.get<std::vector<TokenId>>(); }

std::uint64_t digest(std::span<const unsigned char> bytes) {  // FNV-1a
  std::uint64_t h = 0xCBF29CE484222325u;
  for (const unsigned char b : bytes) h = (h ^ b) * 0x100000001B3u;
  return h;
}

std::string hex_digests(const std::vector<TokenId>& ids, const std::string& text) {
  std::vector<unsigned char> bytes;
  for (const TokenId id : ids)
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<unsigned char>(static_cast<std::uint32_t>(id) >> shift));
  return fmt::format("{:016x}{:016x}", digest(bytes), digest({reinterpret_cast<const unsigned char*>(text.data()), text.size()}));
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

// tools/tokenizers/random_texts.py writes the file; TAPETUM_RANDOM_TEXTS names a larger one.
TEST_CASE("random Unicode texts encode and decode as their references") {
  const char* other = std::getenv("TAPETUM_RANDOM_TEXTS");
  const Json expected = json_file(other ? other : kData + "random.json");
  std::size_t compared = 0;
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
  CHECK(compared >= 250 * 9);
}
