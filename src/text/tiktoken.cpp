// tiktoken.model (base64 token and rank, a line each) with the special tokens of tokenizer_config.json, as Kimi ships
// them (tokenization_moonshot.py): byte-level BPE by rank after Kimi's own split.
#include <array>
#include <charconv>

#include "base/file.h"
#include "io/json_document.h"
#include "text/tokenizer_impl.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_unicode.h"

namespace tap {

namespace {

constexpr std::size_t kModelBytes = std::size_t{64} << 20;
constexpr std::size_t kConfigBytes = std::size_t{16} << 20;

bool decode_base64(std::string_view text, std::string& bytes) {
  static constexpr auto kValues = [] {
    std::array<std::int8_t, 256> table{};
    table.fill(-1);
    constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (std::size_t i = 0; i < alphabet.size(); ++i)
      table[static_cast<unsigned char>(alphabet[i])] = static_cast<std::int8_t>(i);
    return table;
  }();
  bytes.clear();
  if (text.empty() || text.size() % 4 != 0) return false;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  unsigned bits = 0, held = 0;
  for (const char c : text.substr(0, text.size() - padding)) {
    const int value = kValues[static_cast<unsigned char>(c)];
    if (value < 0) return false;
    held = (held << 6) | static_cast<unsigned>(value);
    bits += 6;
    if (bits >= 8) bytes.push_back(static_cast<char>(static_cast<unsigned char>((held >> (bits -= 8)) & 0xFF)));
  }
  return true;
}

void read_ranks(std::string_view text, const std::string& file, Bpe& bpe) {
  std::string bytes;
  std::size_t line_number = 0;
  bpe.vocab.reserve(text.size() / 16);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const std::size_t gap = line.find(' ');
    if (gap == std::string_view::npos || !decode_base64(line.substr(0, gap), bytes))
      fail(ErrorCode::bad_file, "{}: line {}: wanted a base64 token, a space and its rank", file, line_number);
    std::int64_t rank = -1;
    const auto [stop, problem] = std::from_chars(line.data() + gap + 1, line.data() + line.size(), rank);
    if (problem != std::errc{} || stop != line.data() + line.size() || rank < 0 || rank > kMaxTokenId)
      fail(ErrorCode::bad_file, "{}: line {}: rank {}, wanted an integer from 0 to {}", file, line_number,
           uni::quoted(line.substr(gap + 1)), kMaxTokenId);
    if (bpe.vocab.add(bytes, static_cast<TokenId>(rank)) != Vocab::Added::done)
      fail(ErrorCode::bad_file, "{}: line {}: token or rank {} stands twice", file, line_number, rank);
  }
  for (unsigned byte = 0; byte < 256; ++byte)
    if (bpe.vocab.find(std::string(1, static_cast<char>(static_cast<unsigned char>(byte)))) < 0)
      fail(ErrorCode::bad_file, "{}: no token for the byte 0x{:02X}", file, byte);
}

void read_special(std::string_view text, const std::string& file, Tokenizer::Impl& impl) {
  const JsonDocument document = JsonDocument::parse(text, file).value();
  const JsonPlace root(document.root(), file + ": ");
  const JsonPlace tokens = root.at("added_tokens_decoder");
  for (const auto [key, value] : tokens.object()) {
    const JsonPlace item(value, fmt::format("{}[{}]", tokens.path(), uni::quoted(key)));
    AddedToken token;
    std::int64_t id = -1;
    const auto [stop, problem] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (problem != std::errc{} || stop != key.data() + key.size() || id < 0 || id > kMaxTokenId)
      fail(ErrorCode::bad_file, "{}: wanted an id from 0 to {}", item.path(), kMaxTokenId);
    token.id = static_cast<TokenId>(id);
    token.special = item.flag("special", true);
    token.single_word = item.flag("single_word", false);
    token.left_strip = item.flag("lstrip", false);
    token.right_strip = item.flag("rstrip", false);
    token.normalized = item.flag("normalized", false);
    impl.add_token(token, item.at("content").text(), item.path());
  }
}

}  // namespace

Result<Tokenizer> parse_tiktoken(std::string_view ranks, const std::string& ranks_file, std::string_view config,
                                 const std::string& config_file) {
  try {
    auto impl = std::make_shared<Tokenizer::Impl>();
    Bpe bpe;
    bpe.by_rank = true;
    read_ranks(ranks, ranks_file, bpe);
    bpe.prepare();
    impl->model = std::move(bpe);
    impl->kimi_split = true;
    impl->decode_steps.emplace_back().kind = DecodeStep::Kind::raw_bytes;
    read_special(config, config_file, *impl);
    impl->finish();
    return Tokenizer(std::move(impl));
  } catch (const Error& error) {
    return error;
  }
}

Result<Tokenizer> load_tiktoken(const std::string& folder) {
  const std::string ranks_file = folder + "/tiktoken.model", config_file = folder + "/tokenizer_config.json";
  const auto ranks = read_file(ranks_file, kModelBytes);
  if (!ranks) return ranks.error();
  const auto config = read_file(config_file, kConfigBytes);
  if (!config) return config.error();
  return parse_tiktoken(*ranks, ranks_file, *config, config_file);
}

}  // namespace tap
