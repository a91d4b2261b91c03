// Unigram model (SentencePiece): the segmentation of greatest total score.
#pragma once

#include <string_view>
#include <vector>

#include "text/tokenizer_vocab.h"

namespace tap {

class Unigram {
 public:
  Vocab vocab;
  std::vector<double> scores;  // log probability, by id
  TokenId unknown = -1;        // -1: a character without an entry is an error
  bool fuse_unknown = true, byte_fallback = false;
  std::vector<bool> blocked;  // by id: entries that user text must not become; empty: none

  void prepare();
  // Time: bytes times the longest entry. Throws Error(bad_input) on a character without an entry when there is no
  // unknown token.
  void encode(std::string_view word, bool guarded, std::vector<TokenId>& out) const;

 private:
  ByteTrie trie_;
  double unknown_score_ = 0;
};

}  // namespace tap
