// A tiktoken.model, and after a NUL its tokenizer_config.json.
#include "fuzz.h"
#include "text/tokenizer_impl.h"

namespace {

using namespace tap;

void run(fuzz::Bytes bytes) {
  const std::string_view text = fuzz::text_of(bytes);
  const std::size_t end = text.find('\0');
  const std::string_view config =
      end == std::string_view::npos ? R"({"added_tokens_decoder": {"300": {"content": "<|im_end|>", "special": true}}})"
                                    : text.substr(end + 1);
  const auto tokenizer = parse_tiktoken(text.substr(0, end), "tiktoken.model", config, "tokenizer_config.json");
  if (!tokenizer) return fuzz::require_readable(tokenizer.error());
  for (const TokenId id : tokenizer->encode("It's 1234 \xE6\xBC\xA2\xE5\xAD\x97 \xF0\x9F\x98\x80<|im_end|>\n"))
    fuzz::require(id >= 0 && id < tokenizer->size(), "ids lie inside the vocabulary");
}

const fuzz::FuzzTarget target("tiktoken", run);

}  // namespace
