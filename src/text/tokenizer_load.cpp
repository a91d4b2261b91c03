// tokenizer.json (Hugging Face tokenizers 0.x) to tables. What a component means is tokenizers' own code; a component
// of a type not listed here is an error, never skipped.
#include <algorithm>

#include "io/json_document.h"
#include "text/tokenizer_impl.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_unicode.h"

namespace tap {

namespace {

using Pre = PreTokenizeStep;

constexpr std::size_t kMostEntryBytes = 1024;  // of one Unigram entry: time is text times the longest entry
constexpr std::size_t kMostUnigramBytes = std::size_t{4} << 20;  // of all entries: the trie holds a node for each
constexpr std::size_t kMostMerges = std::size_t{1} << 22;
constexpr int kMostComponents = 64;

[[noreturn]] void unknown_type(const JsonPlace& type, std::string_view kind) {
  fail(ErrorCode::unsupported, "{}: this {} ({}) is not supported", type.path(), kind, uni::quoted(type.text()));
}

TokenId token_id(const JsonPlace& place) { return static_cast<TokenId>(place.integer(0, kMaxTokenId)); }

TokenRegex compiled(const JsonPlace& pattern) { return TokenRegex::compile(pattern.text(), pattern.path()).value(); }

// {"String": "..."} or {"Regex": "..."}: true for the latter.
bool read_pattern(const JsonPlace& pattern, std::string& text, std::optional<TokenRegex>& regex) {
  if (const auto literal = pattern.find("String")) {
    text = literal->text();
    if (text.empty()) literal->bad("a string that is not empty");
    return false;
  }
  regex = compiled(pattern.at("Regex"));
  return true;
}

// Calls `one` on each component of a (nested) Sequence whose members stand under `key`.
template <class One>
void each_component(const JsonPlace& place, std::string_view key, int& count, One&& one) {
  if (++count > kMostComponents) fail(ErrorCode::limit, "{}: more than {} components", place.path(), kMostComponents);
  if (place.at("type").text() == "Sequence")
    place.at(key).each([&](const JsonPlace& item) { each_component(item, key, count, one); });
  else one(place);
}

NormalizeStep read_normalizer(const JsonPlace& place) {
  using Kind = NormalizeStep::Kind;
  NormalizeStep step;
  const JsonPlace type = place.at("type");
  const std::string_view name = type.text();
  if (name == "NFC") step.kind = Kind::nfc;
  else if (name == "NFD") step.kind = Kind::nfd;
  else if (name == "NFKC") step.kind = Kind::nfkc;
  else if (name == "NFKD") step.kind = Kind::nfkd;
  else if (name == "Lowercase") step.kind = Kind::lowercase;
  else if (name == "StripAccents") step.kind = Kind::strip_accents;
  else if (name == "Replace") {
    step.kind = read_pattern(place.at("pattern"), step.pattern, step.regex) ? Kind::replace_regex : Kind::replace_text;
    step.content = place.at("content").text();
  } else if (name == "Prepend") {
    step.kind = Kind::prepend;
    step.content = place.at("prepend").text();
  } else if (name == "Strip") {
    step.kind = Kind::strip;
    step.left = place.flag("strip_left", true);
    step.right = place.flag("strip_right", true);
  } else {
    unknown_type(type, "normalizer");
  }
  return step;
}

SplitBehavior read_behavior(const JsonPlace& place) {
  const std::string_view name = place.text();
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  place.bad("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

// Metaspace of a pre-tokenizer or decoder: the replacement and when it is prepended ("add_prefix_space" is the older
// key).
Pre::Prepend read_metaspace(const JsonPlace& place, std::string& replacement) {
  const JsonPlace text = place.at("replacement");
  replacement = text.text();
  if (replacement.empty() || uni::decode(replacement, 0).length != replacement.size()) text.bad("one character");
  if (const auto scheme = place.find("prepend_scheme")) {
    if (scheme->text() == "always") return Pre::Prepend::always;
    if (scheme->text() == "first") return Pre::Prepend::first;
    if (scheme->text() == "never") return Pre::Prepend::never;
    scheme->bad("always, first or never");
  }
  return place.flag("add_prefix_space", true) ? Pre::Prepend::always : Pre::Prepend::never;
}

Pre read_pre_tokenizer(const JsonPlace& place) {
  using Kind = Pre::Kind;
  Pre step;
  const JsonPlace type = place.at("type");
  const std::string_view name = type.text();
  if (name == "Split") {
    const JsonPlace pattern = place.at("pattern");
    step.behavior = read_behavior(place.at("behavior"));
    step.invert = place.flag("invert", false);
    if (const auto literal = pattern.find("String")) {
      step.kind = Kind::text;
      step.text = literal->text();
      if (step.text.empty()) literal->bad("a string that is not empty");
    } else {
      const JsonPlace regex = pattern.at("Regex");
      if (const auto rule = known_split_rule(regex.text())) {
        step.kind = Kind::rule;
        step.rule = *rule;
      } else {
        step.kind = Kind::regex;
        step.regex = compiled(regex);
      }
    }
  } else if (name == "ByteLevel") {
    step.kind = Kind::byte_level;
    step.add_prefix_space = place.flag("add_prefix_space", true);
    step.use_regex = place.flag("use_regex", true);
  } else if (name == "Digits") {
    const bool each = place.flag("individual_digits", false);
    step.kind = each ? Kind::digits_each : Kind::digits;
    step.behavior = each ? SplitBehavior::isolated : SplitBehavior::contiguous;
  } else if (name == "Metaspace") {
    step.kind = Kind::metaspace;
    step.prepend = read_metaspace(place, step.text);
    step.split = place.flag("split", true);
  } else if (name == "Whitespace") {
    step.kind = Kind::words;
    step.behavior = SplitBehavior::removed;
    step.invert = true;
  } else if (name == "WhitespaceSplit") {
    step.kind = Kind::spaces;
    step.behavior = SplitBehavior::removed;
  } else if (name == "Punctuation") {
    step.kind = Kind::punctuation;
    const auto behavior = place.find("behavior");
    step.behavior = behavior ? read_behavior(*behavior) : SplitBehavior::isolated;
  } else if (name == "CharDelimiterSplit") {
    step.kind = Kind::character;
    step.behavior = SplitBehavior::removed;
    const JsonPlace text = place.at("delimiter");
    step.text = text.text();
    if (step.text.empty() || uni::decode(step.text, 0).length != step.text.size()) text.bad("one character");
  } else {
    unknown_type(type, "pre_tokenizer");
  }
  return step;
}

DecodeStep read_decoder(const JsonPlace& place) {
  using Kind = DecodeStep::Kind;
  DecodeStep step;
  const JsonPlace type = place.at("type");
  const std::string_view name = type.text();
  if (name == "ByteLevel") step.kind = Kind::byte_level;
  else if (name == "ByteFallback") step.kind = Kind::byte_fallback;
  else if (name == "Fuse") step.kind = Kind::fuse;
  else if (name == "Replace") {
    step.kind = read_pattern(place.at("pattern"), step.pattern, step.regex) ? Kind::replace_regex : Kind::replace_text;
    step.content = place.at("content").text();
  } else if (name == "Strip") {
    step.kind = Kind::strip;
    const JsonPlace content = place.at("content");
    step.content = content.text();
    if (step.content.empty() || uni::decode(step.content, 0).length != step.content.size())
      content.bad("one character");
    step.start = static_cast<std::size_t>(place.at("start").integer(0, 1 << 20));
    step.stop = static_cast<std::size_t>(place.at("stop").integer(0, 1 << 20));
  } else if (name == "Metaspace") {
    step.kind = Kind::metaspace;
    step.drop_first = read_metaspace(place, step.content) != Pre::Prepend::never;
  } else {
    unknown_type(type, "decoder");
  }
  return step;
}

void read_post_processor(const JsonPlace& place, Tokenizer::Impl& impl) {
  const JsonPlace type = place.at("type");
  const std::string_view name = type.text();
  std::vector<TokenId> before, after;
  if (name == "ByteLevel") return;  // offsets only
  if (name == "TemplateProcessing") {
    const JsonPlace items = place.at("single");
    int texts = 0;
    items.each([&](const JsonPlace& item) {
      if (const auto sequence = item.find("Sequence")) {
        ++texts;
        return;
      }
      const std::string_view key = item.at("SpecialToken").at("id").text();
      place.at("special_tokens").at(key).at("ids").each([&](const JsonPlace& id) {
        (texts ? after : before).push_back(token_id(id));
      });
    });
    if (texts != 1) fail(ErrorCode::unsupported, "{}: the text stands {} times, wanted once", items.path(), texts);
  } else if (name == "BertProcessing" || name == "RobertaProcessing") {
    const auto id_of_pair = [&](std::string_view key) {
      TokenId id = -1;
      int at = 0;
      place.at(key).each([&](const JsonPlace& item) {
        if (at++ == 1) id = token_id(item);
      });
      if (id < 0) place.at(key).bad("[token, id]");
      return id;
    };
    before = {id_of_pair("cls")};
    after = {id_of_pair("sep")};
  } else {
    unknown_type(type, "post_processor");
  }
  impl.ids_before.insert(impl.ids_before.begin(), before.begin(), before.end());
  impl.ids_after.insert(impl.ids_after.end(), after.begin(), after.end());
}

void read_vocab(const JsonPlace& place, Vocab& vocab) {
  const simdjson::dom::object entries = place.object();
  vocab.reserve(entries.size());
  for (const auto [text, value] : entries) {
    std::int64_t id = 0;
    if (value.get(id) != simdjson::SUCCESS || id < 0 || id > kMaxTokenId)
      JsonPlace(value, fmt::format("{}[{}]", place.path(), uni::quoted(text)))
          .bad(fmt::format("an integer from 0 to {}", kMaxTokenId));
    switch (vocab.add(text, static_cast<TokenId>(id))) {
      case Vocab::Added::done: break;
      case Vocab::Added::text_taken: fail(ErrorCode::bad_file, "{}: {} stands twice", place.path(), uni::quoted(text));
      case Vocab::Added::id_taken:
        fail(ErrorCode::bad_file, "{}: id {} stands for both {} and {}", place.path(), id,
             uni::quoted(vocab.text(static_cast<TokenId>(id))), uni::quoted(text));
    }
  }
}

// A token that the file names by its text; -1 when the key is absent.
TokenId named_token(const JsonPlace& model, std::string_view key, const Vocab& vocab) {
  const auto place = model.find(key);
  if (!place) return -1;
  const TokenId id = vocab.find(place->text());
  if (id < 0) fail(ErrorCode::bad_file, "{}: {} is not in model.vocab", place->path(), uni::quoted(place->text()));
  return id;
}

void read_merges(const JsonPlace& place, Bpe& bpe) {
  const simdjson::dom::array merges = place.array();
  if (merges.size() > kMostMerges) fail(ErrorCode::limit, "{}: more than {} merges", place.path(), kMostMerges);
  bpe.reserve_merges(merges.size());
  const auto bad = [&](std::uint32_t rank, std::string_view problem) {
    fail(ErrorCode::bad_file, "{}[{}]: {}", place.path(), rank, problem);
  };
  std::uint32_t rank = 0;
  std::string joined;
  for (const simdjson::dom::element merge : merges) {
    std::string_view left, right, line;
    simdjson::dom::array pair;
    if (merge.get(line) == simdjson::SUCCESS) {
      const std::size_t gap = line.find(' ');
      if (gap == std::string_view::npos || line.find(' ', gap + 1) != std::string_view::npos)
        bad(rank, "wanted two tokens with one space between");
      left = line.substr(0, gap);
      right = line.substr(gap + 1);
    } else if (merge.get(pair) == simdjson::SUCCESS) {
      std::size_t at = 0;
      for (const simdjson::dom::element item : pair)
        if (at++ > 1 || item.get(at == 1 ? left : right) != simdjson::SUCCESS) bad(rank, "wanted two strings");
      if (at != 2) bad(rank, "wanted two strings");
    } else {
      bad(rank, "wanted a string \"a b\" or a pair [a, b]");
    }
    const TokenId left_id = bpe.vocab.find(left), right_id = bpe.vocab.find(right);
    if (left_id < 0 || right_id < 0)
      bad(rank, fmt::format("{} is not in model.vocab", uni::quoted(left_id < 0 ? left : right)));
    joined = left;
    joined += right.starts_with(bpe.continuing_prefix) ? right.substr(bpe.continuing_prefix.size()) : right;
    const TokenId merged = bpe.vocab.find(joined);
    if (merged < 0) bad(rank, fmt::format("{} is not in model.vocab", uni::quoted(joined)));
    bpe.add_merge(left_id, right_id, rank, merged);
    ++rank;
  }
}

Bpe read_bpe(const JsonPlace& model, bool byte_level) {
  Bpe bpe;
  if (const auto dropout = model.find("dropout")) {
    double value = 0;
    if (dropout->element().get(value) != simdjson::SUCCESS) dropout->bad("null or a number");
    if (value != 0)
      fail(ErrorCode::unsupported, "{}: {} makes encoding random, which is not supported (null or 0 is)",
           dropout->path(), value);
  }
  read_vocab(model.at("vocab"), bpe.vocab);
  if (const auto prefix = model.find("continuing_subword_prefix")) bpe.continuing_prefix = prefix->text();
  if (const auto suffix = model.find("end_of_word_suffix")) bpe.end_suffix = suffix->text();
  bpe.unknown = named_token(model, "unk_token", bpe.vocab);
  bpe.fuse_unknown = model.flag("fuse_unk", false);
  bpe.byte_fallback = model.flag("byte_fallback", false);
  bpe.ignore_merges = model.flag("ignore_merges", false);
  bpe.byte_level = byte_level;
  read_merges(model.at("merges"), bpe);
  bpe.prepare();
  return bpe;
}

Unigram read_unigram(const JsonPlace& model) {
  Unigram unigram;
  const JsonPlace entries = model.at("vocab");
  TokenId id = 0;
  entries.each([&](const JsonPlace& entry) {
    std::string_view text;
    double score = 0;
    std::size_t at = 0;
    for (const simdjson::dom::element item : entry.array()) {
      const bool good = at == 0 ? item.get(text) == simdjson::SUCCESS : at == 1 && item.get(score) == simdjson::SUCCESS;
      if (!good) entry.bad("[text, score]");
      ++at;
    }
    if (at != 2) entry.bad("[text, score]");
    if (text.size() > kMostEntryBytes)
      fail(ErrorCode::limit, "{}: {} bytes, the limit is {}", entry.path(), text.size(), kMostEntryBytes);
    if (id > kMaxTokenId || unigram.vocab.text_bytes() + text.size() > kMostUnigramBytes)
      fail(ErrorCode::limit, "{}: more than {} entries or {} bytes", entries.path(), kMaxTokenId + 1,
           kMostUnigramBytes);
    if (unigram.vocab.add(text, id) == Vocab::Added::text_taken)
      fail(ErrorCode::bad_file, "{}: {} stands twice", entry.path(), uni::quoted(text));
    unigram.scores.push_back(score);
    ++id;
  });
  if (id == 0) entries.bad("at least one entry");
  if (const auto unknown = model.find("unk_id")) unigram.unknown = static_cast<TokenId>(unknown->integer(0, id - 1));
  unigram.byte_fallback = model.flag("byte_fallback", false);
  unigram.prepare();
  return unigram;
}

void read_model(const JsonPlace& model, Tokenizer::Impl& impl, bool byte_level) {
  const auto type = model.find("type");  // files from before 2021 do not say it; those with merges are BPE
  const std::string_view name = type ? type->text() : model.find("merges") ? "BPE" : "";
  if (name == "BPE") {
    impl.model = read_bpe(model, byte_level);
    return;
  }
  if (byte_level)
    fail(ErrorCode::unsupported, "{}: ByteLevel with a model other than BPE is not supported", model.path());
  if (name == "Unigram") {
    impl.model = read_unigram(model);
  } else if (name == "WordLevel") {
    WordLevel level;
    read_vocab(model.at("vocab"), level.vocab);
    level.unknown = named_token(model, "unk_token", level.vocab);
    impl.model = std::move(level);
  } else {
    unknown_type(model.at("type"), "model");
  }
}

void read_added(const JsonPlace& list, Tokenizer::Impl& impl) {
  list.each([&](const JsonPlace& item) {
    AddedToken token;
    token.id = token_id(item.at("id"));
    token.special = item.flag("special", false);
    token.single_word = item.flag("single_word", false);
    token.left_strip = item.flag("lstrip", false);
    token.right_strip = item.flag("rstrip", false);
    token.normalized = item.flag("normalized", !token.special);
    impl.add_token(token, item.at("content").text(), item.path());
  });
}

// Keys "truncation" and "padding" are left to the caller, as transformers does.
Tokenizer read_tokenizer(const JsonDocument& document, std::string_view what) {
  const JsonPlace root(document.root(), fmt::format("{}: ", what));
  auto impl = std::make_shared<Tokenizer::Impl>();
  int count = 0;
  if (const auto place = root.find("normalizer"))
    each_component(*place, "normalizers", count,
                   [&](const JsonPlace& one) { impl->normalizers.push_back(read_normalizer(one)); });
  bool byte_level = false;
  if (const auto place = root.find("pre_tokenizer"))
    each_component(*place, "pretokenizers", count, [&](const JsonPlace& one) {
      if (byte_level) fail(ErrorCode::unsupported, "{}: a pre_tokenizer after ByteLevel is not supported", one.path());
      impl->pre_tokenizers.push_back(read_pre_tokenizer(one));
      byte_level = impl->pre_tokenizers.back().kind == Pre::Kind::byte_level;
    });
  if (const auto place = root.find("decoder"))
    each_component(*place, "decoders", count,
                   [&](const JsonPlace& one) { impl->decode_steps.push_back(read_decoder(one)); });
  if (impl->decode_steps.empty()) impl->decode_steps.emplace_back().kind = DecodeStep::Kind::join_with_spaces;
  check_decode_steps(impl->decode_steps, fmt::format("{}: decoder", what)).value();
  if (const auto place = root.find("post_processor"))
    each_component(*place, "processors", count, [&](const JsonPlace& one) { read_post_processor(one, *impl); });
  read_model(root.at("model"), *impl, byte_level);
  if (const auto place = root.find("added_tokens")) read_added(*place, *impl);
  for (const auto* ids : {&impl->ids_before, &impl->ids_after})
    for (const TokenId id : *ids)
      if (!impl->knows(id)) fail(ErrorCode::bad_file, "{}: post_processor: id {} is no token", what, id);
  impl->finish();
  return Tokenizer(std::move(impl));
}

}  // namespace

Result<Tokenizer> Tokenizer::from_json(std::string_view json, std::string_view what) {
  const auto document = JsonDocument::parse(json, what);
  if (!document.ok()) return document.error();
  try {
    return read_tokenizer(*document, what);
  } catch (const Error& error) {
    return Error(error.code(), error.message(), error.item().empty() ? std::string(what) : error.item());
  }
}

}  // namespace tap
