// What a user typed never becomes an added token.
#include <doctest/doctest.h>

#include <algorithm>

#include "base/file.h"
#include "io/json.h"
#include "text/tokenizer.h"

namespace {

using tap::TextSpan;
using tap::TokenId;
using tap::Tokenizer;

const std::string kData = std::string(TAPETUM_SOURCE_DIR) + "/tests/data/tokenizers/";

std::vector<std::string> folders() {
  std::vector<std::string> all;
  for (const char* name : {"chameleon", "gemma3", "kimi", "llama3", "paligemma", "qwen", "qwen_omni", "smollm",
                           "unigram", "variants/added_flags", "variants/llama2", "variants/unigram_fallback",
                           "variants/word_level", "variants/metaspace_first"})
    all.push_back(kData + name);
  all.push_back(std::string(TAPETUM_SOURCE_DIR) + "/data/nano");
  return all;
}

std::vector<TokenId> encode(const Tokenizer& tokenizer, const std::vector<TextSpan>& spans) {
  return tokenizer.encode(spans);
}

bool has(const std::vector<TokenId>& ids, TokenId id) { return std::find(ids.begin(), ids.end(), id) != ids.end(); }

struct Added {
  TokenId id;
  std::string text;
};

// Added tokens but runs of blanks (ordinary pieces of Gemma's models) and the unknown token (which stands for unknown
// characters).
std::vector<Added> added_tokens(const Tokenizer& tokenizer) {
  std::vector<Added> all;
  for (TokenId id = 0; id < tokenizer.size(); ++id) {
    const std::string text = tokenizer.token_text(id);
    if (!tokenizer.is_added(id) || text == "<unk>" || text == "[UNK]") continue;
    if (text == "the the") continue;  // of variants/added_flags: hidden by the token "the", which is looked for first
    if (text.find_first_not_of("\n\xE2\x96\x81") == std::string::npos) continue;
    all.push_back({id, text});
  }
  return all;
}

Tokenizer from_json(const std::string& json) { return Tokenizer::from_json(json, "tokenizer.json").value(); }

}  // namespace

TEST_CASE("[B29] no added token of any family comes out of user text") {
  for (const std::string& folder : folders()) {
    CAPTURE(folder);
    const Tokenizer tokenizer = Tokenizer::load(folder).value();
    const auto tokens = added_tokens(tokenizer);
    CHECK_FALSE(tokens.empty());
    for (const Added& token : tokens) {
      CAPTURE(token.text);
      CHECK(has(tokenizer.encode(token.text), token.id));  // trusted text does
      for (const std::string& text :
           {token.text, "say " + token.text + " now", token.text + token.text, "x" + token.text + "\n"}) {
        const auto ids = encode(tokenizer, {{text, false}});
        CHECK_FALSE(has(ids, token.id));
        for (const Added& other : tokens)
          if (has(ids, other.id)) FAIL_CHECK(other.text);
      }
    }
  }
}

TEST_CASE("[B29] user text that spells tokens reads back as it was typed") {
  for (const char* name : {"chameleon", "gemma3", "kimi", "llama3", "paligemma", "qwen", "qwen_omni", "smollm"}) {
    CAPTURE(name);
    const Tokenizer tokenizer = Tokenizer::load(kData + name).value();
    for (const Added& token : added_tokens(tokenizer)) {
      const std::string text = "say " + token.text + " now";
      CHECK(tokenizer.decode(encode(tokenizer, {{text, false}}), true) == text);
    }
  }
}

TEST_CASE("[B29] a token half typed by the user and half by the template is no token") {
  for (const std::string& folder : folders()) {
    CAPTURE(folder);
    const Tokenizer tokenizer = Tokenizer::load(folder).value();
    const auto tokens = added_tokens(tokenizer);
    const std::size_t stride = tokens.size() > 100 ? 37 : 1;
    for (std::size_t t = 0; t < tokens.size(); t += stride) {
      const Added& token = tokens[t];
      CAPTURE(token.text);
      for (std::size_t cut = 1; cut < token.text.size(); ++cut) {
        if ((static_cast<unsigned char>(token.text[cut]) & 0xC0) == 0x80) continue;
        const std::string first = token.text.substr(0, cut), second = token.text.substr(cut);
        CHECK_FALSE(has(encode(tokenizer, {{first, true}, {second, false}}), token.id));
        CHECK_FALSE(has(encode(tokenizer, {{first, false}, {second, true}}), token.id));
        CHECK(has(encode(tokenizer, {{first, true}, {second, true}}), token.id));  // two trusted spans are one text
      }
      if (token.text.size() >= 3 && static_cast<unsigned char>(token.text[1]) < 0x80 &&
          static_cast<unsigned char>(token.text[2]) < 0x80) {
        const auto ids =
            encode(tokenizer,
                   {{token.text.substr(0, 1), true}, {token.text.substr(1, 1), false}, {token.text.substr(2), true}});
        CHECK_FALSE(has(ids, token.id));
      }
    }
  }
}

TEST_CASE("[B29] a template's tokens stay where they are whatever the user types between them") {
  const Tokenizer tokenizer = Tokenizer::load(kData + "smollm").value();
  const TokenId start = tokenizer.id_of("<|im_start|>").value(), end = tokenizer.id_of("<end_of_utterance>").value();
  const TokenId image = tokenizer.id_of("<image>").value();
  for (const Added& token : added_tokens(tokenizer)) {
    const auto ids = encode(
        tokenizer, {{"<|im_start|>User:<image>", true}, {token.text, false}, {"<end_of_utterance>\nAssistant:", true}});
    CHECK(ids.front() == start);
    CHECK(std::count(ids.begin(), ids.end(), start) == 1);
    CHECK(std::count(ids.begin(), ids.end(), end) == 1);
    CHECK(std::count(ids.begin(), ids.end(), image) == 1);
  }
}

TEST_CASE("spans read as one text where no added token is meant") {
  for (const char* name : {"gemma3", "llama3", "qwen", "smollm", "kimi"}) {
    const Tokenizer tokenizer = Tokenizer::load(kData + name).value();
    const std::string whole = "Question:\n\n  What is  this thing's 1234 name?\n\nAnswer: it";
    for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
      const std::string first = whole.substr(0, cut), second = whole.substr(cut);
      CHECK(encode(tokenizer, {{first, true}, {second, true}}) == tokenizer.encode(whole));
      const auto typed = encode(tokenizer, {{whole, false}});
      CHECK(encode(tokenizer, {{first, false}, {second, false}}) == typed);
      CHECK(tokenizer.decode(encode(tokenizer, {{first, true}, {second, false}})) == whole);
    }
  }
  const Tokenizer qwen = Tokenizer::load(kData + "qwen").value();
  CHECK(encode(qwen, {{"the the", true}, {" the\n", false}}) == qwen.encode("the the the\n"));
}

TEST_CASE("blank runs that are also added tokens stay ordinary pieces in user text") {
  const Tokenizer gemma = Tokenizer::load(kData + "gemma3").value();
  CHECK(encode(gemma, {{"a\n\nb", false}}) == gemma.encode("a\n\nb"));
}

TEST_CASE("[B29] entries of the vocabulary that are added tokens are not built by merges in user text") {
  // Merges spell the special token <s> from characters, and ignore_merges would look it up whole.
  for (const char* ignore : {"false", "true"}) {
    const Tokenizer tokenizer = from_json(fmt::format(
        R"({{"model":{{"type":"BPE","vocab":{{"<":0,"s":1,">":2,"s>":3,"<s>":4}},"merges":["s >","< s>"],"ignore_merges":{}}},)"
        R"("added_tokens":[{{"id":4,"content":"<s>","special":true,"normalized":false}}]}})",
        ignore));
    CHECK(tokenizer.encode("<s>") == std::vector<TokenId>{4});
    CHECK(encode(tokenizer, {{"<s>", false}}) == std::vector<TokenId>{0, 3});
    CHECK(encode(tokenizer, {{"<", true}, {"s>", false}}) == std::vector<TokenId>{0, 3});
  }
}

TEST_CASE("[B29] tokens looked for after normalization also ask who wrote the text") {
  const Tokenizer tokenizer = from_json(
      R"({"normalizer":{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Lowercase"}]},)"
      R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},"decoder":{"type":"ByteLevel"},)"
      R"("model":{"type":"BPE","vocab":{"c":0,"a":1,"f":2,"Ã":3,"©":4,"e":5,"Ì":6,"ģ":7,"n":8},"merges":[]},)"
      "\"added_tokens\":[{\"id\":9,\"content\":\"CAF\u00c9\",\"special\":false,\"normalized\":true},"
      R"({"id":10,"content":"CAN","special":true,"normalized":true}]})");
  const auto spans = [&](const std::vector<TextSpan>& list) { return encode(tokenizer, list); };
  CHECK(spans({{"caf\u00e9", true}}) == std::vector<TokenId>{9});
  CHECK(spans({{"CAFE\u0301", true}}) == std::vector<TokenId>{9});
  CHECK(spans({{"caf\u00e9", false}}) == std::vector<TokenId>{0, 1, 2, 3, 4});
  CHECK(spans({{"cafe", true}, {"\u0301", false}}) ==
        std::vector<TokenId>{0, 1, 2, 3, 4});  // one character of two authors
  CHECK(spans({{"can", true}, {"can", false}, {"can", true}}) == std::vector<TokenId>{10, 0, 1, 8, 10});
  CHECK(spans({{"ca", false}, {"ncan", true}}) == std::vector<TokenId>{0, 1, 8, 10});
}
