#include "text/tokenizer.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/file.h"
#include "text/tokenizer_impl.h"
#include "text/tokenizer_unicode.h"

namespace tap {

namespace {

constexpr std::size_t kMostTextBytes = std::size_t{1} << 30;  // symbols of a word are counted in 32 bits
constexpr std::size_t kCacheFromBytes = 2048;                 // shorter texts do not pay for the table
constexpr std::size_t kMostAddedBytes = 512;  // of one added token: matching costs text times this at worst
constexpr std::size_t kMostAddedTotal = std::size_t{4}
                                        << 20;             // bytes of all added tokens: the trie holds a node for each
constexpr std::size_t kJsonBytes = std::size_t{64} << 20;  // Gemma 3's tokenizer.json has 33 MB

// White space, or SentencePiece's stand-in for it.
bool is_blank(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto [code, length] = uni::decode(text, at);
    if (code != 0x2581 && !(uni::classes(code) & uni::space)) return false;
    at += length;
  }
  return true;
}

}  // namespace

const AddedToken* Tokenizer::Impl::find_added(TokenId id) const {
  if (!added_texts.has(id)) return nullptr;
  const auto at = std::lower_bound(added.begin(), added.end(), id,
                                   [](const AddedToken& token, TokenId wanted) { return token.id < wanted; });
  return &*at;
}

void Tokenizer::Impl::add_token(AddedToken token, std::string_view content, std::string_view where) {
  if (content.empty()) return;  // the reference ignores them too
  if (content.size() > kMostAddedBytes)
    fail(ErrorCode::limit, "{}.content: {} bytes, the limit is {}", where, content.size(), kMostAddedBytes);
  if (const TokenId known = vocab().find(content); known >= 0 && known != token.id)
    fail(ErrorCode::bad_file, "{}.id: {} for {}, but model.vocab says {}", where, token.id, uni::quoted(content),
         known);
  if (vocab().has(token.id) && vocab().text(token.id) != content)
    fail(ErrorCode::bad_file, "{}.id: {} for {} is already {} of model.vocab", where, token.id, uni::quoted(content),
         uni::quoted(vocab().text(token.id)));
  if (added_texts.has(token.id) && added_texts.text(token.id) == content) return;  // the same token listed twice
  if (added_texts.text_bytes() + content.size() > kMostAddedTotal)
    fail(ErrorCode::limit, "{}: more than {} bytes of added tokens", where, kMostAddedTotal);
  switch (added_texts.add(content, token.id)) {
    case Vocab::Added::id_taken:
      fail(ErrorCode::bad_file, "{}.id: {} stands for both {} and {}", where, token.id,
           uni::quoted(added_texts.text(token.id)), uni::quoted(content));
    case Vocab::Added::text_taken:
      fail(ErrorCode::bad_file, "{}.content: {} has both id {} and {}", where, uni::quoted(content),
           added_texts.find(content), token.id);
    case Vocab::Added::done: added.push_back(std::move(token));
  }
}

void Tokenizer::Impl::finish() {
  std::sort(added.begin(), added.end(), [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  std::vector<bool> blocked;
  for (std::size_t i = 0; i < added.size(); ++i) {
    AddedToken& token = added[i];
    const std::string_view content = added_texts.text(token.id);
    if (token.normalized) {
      const std::string normal = normalize(normalizers, content);
      if (!normal.empty()) normalized_trie.add(normal, static_cast<TokenId>(i));
      token.decoded = normal;
    } else {
      raw_trie.add(content, static_cast<TokenId>(i));
    }
    // An added token that the model could also build from characters. Runs of blanks (Gemma's "\n\n") and plain single
    // characters stay what they are in any text: they are the model's alphabet.
    const bool one_character = uni::decode(content, 0).length == content.size();
    if (!vocab().has(token.id) || is_blank(content) || (one_character && !token.special)) continue;
    if (blocked.empty()) blocked.resize(static_cast<std::size_t>(vocab().limit()));
    blocked[static_cast<std::size_t>(token.id)] = true;
  }
  if (auto* bpe = std::get_if<Bpe>(&model)) bpe->blocked = std::move(blocked);
  else if (auto* unigram = std::get_if<Unigram>(&model)) unigram->blocked = std::move(blocked);
}

// A stretch of text: an added token (index into `added`) or text between them (-1).
struct Tokenizer::Impl::Stretch {
  std::size_t begin, end;
  TokenId token;
};

// The longest added token at each place, from left to right, wholly within trusted text.
void Tokenizer::Impl::find_tokens(const ByteTrie& trie, const TracedText& traced,
                                  std::vector<Stretch>& stretches) const {
  stretches.clear();
  const std::string_view text = traced.text;
  const auto is_word_at = [&](std::size_t at) { return uni::is_word(uni::decode(text, at).code); };
  const auto is_space_at = [&](std::size_t at) { return (uni::classes(uni::decode(text, at).code) & uni::space) != 0; };
  std::size_t done = 0, run_begin = 0;
  for (std::size_t r = 0; r < traced.runs.size() && !trie.empty(); ++r) {
    const std::size_t run_end = traced.runs[r].end;
    if (r + 1 < traced.runs.size() && traced.runs[r + 1].trusted == traced.runs[r].trusted)
      continue;  // one run in two parts
    for (std::size_t at = run_begin; traced.runs[r].trusted && at < run_end;) {
      if (!trie.starts_with(text[at])) {
        ++at;
        continue;
      }
      std::size_t begin = at, end = 0;
      TokenId found = -1;
      std::uint32_t place = 0;
      for (std::size_t next = at; next < run_end;) {
        place = trie.step(place, text[next++]);
        if (place == ByteTrie::kNone) break;
        if (trie.value(place) >= 0) {
          found = trie.value(place);
          end = next;
        }
      }
      if (found < 0) {
        ++at;
        continue;
      }
      at = end;
      const AddedToken& token = added[static_cast<std::size_t>(found)];
      if (token.single_word &&
          ((begin > 0 && is_word_at(uni::previous(text, begin))) || (end < text.size() && is_word_at(end))))
        continue;
      while (token.left_strip && begin > done && is_space_at(uni::previous(text, begin)))
        begin = uni::previous(text, begin);
      while (token.right_strip && end < text.size() && is_space_at(end)) end += uni::decode(text, end).length;
      if (done < begin) stretches.push_back({done, begin, -1});
      stretches.push_back({std::max(begin, done), end, found});
      done = std::max(done, end);
    }
    run_begin = run_end;
  }
  if (done < text.size()) stretches.push_back({done, text.size(), -1});
}

namespace {

TracedText cut(const TracedText& traced, std::size_t begin, std::size_t end) {
  TracedText part{traced.text.substr(begin, end - begin), {}};
  auto run = std::upper_bound(traced.runs.begin(), traced.runs.end(), begin,
                              [](std::size_t at, const TrustRun& r) { return at < r.end; });
  for (; run != traced.runs.end(); ++run) {
    part.runs.push_back({std::min(run->end, end) - begin, run->trusted});
    if (run->end >= end) break;
  }
  return part;
}

}  // namespace

void Tokenizer::Impl::encode_plain(const TracedText& traced, bool at_start, std::vector<TokenId>& out,
                                   std::array<WordCache, 2>& caches, BpeStats& stats) const {
  const bool guarded =
      std::any_of(traced.runs.begin(), traced.runs.end(), [](const TrustRun& run) { return !run.trusted; });
  std::string text = traced.text;
  std::vector<TextRange> words;
  if (kimi_split) split_for_kimi(text, words);
  else pre_tokenize(pre_tokenizers, text, at_start, words);
  for (const TextRange& range : words) {
    const std::string_view word = std::string_view(text).substr(range.begin, range.end - range.begin);
    if (const auto* bpe = std::get_if<Bpe>(&model)) {
      bpe->encode(word, guarded, out, caches[guarded && !bpe->blocked.empty()], stats);
    } else if (const auto* unigram = std::get_if<Unigram>(&model)) {
      unigram->encode(word, guarded, out);
    } else {
      const auto& level = std::get<WordLevel>(model);
      TokenId id = level.vocab.find(word);
      if (id < 0 || (guarded && added_texts.has(id))) id = level.unknown;
      if (id < 0)
        fail(ErrorCode::bad_input,
             "a word of {} bytes has no token, and the tokenizer has no unknown token (model.unk_token)", word.size());
      out.push_back(id);
    }
  }
}

void Tokenizer::Impl::encode(const TracedText& traced, bool add_special_tokens, std::vector<TokenId>& out,
                             BpeStats& stats) const {
  if (traced.text.size() > kMostTextBytes)
    fail(ErrorCode::limit, "a text of {} bytes, the limit is {}", traced.text.size(), kMostTextBytes);
  const bool cached = traced.text.size() >= kCacheFromBytes;
  std::array<WordCache, 2> caches{WordCache(cached), WordCache(cached)};  // of trusted and of guarded words
  if (add_special_tokens) out.insert(out.end(), ids_before.begin(), ids_before.end());
  std::vector<Stretch> raw, normal;
  find_tokens(raw_trie, traced, raw);
  for (const Stretch& stretch : raw) {
    if (stretch.token >= 0) {
      out.push_back(added[static_cast<std::size_t>(stretch.token)].id);
      continue;
    }
    TracedText part = cut(traced, stretch.begin, stretch.end);
    if (normalized_trie.empty()) {  // nobody asks again where a character came from
      const bool trusted =
          std::all_of(part.runs.begin(), part.runs.end(), [](const TrustRun& run) { return run.trusted; });
      part.runs = {{part.text.size(), trusted}};
    }
    normalize(normalizers, part);
    find_tokens(normalized_trie, part, normal);
    for (const Stretch& piece : normal) {
      if (piece.token >= 0) out.push_back(added[static_cast<std::size_t>(piece.token)].id);
      else if (normal.size() == 1) encode_plain(part, stretch.begin == 0, out, caches, stats);
      else encode_plain(cut(part, piece.begin, piece.end), stretch.begin == 0 && piece.begin == 0, out, caches, stats);
    }
  }
  if (add_special_tokens) out.insert(out.end(), ids_after.begin(), ids_after.end());
}

TracedText join_spans(std::span<const TextSpan> spans) {
  TracedText joined;
  for (const TextSpan& span : spans) {
    if (span.text.empty()) continue;
    joined.text += uni::sanitize(span.text);
    if (!joined.runs.empty() && joined.runs.back().trusted == span.trusted) joined.runs.back().end = joined.text.size();
    else joined.runs.push_back({joined.text.size(), span.trusted});
  }
  return joined;
}

Result<Tokenizer> Tokenizer::load(const std::string& folder) {
  const std::string file = folder + "/tokenizer.json";
  if (file_exists(file)) {
    const auto text = read_file(file, kJsonBytes);
    if (!text.ok()) return text.error();
    return from_json(*text, file);
  }
  if (file_exists(folder + "/tiktoken.model")) return load_tiktoken(folder);
  return make_error(ErrorCode::not_found, "{}: no tokenizer.json and no tiktoken.model in this folder", folder);
}

std::vector<TokenId> Tokenizer::encode(std::span<const TextSpan> spans, bool add_special_tokens) const {
  std::vector<TokenId> ids;
  BpeStats stats;
  impl_->encode(join_spans(spans), add_special_tokens, ids, stats);
  return ids;
}

std::vector<TokenId> Tokenizer::encode(std::string_view trusted_text, bool add_special_tokens) const {
  const TextSpan span{std::string(trusted_text), true};
  return encode(std::span<const TextSpan>(&span, 1), add_special_tokens);
}

std::string Tokenizer::bytes_of(TokenId id) const {
  const std::string text(impl_->text(id));
  std::string bytes;
  for (const DecodeStep& step : impl_->decode_steps) {
    if (step.kind == DecodeStep::Kind::byte_level) return uni::unmap_bytes(text, bytes) ? bytes : text;
    if (step.kind == DecodeStep::Kind::raw_bytes) return text;
    if (step.kind == DecodeStep::Kind::byte_fallback)
      if (const int byte = byte_of_fallback_token(text); byte >= 0)
        return std::string(1, static_cast<char>(static_cast<unsigned char>(byte)));
  }
  // SentencePiece dress: U+2581 is a space, wherever the token stands.
  for (std::size_t at = 0; at < text.size();) {
    const auto [code, length] = uni::decode(text, at);
    if (code == 0x2581) bytes += ' ';
    else bytes.append(text, at, length);
    at += length;
  }
  return bytes;
}

std::optional<TokenId> Tokenizer::id_of(std::string_view token) const {
  TokenId id = impl_->added_texts.find(token);
  if (id < 0) id = impl_->vocab().find(token);
  if (id < 0) return std::nullopt;
  return id;
}

std::string Tokenizer::token_text(TokenId id) const { return uni::sanitize(impl_->text(id)); }
bool Tokenizer::is_special(TokenId id) const { return impl_->is_special(id); }
bool Tokenizer::is_added(TokenId id) const { return impl_->added_texts.has(id); }
Dim Tokenizer::size() const { return std::max(impl_->vocab().limit(), impl_->added_texts.limit()); }

}  // namespace tap
