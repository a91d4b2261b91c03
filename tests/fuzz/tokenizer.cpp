// A tokenizer.json, and texts through the tokenizer that it makes.
#include "fuzz.h"
#include "text/tokenizer.h"

namespace {

using namespace tap;

void run(fuzz::Bytes bytes) {
  const auto tokenizer = Tokenizer::from_json(fuzz::text_of(bytes), "tokenizer.json");
  if (!tokenizer) return fuzz::require_readable(tokenizer.error());
  constexpr std::string_view texts[] = {"The cat's 3 hats", "a\tb\n\n  \xF0\x9F\x98\x80\xE2\x96\x81<0x41>",
                                        "\xFF<s>\xC3"};
  for (const std::string_view text : texts) {
    const TextSpan spans[] = {{"<s>User:", true}, {std::string(text), false}};
    try {
      const auto ids = tokenizer->encode(std::span<const TextSpan>(spans), true);
      StreamDecoder stream(*tokenizer, false);
      std::string streamed;
      for (const TokenId id : ids) {
        fuzz::require(id >= 0 && id < tokenizer->size(), "ids lie inside the vocabulary");
        streamed += stream.push(id);
      }
      streamed += stream.finish();
      fuzz::require(streamed == tokenizer->decode(ids), "streamed text is the decoded text");
    } catch (const Error& error) {  // an expression that hits its step limit
      fuzz::require_readable(error);
    }
  }
}

const fuzz::FuzzTarget target("tokenizer", run);

}  // namespace
