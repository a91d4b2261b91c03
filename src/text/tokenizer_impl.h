// What a Tokenizer is made of. Filled by tokenizer_load.cpp (tokenizer.json) or tiktoken.cpp, then never changed.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/bpe.h"
#include "text/detokenizer.h"
#include "text/normalize.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"
#include "text/unigram.h"

namespace tap {

// Whole words only; others are the unknown token.
struct WordLevel {
  Vocab vocab;
  TokenId unknown = -1;
};

struct AddedToken {
  TokenId id = -1;
  bool special = false, single_word = false, left_strip = false, right_strip = false, normalized = false;
  std::string decoded;  // how a normalized token reads when decoded (tokenizers 0.23): its normal form; else empty
};

struct Tokenizer::Impl {
  std::variant<Bpe, Unigram, WordLevel> model;
  std::vector<NormalizeStep> normalizers;
  std::vector<PreTokenizeStep> pre_tokenizers;
  bool kimi_split = false;  // instead of pre_tokenizers
  std::vector<DecodeStep> decode_steps;
  std::vector<TokenId> ids_before, ids_after;  // of the post-processor

  Vocab added_texts;              // by id
  std::vector<AddedToken> added;  // sorted by id
  ByteTrie raw_trie;              // texts looked for before normalization; values index `added`
  ByteTrie normalized_trie;       // after it

  const Vocab& vocab() const {
    return std::visit([](const auto& m) -> const Vocab& { return m.vocab; }, model);
  }
  bool knows(TokenId id) const { return added_texts.has(id) || vocab().has(id); }
  std::string_view text(TokenId id) const { return added_texts.has(id) ? added_texts.text(id) : vocab().text(id); }
  std::string_view decoded_text(TokenId id) const {
    const AddedToken* token = find_added(id);
    return token && !token->decoded.empty() ? std::string_view(token->decoded) : text(id);
  }
  const AddedToken* find_added(TokenId id) const;
  bool is_special(TokenId id) const {
    const AddedToken* token = find_added(id);
    return token && token->special;
  }

  // Takes a token; an Error when its id or text contradicts what is known.
  void add_token(AddedToken token, std::string_view content, std::string_view where);
  // After all tokens are known: sorts them, builds the tries, and marks what user text must not become.
  void finish();

  void encode(const TracedText& text, bool add_special_tokens, std::vector<TokenId>& out, BpeStats& stats) const;

 private:
  struct Stretch;
  void find_tokens(const ByteTrie& trie, const TracedText& text, std::vector<Stretch>& stretches) const;
  void encode_plain(const TracedText& text, bool at_start, std::vector<TokenId>& out, std::array<WordCache, 2>& caches,
                    BpeStats& stats) const;
};

Result<Tokenizer> load_tiktoken(const std::string& folder);
// The same from the texts of tiktoken.model and tokenizer_config.json; the file names are for errors.
Result<Tokenizer> parse_tiktoken(std::string_view ranks, const std::string& ranks_file, std::string_view config,
                                 const std::string& config_file);

// Joins spans: bytes that are not UTF-8 replaced, neighbours of equal trust joined.
TracedText join_spans(std::span<const TextSpan> spans);

}  // namespace tap
