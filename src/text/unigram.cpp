#include "text/unigram.h"

#include <algorithm>

#include <fmt/format.h>

#include "text/pretokenize_regex.h"  // TextRange
#include "text/tokenizer_unicode.h"

namespace tap {

void Unigram::prepare() {
  double lowest = 0;
  bool first = true;
  for (TokenId id = 0; id < vocab.limit(); ++id) {
    trie_.add(vocab.text(id), id);
    const double score = scores[static_cast<std::size_t>(id)];
    lowest = first ? score : std::min(lowest, score);
    first = false;
  }
  unknown_score_ = lowest - 10;  // kUnkPenalty of SentencePiece's unigram_model.cc
}

void Unigram::encode(std::string_view word, bool guarded, std::vector<TokenId>& out) const {
  struct Node {
    double score = 0;
    std::size_t start = 0;
    TokenId id = -1;
    bool reached = false;
  };
  const auto is_blocked = [&](TokenId id) {
    return guarded && !blocked.empty() && blocked[static_cast<std::size_t>(id)];
  };
  std::vector<Node> ends(word.size() + 1);
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t length = uni::decode(word, at).length;
    const double before = ends[at].score;
    bool has_character = false;
    const auto offer = [&](std::size_t end, double score, TokenId id) {
      Node& node = ends[end];
      if (node.reached && score <= node.score) return;
      node = {score, at, id, true};
    };
    std::uint32_t place = 0;
    for (std::size_t end = at; end < word.size();) {
      place = trie_.step(place, word[end++]);
      if (place == ByteTrie::kNone) break;
      const TokenId id = trie_.value(place);
      if (id < 0 || is_blocked(id)) continue;
      offer(end, scores[static_cast<std::size_t>(id)] + before, id);
      has_character = has_character || end - at == length;
    }
    if (!has_character) offer(at + length, unknown_score_ + before, unknown);
    at += length;
  }
  // Backwards; neighbouring unknown characters are one piece.
  std::vector<TextRange> pieces;
  bool fusing = false;
  for (std::size_t end = word.size(); end > 0; end = ends[end].start) {
    const bool is_unknown = ends[end].id == unknown;
    if (fuse_unknown && is_unknown && fusing) pieces.back().begin = ends[end].start;
    else pieces.push_back({ends[end].start, end});
    fusing = is_unknown;
  }
  for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) {
    const std::string_view text = word.substr(piece->begin, piece->end - piece->begin);
    const TokenId id = vocab.find(text);
    if (id >= 0 && !is_blocked(id)) {
      out.push_back(id);
      continue;
    }
    if (byte_fallback) {
      const std::size_t kept = out.size();
      bool whole = true;
      for (const char c : text) {
        const TokenId byte =
            vocab.find(fmt::format("<0x{:02X}>", static_cast<unsigned>(static_cast<unsigned char>(c))));
        whole = whole && byte >= 0;
        if (whole) out.push_back(byte);
      }
      if (whole) continue;
      out.resize(kept);
    }
    if (unknown < 0)
      fail(ErrorCode::bad_input,
           "this text has a character without a token, and the tokenizer has no unknown token (model.unk_id)");
    out.push_back(unknown);
  }
}

}  // namespace tap
