// Which tokens may come next: a grammar against the tokens' bytes. Masks are bit sets over ids, 64 to a word.
#pragma once

#include <bitset>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "text/grammar/grammar.h"
#include "text/tokenizer.h"

namespace tap {

// The bytes of all ordinary tokens as a trie in preorder. Added and special tokens, and those of `left_out` (ends), are
// not in it: text can never ask for them, but for those of `let_in`. Build once per tokenizer and share.
class TokenTrie {
 public:
  TokenTrie(const Tokenizer& tokenizer, std::span<const TokenId> left_out, std::span<const TokenId> let_in = {});
  struct Node {
    std::uint32_t end;          // one past its subtree
    std::uint32_t first_token;  // in the list of tokens
    std::uint16_t plain_below;  // length of the longest way below it, all of plain bytes; kNotPlain: others occur
    std::uint8_t byte;
  };
  // What a JSON string holds most of: printable ASCII without " and backslash.
  static bool is_plain(std::uint8_t byte) { return byte >= 0x20 && byte < 0x7F && byte != '"' && byte != '\\'; }
  static constexpr std::uint16_t kNotPlain = 0xFFFF;
  // Node 0 is the root; the children of n begin at n + 1 and each at the end of the one before.
  std::span<const Node> nodes() const { return nodes_; }
  std::span<const TokenId> tokens_at(std::uint32_t node) const { return tokens_between(node, node + 1); }
  // Of the nodes from `node` on and before `end`.
  std::span<const TokenId> tokens_between(std::uint32_t node, std::uint32_t end) const {
    const std::size_t last = end < nodes_.size() ? nodes_[end].first_token : tokens_.size();
    return std::span(tokens_).subspan(nodes_[node].first_token, last - nodes_[node].first_token);
  }
  std::size_t words() const { return words_; }                      // of a mask
  const std::bitset<256>& single_bytes() const { return single_; }  // bytes that are a token of their own

 private:
  std::vector<Node> nodes_;
  std::vector<TokenId> tokens_;
  std::size_t words_ = 0;
  std::bitset<256> single_;
};

// Masks of one grammar, made when first needed and shared by all answers under it; safe from many threads.
//
// What a state allows splits into what its rule decides alone, which is cached by state (a bit set), and tokens that
// reach past the rule's end, which depend on the rules that wait: for those the cache holds the places in the trie
// where the rule may end, and their subtrees are walked with what waits (after xgrammar's split, arXiv 2411.15100).
class TokenMasks {
 public:
  // Restricts the grammar to bytes that are tokens, so that an unfinished answer can always go on; throws
  // Error(unsupported) when no allowed answer can be written so.
  TokenMasks(const GrammarPtr& grammar, std::shared_ptr<const TokenTrie> trie);
  // Sets exactly the bits of the tokens that may come next. mask: trie().words() words.
  void fill(GrammarState& state, std::span<std::uint64_t> mask) const;
  // Adds the tokens that begin with `byte` and go on from `state`.
  void add_after_byte(GrammarState& state, unsigned char byte, std::span<std::uint64_t> mask) const;
  const TokenTrie& trie() const { return *trie_; }
  const GrammarPtr& grammar() const { return grammar_; }
  std::size_t held_bytes() const;  // of the grammar and of the masks made so far

 private:
  struct Local {
    std::vector<std::uint64_t> allowed;
    std::vector<std::uint32_t> rule_ends;  // nodes with children after which the rule may be over
    std::uint32_t levels = 0;              // of nesting that any of it needs
  };
  class Walk;
  void find_runs();
  std::shared_ptr<const Local> local(grammar::State state) const;
  GrammarPtr grammar_;
  std::shared_ptr<const TokenTrie> trie_;
  // By state: how many plain bytes, whichever they are, certainly lead on within the rule without calling or ending it;
  // -1 where the state itself calls or ends. Subtrees of the trie within that length need no walk.
  std::vector<std::int16_t> runs_;
  mutable std::mutex mutex_;
  mutable std::unordered_map<grammar::State, std::shared_ptr<const Local>> cache_;
  mutable std::size_t cached_bytes_ = 0;
};

}  // namespace tap
