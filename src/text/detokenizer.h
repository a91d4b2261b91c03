// Decoders of tokenizer.json as a chain that takes one token at a time: decoding a list and streaming it are the same
// code.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/pretokenize_regex.h"

namespace tap {

struct DecodeStep {
  enum class Kind {
    byte_level,
    raw_bytes,
    replace_text,
    replace_regex,
    byte_fallback,
    fuse,
    strip,
    metaspace,
    join_with_spaces
  };
  Kind kind = Kind::fuse;
  std::string pattern, content;  // replace; content: strip's character, metaspace's replacement
  std::optional<TokenRegex> regex;
  std::size_t start = 0, stop = 0;  // strip: at most so many characters
  bool drop_first = true;           // metaspace: the first token's replacements vanish
  bool fused = false;               // all that comes in is one text (set by check_decode_steps)
};

// Marks what stands after Fuse. An Error when a step would have to see whole tokens there.
Result<bool> check_decode_steps(std::vector<DecodeStep>& steps, std::string_view where);

class DecodeChain {
 public:
  explicit DecodeChain(const std::vector<DecodeStep>& steps) : steps_(&steps), states_(steps.size()) {}
  void push(std::string_view token, std::string& out) { push(0, token, out); }
  void finish(std::string& out);  // the chain is then as new

 private:
  struct State {
    bool started = false;
    std::size_t dropped = 0;
    std::string held;  // text or bytes that wait for what follows
  };
  void push(std::size_t at, std::string_view token, std::string& out);
  void push_bytes(std::size_t at, std::string_view bytes, std::string& out);
  void push_replace(std::size_t at, std::string_view text, std::string& out);
  void push_strip(std::size_t at, std::string_view text, std::string& out);
  void flush_fallback(std::size_t at, std::string& out);
  const std::vector<DecodeStep>* steps_;
  std::vector<State> states_;
};

}  // namespace tap
