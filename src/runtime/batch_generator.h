// Many answers at once: one ragged forward per step holds the prompts that are being read and the newest token of every
// answer that is being written; a sequence that ends makes room at once. One thread at a time.
//
// Each answer is what a Session of its own gives: equal to the bit with q8 weights, within tolerance otherwise
// (products of one row and of many round differently).
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

struct BatchOptions {
  Dim sequences = 8;               // answers at once, at least 1
  Dim context = 0;                 // rows of one sequence; 0 = the model's
  Dim rows_per_step = 2048;        // of prompts in one forward; one chunk is always taken
  Dim rows_beside = prefill_rows;  // the same while others are being answered, who wait for it
  // Beginnings that prompts of one owner have in common are computed once. What stands behind them is then computed in
  // other pieces than alone: the same within rounding, no more to the bit.
  bool share_prefixes = false;
  std::shared_ptr<FeatureCache> features;  // null = its own
};

// A prompt for a batch, with what its preparation could find out already.
struct BatchRequest {
  PreparedPrompt prepared;
  GenerateOptions generate;
  std::string owner = {};                 // what is cached for one is never used for another
  std::vector<PictureKey> pictures = {};  // media_keys(prepared); empty: found out here
};

class BatchGenerator {
 public:
  using Id = std::size_t;  // of a request, counted from 0

  struct Event {
    Id id = 0;
    TokenEvent token;
    Tensor logits;  // [1, vocab] that the token was chosen from
  };
  // An answer that ended, or the Error that ended it: of this request only.
  struct Finished {
    Id id = 0;
    Answer answer;
    std::string rest;  // text at its end that no event gave
    std::optional<Error> error;
  };
  struct Step {
    std::vector<Event> events;       // in order of the sequences
    std::vector<Finished> finished;  // likewise
  };

  explicit BatchGenerator(const Model& model, BatchOptions options = {});
  ~BatchGenerator();
  BatchGenerator(const BatchGenerator&) = delete;
  BatchGenerator& operator=(const BatchGenerator&) = delete;

  bool has_room() const;
  bool idle() const;  // nothing to do
  // Takes a request, when there is room. With share_prefixes, what its prompt has in common with one of the same owner
  // that is, or lately was, in the batch is not computed again. Its pictures are encoded here and let go, so that only
  // one request's pixels are in memory at a time. Throws what Session::ask and encoding throw; the others go on.
  Id add(const Conversation& conversation, const GenerateOptions& options);
  Id add(PreparedPrompt prepared, const GenerateOptions& options);
  Id add(BatchRequest request);
  // One forward, or the next token of a draft that one has checked. Throws Error(cancelled) when the context was
  // cancelled, and bad_alloc when nothing can be begun: nothing is lost, the next step() does the same work again. Any
  // other failure of the shared forward is tried on each sequence alone and ends those that fail.
  Step step();
  // Ends a request without an answer: false when it is not (or no longer) here.
  bool cancel(Id id);

  const Model& model() const { return *model_; }
  Dim context() const { return context_; }
  Dim sequences() const { return cache_.sequences(); }
  Dim pictures_encoded() const { return encoder_.encoded(); }

 private:
  struct Request;
  struct Share;
  // What the rows of a sequence were made of: of its prompt while it is answered, of all that count once it is free.
  struct Held {
    std::vector<RowKey> keys;
    std::string owner;
    Id last = 0;  // request
  };
  Id add(BatchRequest request, const Stopwatch& since);
  Dim place_of(const Prompt& prompt, const Held& wanted, Dim& reused);
  void free(Dim sequence) noexcept;
  Dim rows_that_count(Dim sequence) const;
  std::vector<Share> shares();
  void forward(std::span<Share> shares);
  void fail_request(Dim sequence, const Error& error, Step& step) noexcept;
  void take(Dim sequence, Step& step);
  void roll_back();
  const Model* model_;
  Dim context_, rows_per_step_, rows_beside_;
  bool share_prefixes_;
  PictureEncoder encoder_;
  KvCache cache_;
  std::vector<std::unique_ptr<Request>> running_;  // by sequence of the cache; null = free
  std::vector<Held> held_;                         // by sequence
  Id next_id_ = 0;
};

}  // namespace tap
