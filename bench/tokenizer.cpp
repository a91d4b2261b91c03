// How fast a tokenizer loads, encodes and decodes on one core.
// Usage: tokenizer FOLDER TEXT_FILE...   (FOLDER as train_bpe or a checkpoint has it; texts of at least 1 MB tell most)
#include <algorithm>
#include <vector>

#include <fmt/core.h>

#include "base/clock.h"
#include "base/file.h"
#include "text/tokenizer_impl.h"

namespace {

template <class Run>
double best_ms(int rounds, Run&& run) {
  double best = 1e300;
  for (int i = 0; i < rounds; ++i) {
    const tap::Stopwatch watch;
    run();
    best = std::min(best, watch.ms());
  }
  return best;
}

int run(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: tokenizer FOLDER TEXT_FILE...\n");
    return 2;
  }
  const double load_ms = best_ms(5, [&] { (void)tap::Tokenizer::load(argv[1]).value(); });
  const tap::Tokenizer tokenizer = tap::Tokenizer::load(argv[1]).value();
  std::string text;
  for (int i = 2; i < argc; ++i) text += tap::read_file(argv[i], std::size_t{256} << 20).value();
  const double mb = static_cast<double>(text.size()) / 1e6;
  std::vector<tap::TokenId> ids;
  const double encode_ms = best_ms(5, [&] { ids = tokenizer.encode(text); });
  std::string back;
  const double decode_ms = best_ms(5, [&] { back = tokenizer.decode(ids); });
  double stream_ms = best_ms(3, [&] {
    tap::StreamDecoder stream(tokenizer, false);
    back.clear();
    for (const tap::TokenId id : ids) back += stream.push(id);
    back += stream.finish();
  });
  fmt::print("load_ms {:.2f}\nentries {}\ntext_mb {:.2f}\ntokens {}\nbytes_per_token {:.2f}\n", load_ms,
             tokenizer.size(), mb, ids.size(), static_cast<double>(text.size()) / static_cast<double>(ids.size()));
  fmt::print("encode_mb_per_s {:.1f}\ndecode_mb_per_s {:.1f}\nstream_mb_per_s {:.1f}\nround_trip {}\n",
             mb / encode_ms * 1e3, mb / decode_ms * 1e3, mb / stream_ms * 1e3, back == text ? "equal" : "differs");
  const auto steps = [&](std::size_t bytes) {
    std::vector<tap::TokenId> out;
    tap::BpeStats stats;
    tokenizer.impl()->encode(tap::TracedText{std::string(bytes, 'A'), {{bytes, true}}}, false, out, stats);
    return static_cast<double>(stats.steps);
  };
  fmt::print("merge_step_ratio_2mb_of_a {:.3f}\n", steps(2'000'000) / std::max(1.0, steps(1'000'000)));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "tokenizer: {}\n", error.what());
    return 1;
  }
}
