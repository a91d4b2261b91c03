// tapetum tokenize MODEL [TEXT|-]
#include <algorithm>

#include <fmt/format.h>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "io/embedded.h"
#include "text/tokenizer.h"

namespace tap::cli {

namespace {

constexpr std::size_t text_limit_bytes = std::size_t{256} << 20;

std::vector<TokenId> parse_ids(const std::string& text, Dim size) {
  std::vector<TokenId> ids;
  std::size_t at = 0;
  while ((at = text.find_first_not_of(" \t\r\n,[]", at)) != std::string::npos) {
    const std::size_t end = std::min(text.size(), text.find_first_of(" \t\r\n,[]", at));
    const std::string word = text.substr(at, end - at);
    const bool number = word.size() <= 10 && word.find_first_not_of("0123456789") == std::string::npos;
    const long long id = number ? std::stoll(word) : -1;
    if (id < 0 || id >= size)
      throw Error(ErrorCode::bad_input, fmt::format("\"{}\" is no token id: they go from 0 to {}", word, size - 1),
                  word);
    ids.push_back(static_cast<TokenId>(id));
    at = end;
  }
  return ids;
}

}  // namespace

int run_tokenize(const Options& options) {
  if (options.words.empty() || options.words.size() > 2)
    fail(ErrorCode::usage, "tokenize takes a model and a text, got {} words; see tapetum tokenize --help",
         options.words.size());
  const Tokenizer tokenizer = Tokenizer::load(model_folder(options.words[0])).value();
  const bool from_stdin = options.words.size() == 1 || options.words[1] == "-";
  const std::string text = from_stdin ? read_file("-", text_limit_bytes).value() : options.words[1];
  const std::vector<TokenId> ids = options.decode ? parse_ids(text, tokenizer.size()) : tokenizer.encode(text);
  if (options.decode && !options.json) {
    write_out(tokenizer.decode(ids) + "\n");
  } else if (options.json) {
    std::vector<std::string> tokens;
    for (const TokenId id : ids) tokens.push_back(tokenizer.token_text(id));
    Json result = {{"ids", ids}, {"tokens", tokens}};
    if (options.decode) result["text"] = tokenizer.decode(ids);
    write_json(result);
  } else {
    write_out(fmt::format("{}\n", fmt::join(ids, " ")));
  }
  return 0;
}

}  // namespace tap::cli
