// Trains a byte-level BPE in SmolLM's form (single digits, GPT-2 split) and writes its tokenizer.json.
// Usage: train_bpe ENTRIES OUT.json PATH...   ENTRIES counts the 256 bytes, 49152 is SmolLM's; folders are searched for
// texts.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <queue>
#include <unordered_map>
#include <unordered_set>

#include <fmt/core.h>

#include "base/clock.h"
#include "base/file.h"
#include "io/json.h"
#include "text/pretokenize.h"
#include "text/tokenizer_unicode.h"
#include "text/tokenizer_vocab.h"

namespace {

constexpr std::size_t kMostBytes = std::size_t{256} << 20;
constexpr std::size_t kMostFileBytes = std::size_t{8} << 20;

bool is_text_file(const std::filesystem::path& path) {
  static const std::unordered_set<std::string> kinds{".txt", ".rst", ".md", ".pod", ".py",   ".pm", ".html",
                                                     ".h",   ".hpp", ".c",  ".cpp", ".texi", ".tex"};
  const std::string name = path.filename().string();
  return kinds.contains(path.extension().string()) || name == "copyright" || name.starts_with("README") ||
         name.starts_with("GPL") || path.parent_path().filename() == "common-licenses";
}

class WordCounts {
 public:
  void add(std::string_view text) {
    static const std::vector<tap::PreTokenizeStep> steps = [] {
      std::vector<tap::PreTokenizeStep> list(2);
      list[0].kind = tap::PreTokenizeStep::Kind::digits_each;
      list[1].kind = tap::PreTokenizeStep::Kind::byte_level;
      list[1].use_regex = true;
      return list;
    }();
    std::string copy(text);
    tap::pre_tokenize(steps, copy, true, ranges_);
    for (const tap::TextRange& range : ranges_)
      if (range.end - range.begin <= 64) ++counts_[copy.substr(range.begin, range.end - range.begin)];
  }
  const std::unordered_map<std::string, std::int64_t>& counts() const { return counts_; }

 private:
  std::unordered_map<std::string, std::int64_t> counts_;
  std::vector<tap::TextRange> ranges_;
};

struct Word {
  std::vector<std::int32_t> symbols;
  std::int64_t count;
};

struct Pair {
  std::int64_t count = 0;
  std::vector<std::uint32_t> words;  // where it was seen; may be out of date
};

std::uint64_t key_of(std::int32_t left, std::int32_t right) {
  return (std::uint64_t{static_cast<std::uint32_t>(left)} << 32) | static_cast<std::uint32_t>(right);
}

// The classic trainer: the most frequent pair (ties: the lower ids) is merged in all its words; only the pairs beside
// it change.
struct Trainer {
  std::vector<Word> words;
  std::unordered_map<std::uint64_t, Pair> pairs;
  std::vector<std::string> texts;  // by id, raw bytes
  std::vector<std::pair<std::int32_t, std::int32_t>> merges;

  struct Candidate {
    std::int64_t count;
    std::uint64_t key;
    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : key > other.key;
    }
  };

  explicit Trainer(const WordCounts& counts) {
    for (unsigned byte = 0; byte < 256; ++byte)
      texts.emplace_back(1, static_cast<char>(static_cast<unsigned char>(byte)));
    std::vector<std::pair<std::string, std::int64_t>> sorted(counts.counts().begin(), counts.counts().end());
    std::sort(sorted.begin(), sorted.end());  // ids must not depend on a hash
    for (const auto& [text, count] : sorted) {
      Word word{{}, count};
      for (const char c : text) word.symbols.push_back(static_cast<unsigned char>(c));
      words.push_back(std::move(word));
    }
    for (std::uint32_t w = 0; w < words.size(); ++w)
      for (std::size_t i = 0; i + 1 < words[w].symbols.size(); ++i)
        change(words[w].symbols[i], words[w].symbols[i + 1], words[w].count, w);
  }

  void change(std::int32_t left, std::int32_t right, std::int64_t by, std::uint32_t word) {
    Pair& pair = pairs[key_of(left, right)];
    pair.count += by;
    if (by > 0 && (pair.words.empty() || pair.words.back() != word)) pair.words.push_back(word);
  }

  void run(std::size_t entries) {
    std::priority_queue<Candidate> queue;
    for (const auto& [key, pair] : pairs) queue.push({pair.count, key});
    std::vector<std::uint64_t> touched;
    while (texts.size() < entries && !queue.empty()) {
      const Candidate top = queue.top();
      queue.pop();
      const auto found = pairs.find(top.key);
      if (found == pairs.end() || found->second.count <= 0) continue;
      if (found->second.count != top.count) {  // it changed since: back with its present count
        queue.push({found->second.count, top.key});
        continue;
      }
      const auto left = static_cast<std::int32_t>(top.key >> 32),
                 right = static_cast<std::int32_t>(top.key & 0xFFFFFFFFu);
      const std::vector<std::uint32_t> where = std::move(found->second.words);
      pairs.erase(found);
      const auto merged = static_cast<std::int32_t>(texts.size());
      texts.push_back(texts[static_cast<std::size_t>(left)] + texts[static_cast<std::size_t>(right)]);
      merges.emplace_back(left, right);
      touched.clear();
      for (const std::uint32_t w : where) merge_in(w, left, right, merged, touched);
      std::sort(touched.begin(), touched.end());
      touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
      for (const std::uint64_t key : touched)
        if (const auto pair = pairs.find(key); pair != pairs.end() && pair->second.count > 0)
          queue.push({pair->second.count, key});
    }
  }

  void merge_in(std::uint32_t w, std::int32_t left, std::int32_t right, std::int32_t merged,
                std::vector<std::uint64_t>& touched) {
    std::vector<std::int32_t>& symbols = words[w].symbols;
    const std::int64_t count = words[w].count;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      if (symbols[i] != left || symbols[i + 1] != right) continue;
      if (i > 0) {
        change(symbols[i - 1], left, -count, w);
        change(symbols[i - 1], merged, count, w);
        touched.push_back(key_of(symbols[i - 1], merged));
      }
      if (i + 2 < symbols.size()) {
        change(right, symbols[i + 2], -count, w);
        change(merged, symbols[i + 2], count, w);
        touched.push_back(key_of(merged, symbols[i + 2]));
      }
      symbols[i] = merged;
      symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    }
  }

  std::string json() const {
    tap::Json model = {{"type", "BPE"},
                       {"dropout", nullptr},
                       {"unk_token", nullptr},
                       {"continuing_subword_prefix", nullptr},
                       {"end_of_word_suffix", nullptr},
                       {"fuse_unk", false},
                       {"byte_fallback", false},
                       {"ignore_merges", false}};
    std::vector<std::string> spelled;
    for (const std::string& text : texts) tap::uni::map_bytes(text, spelled.emplace_back());
    std::string vocab, lines;
    std::unordered_set<std::string> seen;
    for (std::size_t id = 0; id < spelled.size(); ++id)
      if (seen.insert(spelled[id]).second)
        vocab += fmt::format("{}{}:{}", id ? "," : "", tap::Json(spelled[id]).dump(), id);
    for (const auto& [left, right] : merges)
      lines += fmt::format(
          "{}{}", lines.empty() ? "" : ",",
          tap::Json(spelled[static_cast<std::size_t>(left)] + " " + spelled[static_cast<std::size_t>(right)]).dump());
    std::string head = model.dump();
    head.pop_back();
    const char* byte_level = R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true})";
    return fmt::format(
        R"({{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,)"
        R"("pre_tokenizer":{{"type":"Sequence","pretokenizers":[{{"type":"Digits","individual_digits":true}},{}]}},)"
        R"("post_processor":null,"decoder":{},"model":{},"vocab":{{{}}},"merges":[{}]}}}})",
        byte_level, byte_level, head, vocab, lines);
  }
};

int run(int argc, char** argv) {
  if (argc < 4) {
    fmt::print(stderr, "usage: train_bpe ENTRIES OUT.json PATH...\n");
    return 2;
  }
  const tap::Stopwatch watch;
  const auto entries = static_cast<std::size_t>(std::strtoul(argv[1], nullptr, 10));
  WordCounts counts;
  std::size_t bytes = 0;
  const auto take = [&](const std::filesystem::path& path) {
    if (bytes >= kMostBytes) return;
    const auto text = tap::read_file(path.string(), kMostFileBytes);
    if (!text.ok() || !tap::uni::is_valid_utf8(*text)) return;
    bytes += text->size();
    counts.add(*text);
  };
  for (int i = 3; i < argc; ++i) {
    if (!tap::is_directory(argv[i])) {
      take(argv[i]);
      continue;
    }
    std::vector<std::filesystem::path> files;
    using Walk = std::filesystem::recursive_directory_iterator;
    for (const auto& entry : Walk(argv[i], std::filesystem::directory_options::skip_permission_denied))
      if (entry.is_regular_file() && !entry.is_symlink() && is_text_file(entry.path())) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    for (const auto& file : files) take(file);
  }
  fmt::print(stderr, "{:.0f} MB, {} different words, {:.1f} s\n", static_cast<double>(bytes) / 1e6,
             counts.counts().size(), watch.ms() / 1000);
  Trainer trainer(counts);
  trainer.run(entries);
  tap::write_file_atomic(argv[2], trainer.json());
  fmt::print(stderr, "{} entries, {} merges in {:.1f} s\n", trainer.texts.size(), trainer.merges.size(),
             watch.ms() / 1000);
  return trainer.texts.size() == entries ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "train_bpe: {}\n", error.what());
    return 1;
  }
}
