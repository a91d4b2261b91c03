#include "text/grammar/token_mask.h"

#include <algorithm>

namespace tap {

namespace {

constexpr std::size_t kLongestToken = 256;                       // bytes; longer ones are never chosen
constexpr std::size_t kMostCachedBytes = std::size_t{64} << 20;  // of masks; then the cache starts anew

}  // namespace

TokenTrie::TokenTrie(const Tokenizer& tokenizer, std::span<const TokenId> left_out, std::span<const TokenId> let_in) {
  std::vector<std::pair<std::string, TokenId>> texts;
  const Dim size = tokenizer.size();
  words_ = (static_cast<std::size_t>(size) + 63) / 64;
  for (TokenId id = 0; id < size; ++id) {
    if (std::ranges::find(left_out, id) != left_out.end()) continue;
    if ((tokenizer.is_added(id) || tokenizer.is_special(id)) && std::ranges::find(let_in, id) == let_in.end()) continue;
    std::string bytes = tokenizer.bytes_of(id);
    if (bytes.empty() || bytes.size() > kLongestToken) continue;
    if (bytes.size() == 1) single_[static_cast<unsigned char>(bytes[0])] = true;
    texts.emplace_back(std::move(bytes), id);
  }
  std::sort(texts.begin(), texts.end());
  nodes_.push_back({0, 0, 0, 0});
  std::vector<std::uint32_t> path{0};
  std::string_view previous;
  const auto close = [&](std::size_t depth) {
    for (; path.size() > depth; path.pop_back()) {
      Node& node = nodes_[path.back()];
      node.end = static_cast<std::uint32_t>(nodes_.size());
      if (path.size() < 2) continue;
      Node& parent = nodes_[path[path.size() - 2]];
      if (!is_plain(node.byte) || node.plain_below == kNotPlain)
        parent.plain_below = kNotPlain;
      else if (parent.plain_below != kNotPlain)
        parent.plain_below = std::max(parent.plain_below, static_cast<std::uint16_t>(node.plain_below + 1));
    }
  };
  for (const auto& [text, id] : texts) {
    const auto same = static_cast<std::size_t>(
        std::mismatch(previous.begin(), previous.end(), text.begin(), text.end()).first - previous.begin());
    close(same + 1);
    for (std::size_t i = same; i < text.size(); ++i) {
      path.push_back(static_cast<std::uint32_t>(nodes_.size()));
      nodes_.push_back({0, static_cast<std::uint32_t>(tokens_.size()), 0, static_cast<std::uint8_t>(text[i])});
    }
    tokens_.push_back(id);
    previous = text;
  }
  close(0);
}

// Walks subtrees of the trie with the threads of a grammar.
class TokenMasks::Walk {
 public:
  Walk(const TokenMasks& masks, GrammarStacks& stacks, std::span<std::uint64_t> mask)
      : masks_(masks),
        grammar_(*masks.grammar_),
        trie_(*masks.trie_),
        stacks_(stacks),
        mask_(mask),
        at_depth_(kLongestToken + 2) {}

  GrammarThreads& root() { return at_depth_[0]; }
  std::vector<std::uint32_t>* rule_ends = nullptr;  // where frame 0 ends, when it stands for rules not known
  std::uint32_t levels = 0;

  // The children of `node`, after the threads of root().
  void operator()(std::uint32_t node) { children(node, 0); }
  void levels_of(const GrammarThreads& threads) { levels = std::max(levels, threads.most_levels); }

 private:
  void children(std::uint32_t node, std::size_t depth) {
    const auto nodes = trie_.nodes();
    const GrammarThreads& threads = at_depth_[depth];
    if (threads.list.size() == 1 && masks_.runs_[threads.list[0].state] >= 0)
      return plain_children(node, depth, threads.list[0].state, threads.list[0].frame);
    for (std::uint32_t child = node + 1; child < nodes[node].end; child = nodes[child].end) {
      step_threads(grammar_, stacks_, threads, nodes[child].byte, at_depth_[depth + 1]);
      enter(child, depth + 1);
    }
  }

  // As children(), of one thread in a state without calls and ends: no sets of threads while that lasts.
  void plain_children(std::uint32_t node, std::size_t depth, grammar::State state, std::uint32_t frame) {
    const auto nodes = trie_.nodes();
    for (std::uint32_t child = node + 1; child < nodes[node].end; child = nodes[child].end) {
      const std::uint8_t byte = nodes[child].byte;
      for (const grammar::Dfa::Edge& edge : grammar_.edges_of(state)) {
        if (byte > edge.high) continue;
        if (byte < edge.low) break;
        if (const std::int16_t run = masks_.runs_[edge.to]; run >= 0) {
          const std::uint32_t needed = stacks_[frame].levels + grammar_.levels_needed(edge.to);
          levels = std::max(levels, needed);
          if (needed > grammar::kMostNesting) break;
          const bool whole = nodes[child].plain_below <= run;
          allow(trie_.tokens_between(child, whole ? nodes[child].end : child + 1));
          if (!whole) plain_children(child, depth + 1, edge.to, frame);
        } else {
          GrammarThreads& next = at_depth_[depth + 1];
          next.clear();
          add_thread(grammar_, stacks_, {edge.to, frame}, next);
          enter(child, depth + 1);
        }
        break;
      }
    }
  }

  void allow(std::span<const TokenId> tokens) {
    for (const TokenId id : tokens)
      mask_[static_cast<std::size_t>(id) / 64] |= std::uint64_t{1} << (static_cast<unsigned>(id) % 64);
  }

  void enter(std::uint32_t node, std::size_t depth) {
    const GrammarThreads& threads = at_depth_[depth];
    levels_of(threads);
    if (threads.list.empty()) return;
    allow(trie_.tokens_at(node));
    if (trie_.nodes()[node].end == node + 1) return;
    if (rule_ends && threads.at_end) rule_ends->push_back(node);
    children(node, depth);
  }

  const TokenMasks& masks_;
  const Grammar& grammar_;
  const TokenTrie& trie_;
  GrammarStacks& stacks_;
  std::span<std::uint64_t> mask_;
  std::vector<GrammarThreads> at_depth_;
};

TokenMasks::TokenMasks(const GrammarPtr& grammar, std::shared_ptr<const TokenTrie> trie)
    : grammar_(grammar->restricted_to(trie->single_bytes())), trie_(std::move(trie)) {
  find_runs();
}

std::size_t TokenMasks::held_bytes() const {
  const std::scoped_lock lock(mutex_);
  return cached_bytes_ + grammar_->held_bytes();
}

void TokenMasks::find_runs() {
  constexpr std::int16_t unknown = -2, going = -3;
  const auto most = static_cast<std::int16_t>(kLongestToken);
  runs_.assign(grammar_->size(), unknown);
  // Where all plain bytes lead, when that is one place at the same depth.
  const auto next_of = [&](grammar::State s) -> std::optional<grammar::State> {
    std::optional<grammar::State> to;
    unsigned covered = 0;
    for (const grammar::Dfa::Edge& edge : grammar_->edges_of(s))
      for (unsigned byte = std::max<unsigned>(edge.low, 0x20); byte <= std::min<unsigned>(edge.high, 0x7E); ++byte) {
        if (!TokenTrie::is_plain(static_cast<std::uint8_t>(byte))) continue;
        if (to && *to != edge.to) return std::nullopt;
        to = edge.to;
        ++covered;
      }
    if (covered != 0x7F - 0x20 - 2 || grammar_->levels_needed(*to) != grammar_->levels_needed(s)) return std::nullopt;
    return to;
  };
  std::vector<grammar::State> way;
  for (grammar::State first = 0; first < runs_.size(); ++first) {
    std::int16_t run = 0;  // of the way's last state
    for (grammar::State s = first;;) {
      if (runs_[s] != unknown) {
        // Back on the way itself: a loop, and no end of plain bytes.
        run = runs_[s] == going ? most : static_cast<std::int16_t>(std::min<int>(most, runs_[s] + 1));
        break;
      }
      if (!grammar_->calls_of(s).empty() || grammar_->accepts(s)) {
        runs_[s] = -1;
        break;
      }
      runs_[s] = going;
      way.push_back(s);
      const std::optional<grammar::State> next = next_of(s);
      if (!next) break;
      s = *next;
    }
    for (; !way.empty(); way.pop_back()) {
      runs_[way.back()] = run;
      run = static_cast<std::int16_t>(std::min<int>(most, run + 1));
    }
  }
}

std::shared_ptr<const TokenMasks::Local> TokenMasks::local(grammar::State state) const {
  {
    const std::scoped_lock lock(mutex_);
    if (const auto at = cache_.find(state); at != cache_.end()) return at->second;
  }
  auto made = std::make_shared<Local>();
  made->allowed.assign(trie_->words(), 0);
  GrammarStacks stacks;
  Walk walk(*this, stacks, made->allowed);
  walk.rule_ends = &made->rule_ends;
  walk.root().list.push_back({state, 0});  // its calls are threads of their own
  walk(0);
  made->levels = walk.levels;
  const std::scoped_lock lock(mutex_);
  cached_bytes_ += made->allowed.size() * 8 + made->rule_ends.size() * 4;
  if (cached_bytes_ > kMostCachedBytes) {
    cache_.clear();
    cached_bytes_ = made->allowed.size() * 8 + made->rule_ends.size() * 4;
  }
  return cache_.emplace(state, std::move(made)).first->second;
}

void TokenMasks::fill(GrammarState& state, std::span<std::uint64_t> mask) const {
  std::fill(mask.begin(), mask.end(), 0);
  for (const GrammarThread& thread : state.threads().list) {
    if (grammar_->edges_of(thread.state).empty()) continue;
    const GrammarStacks::Frame frame = state.stacks()[thread.frame];
    const std::shared_ptr<const Local> own = local(thread.state);
    if (frame.levels + own->levels > grammar::kMostNesting) {  // near the limit on nesting: with the real frames
      Walk walk(*this, state.stacks(), mask);
      walk.root().list.push_back(thread);
      walk(0);
      continue;
    }
    for (std::size_t i = 0; i < mask.size(); ++i) mask[i] |= own->allowed[i];
    if (thread.frame == 0 || own->rule_ends.empty()) continue;
    Walk walk(*this, state.stacks(), mask);
    add_thread(*grammar_, state.stacks(), {frame.back, frame.parent}, walk.root());
    for (const std::uint32_t node : own->rule_ends) walk(node);
  }
}

void TokenMasks::add_after_byte(GrammarState& state, unsigned char byte, std::span<std::uint64_t> mask) const {
  const auto nodes = trie_->nodes();
  for (std::uint32_t child = 1; child < nodes[0].end; child = nodes[child].end) {
    if (nodes[child].byte != byte) continue;
    for (const TokenId id : trie_->tokens_at(child))
      mask[static_cast<std::size_t>(id) / 64] |= std::uint64_t{1} << (static_cast<unsigned>(id) % 64);
    Walk walk(*this, state.stacks(), mask);
    walk.root() = state.threads();
    walk(child);
  }
}

}  // namespace tap
