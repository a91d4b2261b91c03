// Where the time of one answer went.
#pragma once

#include "base/dim.h"

namespace tap {

struct Stage {
  double ms = 0;
  Dim tokens = 0;  // tokens of the stage: picture rows, prompt rows computed, tokens generated
  Stage& operator+=(const Stage& other) {
    ms += other.ms;
    tokens += other.tokens;
    return *this;
  }
  double per_second() const { return ms > 0 ? static_cast<double>(tokens) * 1000.0 / ms : 0; }
};

struct Timings {
  Stage load, preprocess, encode, prefill, decode;  // load: ms only; decode: the tokens after the first
  double first_token_ms = 0;                        // from the request to the first token
  Dim prompt_tokens = 0, image_tokens = 0;          // of the whole prompt; image tokens are part of it
  Dim cached_tokens = 0;                            // prompt rows that were in the cache already
  Dim output_tokens = 0;
  Dim drafted_tokens = 0, accepted_tokens = 0;  // looked up and checked; of them those that spared a forward
  // Of several questions one after the other; the first token is that of the first one.
  Timings& operator+=(const Timings& other) {
    load.ms = other.load.ms;
    preprocess += other.preprocess;
    encode += other.encode;
    prefill += other.prefill;
    decode += other.decode;
    if (first_token_ms == 0) first_token_ms = other.first_token_ms;
    prompt_tokens += other.prompt_tokens;
    image_tokens += other.image_tokens;
    cached_tokens += other.cached_tokens;
    output_tokens += other.output_tokens;
    drafted_tokens += other.drafted_tokens;
    accepted_tokens += other.accepted_tokens;
    return *this;
  }
};

}  // namespace tap
