#include "text/grammar/token_mask.h"

#include <algorithm>
#include <array>

namespace tap {

namespace {

constexpr std::size_t kLongestToken = 256;                       // bytes; longer ones are never chosen
constexpr std::size_t kMostCachedBytes = std::size_t{64} << 20;  // of masks; then the cache starts anew

}  // namespace

TokenTrie::TokenTrie(const Tokenizer& tokenizer, std::span<const TokenId> left_out) {
  std::vector<std::pair<std::string, TokenId>> texts;
  const Dim size = tokenizer.size();
  words_ = (static_cast<std::size_t>(size) + 63) / 64;
  for (TokenId id = 0; id < size; ++id) {
    if (tokenizer.is_added(id) || tokenizer.is_special(id) || std::ranges::find(left_out, id) != left_out.end())
      continue;
    std::string bytes = tokenizer.bytes_of(id);
    if (bytes.empty() || bytes.size() > kLongestToken) continue;
    if (bytes.size() == 1) single_[static_cast<unsigned char>(bytes[0])] = true;
    texts.emplace_back(std::move(bytes), id);
  }
  std::sort(texts.begin(), texts.end());
  nodes_.push_back({0, 0, 0});
  std::vector<std::uint32_t> path{0};
  std::string_view previous;
  const auto close = [&](std::size_t depth) {
    for (; path.size() > depth; path.pop_back()) nodes_[path.back()].end = static_cast<std::uint32_t>(nodes_.size());
  };
  for (const auto& [text, id] : texts) {
    const auto same = static_cast<std::size_t>(
        std::mismatch(previous.begin(), previous.end(), text.begin(), text.end()).first - previous.begin());
    close(same + 1);
    for (std::size_t i = same; i < text.size(); ++i) {
      path.push_back(static_cast<std::uint32_t>(nodes_.size()));
      nodes_.push_back({0, static_cast<std::uint32_t>(tokens_.size()), static_cast<std::uint8_t>(text[i])});
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
      : grammar_(*masks.grammar_), trie_(*masks.trie_), stacks_(stacks), mask_(mask), at_depth_(kLongestToken + 2) {}

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
    for (std::uint32_t child = node + 1; child < nodes[node].end; child = nodes[child].end) {
      step_threads(grammar_, stacks_, threads, nodes[child].byte, at_depth_[depth + 1]);
      enter(child, depth + 1);
    }
  }

  void enter(std::uint32_t node, std::size_t depth) {
    const GrammarThreads& threads = at_depth_[depth];
    levels_of(threads);
    if (threads.list.empty()) return;
    for (const TokenId id : trie_.tokens_at(node))
      mask_[static_cast<std::size_t>(id) / 64] |= std::uint64_t{1} << (static_cast<unsigned>(id) % 64);
    if (trie_.nodes()[node].end == node + 1) return;
    if (rule_ends && threads.at_end) rule_ends->push_back(node);
    children(node, depth);
  }

  const Grammar& grammar_;
  const TokenTrie& trie_;
  GrammarStacks& stacks_;
  std::span<std::uint64_t> mask_;
  std::vector<GrammarThreads> at_depth_;
};

TokenMasks::TokenMasks(const GrammarPtr& grammar, std::shared_ptr<const TokenTrie> trie)
    : grammar_(grammar->restricted_to(trie->single_bytes())), trie_(std::move(trie)) {}

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
