// A conversation with a model: its cache, its pictures, its answers. One thread at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "runtime/answer.h"
#include "runtime/forward_input.h"
#include "runtime/picture_encoder.h"
#include "runtime/row_keys.h"

namespace tap {

class Session;

// One answer, token by token. The session must outlive it; starting another answer ends it.
class Generation {
 public:
  // The next token, or nothing when finished. The first call encodes and prefills. Throws what compute throws; after
  // Error(cancelled) `finish_reason()` is cancelled and the session stays usable.
  std::optional<TokenEvent> next();
  // Text still held back, once next() has given nothing.
  std::string rest() { return loop_.rest(); }
  FinishReason finish_reason() const { return loop_.finish_reason(); }
  const Timings& timings() const { return timings_; }
  const PreparedPrompt& prepared() const { return prepared_; }
  const std::vector<TokenId>& output() const { return loop_.output(); }  // end token included
  const TokenLoop& loop() const { return loop_; }
  const std::string& stop_string() const { return loop_.stop_string(); }
  const Tensor& last_logits() const { return logits_; }  // [1, vocab] of the newest token's choice

 private:
  friend class Session;
  Generation(Session& session, PreparedPrompt prepared, const GenerateOptions& options);
  std::optional<TokenEvent> step();
  void forward();
  Session* session_;
  std::uint64_t turn_;
  PreparedPrompt prepared_;
  TokenLoop loop_;
  Drafter drafter_;
  Tensor rows_;          // logits of the newest forward: of the newest token then, and of those drafted behind it
  Dim row_ = 0;          // the next of them
  bool agreed_ = false;  // it stands behind the newest token
  Tensor logits_;
  Stopwatch since_ask_;
  Timings timings_;
};

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
  Dim cached_rows() const { return static_cast<Dim>(cached_.size()); }
  Dim pictures_encoded() const { return encoder_.encoded(); }  // since the session began
  const std::shared_ptr<FeatureCache>& features() const { return encoder_.features(); }
  // Feature rows of one picture, from the cache or computed.
  Tensor features_of(const Image& image, const ImagePlan& plan, Timings* timings = nullptr);
  // log P(the answer is these tokens and then ends | the prompt), by teacher forcing; ends at any of the end tokens.
  // Ends an answer that is going on; what is cached of the prompt is reused.
  double log_probability(const PreparedPrompt& prepared, std::span<const TokenId> answer);
  void clear();  // forgets the conversation, keeps encoded pictures

 private:
  friend class Generation;
  // Logits of the last row [1, vocab]; `more_rows` of answer are expected behind them (KvCache::expect).
  Tensor prefill(const PreparedPrompt& prepared, Dim more_rows, Timings& timings);
  // Logits [n, vocab] of the newest token and of those drafted behind it. Only the newest one counts as cached; the
  // others do as keep() takes them.
  Tensor decode(std::span<const TokenId> ids, std::int32_t position, std::size_t axes);
  void keep(TokenId id) { cached_.push_back({.id = id}); }
  void recover();  // drops what an interrupted forward or a wrong draft left behind
  const Model* model_;
  Dim context_;
  PictureEncoder encoder_;
  KvCache cache_;
  std::vector<RowKey> cached_;  // one per cached row that counts
  std::uint64_t turn_ = 0;
};

// The whole answer at once.
Answer answer(Session& session, const Conversation& conversation, const GenerateOptions& options);

}  // namespace tap
