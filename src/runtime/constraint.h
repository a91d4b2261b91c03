// Answers held to a grammar: which tokens may come next, and the text that the chosen ones make.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/model.h"
#include "text/grammar/token_mask.h"

namespace tap {

// A grammar joined to a model's vocabulary. Made once, shared by any number of answers (and threads).
class Constraint {
 public:
  // `trie`: of the same tokenizer, where several grammars share it. Throws Error(unsupported) when the vocabulary
  // cannot write any allowed answer.
  Constraint(const GrammarPtr& grammar, const Tokenizer& tokenizer, std::vector<TokenId> end_tokens,
             std::shared_ptr<const TokenTrie> trie = nullptr);

  const TokenMasks& masks() const { return masks_; }
  const std::shared_ptr<const TokenTrie>& trie() const { return trie_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  const std::vector<TokenId>& end_tokens() const { return end_tokens_; }
  // The grammar's texts never begin with a space: then an answer may be preceded by one, which most chat templates lead
  // to ("Assistant:" is followed by " yes") and which is no part of it.
  bool space_before() const { return space_before_; }

 private:
  Tokenizer tokenizer_;
  std::vector<TokenId> end_tokens_;
  std::shared_ptr<const TokenTrie> trie_;
  TokenMasks masks_;
  bool space_before_;
};

// One answer under a constraint: the part that every sequence of a batch has of its own.
class TokenConstraint {
 public:
  explicit TokenConstraint(std::shared_ptr<const Constraint> constraint);

  // Tokens that may come next, 64 to a word; ids beyond it may not. End tokens exactly when the answer may end (never
  // with `ignore_end`). Valid until the next accept(). Throws Error(internal) when there is none.
  std::span<const std::uint64_t> allowed(bool ignore_end = false);
  // Takes a token that is allowed and no end; gives its text as far as it is whole characters.
  std::string accept(TokenId id);
  bool must_end() const;  // nothing can follow: generation may stop without an end token
  bool can_end() const { return state_.can_end(); }

 private:
  std::shared_ptr<const Constraint> constraint_;
  GrammarState state_;
  std::vector<std::uint64_t> mask_;
  bool waiting_ = true;  // for the first byte of the answer proper
  bool spaced_ = false;
  std::string held_;  // a character's first bytes
};

}  // namespace tap
