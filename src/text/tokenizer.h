// Text to token ids and back: Hugging Face tokenizer.json (BPE, SentencePiece-style BPE, Unigram, WordLevel) and
// tiktoken.model (Kimi). A Tokenizer is immutable, cheap to copy and safe to use from many threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/dim.h"
#include "base/error.h"
#include "text/text_span.h"

namespace tap {

using TokenId = std::int32_t;

class Tokenizer {
 public:
  // A checkpoint folder: tokenizer.json, else tiktoken.model with tokenizer_config.json. Errors name file and key.
  static Result<Tokenizer> load(const std::string& folder);
  // The text of a tokenizer.json; `what` names it in errors.
  static Result<Tokenizer> from_json(std::string_view json, std::string_view what);

  // Adjacent spans read as one text; only the recognition of added tokens asks where a character comes from. Text that
  // a user typed yields no added token, with two exceptions that the model itself makes: runs of blanks that are
  // ordinary pieces of its vocabulary (Gemma's "\n\n"), and its unknown token for a character it has no entry for.
  // Bytes that are not UTF-8 are read as U+FFFD, one for each maximal invalid part (as Python's errors="replace").
  // `add_special_tokens` applies the file's post-processor (a BOS, an EOS). Linear-log time in the text's length.
  std::vector<TokenId> encode(std::span<const TextSpan> spans, bool add_special_tokens = false) const;
  std::vector<TokenId> encode(std::string_view trusted_text, bool add_special_tokens = false) const;

  // Ids outside the vocabulary decode to nothing. Always valid UTF-8.
  std::string decode(std::span<const TokenId> ids, bool skip_special = false) const;

  std::string bytes_of(TokenId id) const;  // the raw bytes the token stands for; may be half a character
  std::optional<TokenId> id_of(std::string_view token) const;  // exact vocabulary or added token text
  std::string token_text(TokenId id) const;  // as in the vocabulary ("Ġthe"), for display; "" when unknown
  bool is_special(TokenId id) const;
  bool is_added(TokenId id) const;
  Dim size() const;  // highest id + 1 (ids may have gaps)

  struct Impl;  // tokenizer_impl.h, for this folder's own files
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  const std::shared_ptr<const Impl>& impl() const { return impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

// Text of a growing token list. push() never returns half a character: what all calls return, joined, equals
// decode(all ids, skip_special). Shares the tokenizer's tables, so it may outlive the Tokenizer value.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true);
  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;
  ~StreamDecoder();
  std::string push(TokenId id);
  std::string finish();  // what was held back (an unfinished character reads as U+FFFD); the decoder is then as new

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tap
