// The work that speeds are measured on, piece by piece and timed: pseudo-random pictures and ids of a loaded model.
// `tapetum bench` puts a model's figures together from it, bench/steps hands single pieces to scripts that compare.
#pragma once

#include <memory>

#include "runtime/model.h"

namespace tap {

class Workload {
 public:
  // Pictures are one tile, or where they keep their own size squares of `picture_px`. The model must outlive it.
  explicit Workload(const Model& model, Dim picture_px = 1024);

  bool sees() const { return processor_ != nullptr; }
  const ImagePlan& plan() const { return plan_; }  // of the picture
  double first_token_s();  // from the question about the picture (or about none) to its answer's first token
  // Seconds of one pass each; nothing is warmed up before.
  double encode_s(Dim pictures = 1);  // so many different pictures of one tile as one, where a family batches them
  double prefill_s(Dim tokens);       // ends with the last row's logits
  double decode_s(Dim context, Dim steps = 16);  // of one step behind `context` tokens
  // Of one step that gives a token to each; `shared`: one sequence's context is everybody's.
  double batch_s(Dim users, Dim context, bool shared = false, Dim steps = 8);
  Dim cache_bytes() const;  // of the keys and values held by the last prefill or decode

 private:
  struct Held {  // a cache and how much of it is filled
    std::unique_ptr<KvCache> cache;
    Dim rows = 0;
  };
  Tensor forward(Held& held, Dim tokens);
  void fill(Held& held, Dim context);
  const Model* model_;
  std::unique_ptr<Processor> processor_;
  std::shared_ptr<const Image> picture_;
  ImagePlan plan_;
  Tensor pixels_;
  bool tiled_ = false;  // the checkpoint's own processor makes more of the picture than `plan_`
  Held one_;
};

}  // namespace tap
