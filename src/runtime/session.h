// A conversation with a model: its cache, its pictures, its answers. One thread at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "runtime/feature_cache.h"
#include "runtime/model.h"
#include "runtime/sampler.h"
#include "runtime/stop_matcher.h"
#include "runtime/timings.h"

namespace tap {

struct GenerateOptions {
  Dim max_tokens = 512;           // cut to what the context leaves; at least 1
  SamplingOptions sampling;       // start from Model::sampling_defaults()
  std::vector<std::string> stop;  // matched over text, across token borders; not part of the answer
  bool ignore_end = false;        // do not stop at end tokens (goldens)
};

enum class FinishReason : std::uint8_t { none, stop, length, cancelled };
std::string_view name(FinishReason reason);  // "stop"

struct TokenEvent {
  TokenId id = 0;
  std::string text;  // safe to print now; may be empty (half a character, a possible stop string, an end token)
  float logprob = 0;
  bool is_end = false;  // an end token
};

class Session;

// One answer, token by token. The session must outlive it; starting another answer ends it.
class Generation {
 public:
  // The next token, or nothing when finished. The first call encodes and prefills. Throws what compute throws; after
  // Error(cancelled) `finish_reason()` is cancelled and the session stays usable.
  std::optional<TokenEvent> next();
  // Text still held back, once next() has given nothing.
  std::string rest() { return std::exchange(rest_, {}); }
  FinishReason finish_reason() const { return finish_; }
  const Timings& timings() const { return timings_; }
  const PreparedPrompt& prepared() const { return prepared_; }
  const std::vector<TokenId>& output() const { return output_; }  // end token included
  const std::string& stop_string() const { return stop_.matched(); }
  const Tensor& last_logits() const { return logits_; }  // [1, vocab] of the newest token's choice

 private:
  friend class Session;
  Generation(Session& session, PreparedPrompt prepared, GenerateOptions options);
  std::optional<TokenEvent> step();
  void finish(FinishReason reason);
  Session* session_;
  std::uint64_t turn_;
  PreparedPrompt prepared_;
  GenerateOptions options_;
  Sampler sampler_;
  Rng rng_;
  StreamDecoder decoder_;
  StopMatcher stop_;
  std::vector<TokenId> output_;
  Tensor logits_;
  std::string rest_;
  std::int32_t next_position_ = 0;
  Stopwatch since_ask_;
  Timings timings_;
  FinishReason finish_ = FinishReason::none;
};

constexpr Dim session_pixel_elements = Dim{1} << 20;  // of tiles in memory as floats at a time, at least one tile
constexpr Dim session_prefill_rows = 512;  // a forward: enough to keep the products busy, few enough to be interrupted

struct SessionOptions {
  Dim context = 0;                         // 0 = the model's
  std::shared_ptr<FeatureCache> features;  // shared between sessions; null = its own
};

class Session {
 public:
  explicit Session(const Model& model, SessionOptions options = {});
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Checks options and lengths and lays the prompt out; compute starts with the first next().
  // Throws Error(limit) naming both numbers when prompt and at least one token do not fit the context.
  Generation ask(const Conversation& conversation, const GenerateOptions& options);
  Generation ask(PreparedPrompt prepared, const GenerateOptions& options);

  const Model& model() const { return *model_; }
  Dim context() const { return context_; }
  Dim cached_rows() const { return cache_.rows(); }
  Dim pictures_encoded() const { return pictures_encoded_; }  // since the session began
  const std::shared_ptr<FeatureCache>& features() const { return features_; }
  // Feature rows of one picture, from the cache or computed.
  Tensor features_of(const Image& image, const ImagePlan& plan, Timings* timings = nullptr);
  void clear();  // forgets the conversation, keeps encoded pictures

 private:
  friend class Generation;
  // What a cached row was made of: equal rows at equal places can be reused.
  struct RowKey {
    TokenId id;
    std::int32_t picture;  // index into pictures_, -1 = text
    std::int32_t row;      // row within the picture
    bool operator==(const RowKey&) const = default;
  };
  std::vector<RowKey> keys_of(const PreparedPrompt& prepared, std::vector<PictureKey>& keys);
  Tensor features_of(const PictureKey& key, const Image& image, const ImagePlan& plan, Timings* timings);
  // Logits of the last row [1, vocab]; room for `more_rows` of answer is reserved, so that no later step allocates.
  Tensor prefill(const PreparedPrompt& prepared, Dim more_rows, Timings& timings);
  Tensor decode(TokenId id, std::int32_t position, std::size_t axes);
  void recover();  // drops what an interrupted forward left behind
  const Model* model_;
  Dim context_;
  std::shared_ptr<FeatureCache> features_;
  KvCache cache_;
  std::vector<RowKey> cached_;        // one per cached row
  std::vector<PictureKey> pictures_;  // every picture this session has seen
  Dim pictures_encoded_ = 0;
  std::uint64_t turn_ = 0;
};

// The whole answer at once.
struct Answer {
  std::string text;  // without white space at its ends
  FinishReason finish_reason = FinishReason::none;
  std::vector<TokenId> tokens;
  Timings timings;
  std::string prompt_sent;
};
Answer answer(Session& session, const Conversation& conversation, const GenerateOptions& options);

}  // namespace tap
