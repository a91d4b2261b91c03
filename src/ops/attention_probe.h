// Where answers look: the attention weights of rows that are computed alone, as those of an answer are, recomputed
// beside the kernel that never holds them.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "ops/ops.h"

namespace tap::ops {

// Softmax weights of one row of the batch over the keys it sees, [end - begin] of its interval, mean over the heads.
std::vector<float> attention_weights(const Tensor& q, const KvView& kv, const Batch& batch,
                                     const AttentionOptions& options, Dim row);

// While one lives, `see` is called by this thread for every attention of a batch of one row: one call a layer.
class AttentionProbe {
 public:
  using See = std::function<void(Interval seen, std::span<const float> weights)>;
  explicit AttentionProbe(See see);
  ~AttentionProbe();
  AttentionProbe(const AttentionProbe&) = delete;
  AttentionProbe& operator=(const AttentionProbe&) = delete;
  static const AttentionProbe* current();  // of this thread, or null
  void look(const Tensor& q, const KvView& kv, const Batch& batch, const AttentionOptions& options) const;

 private:
  See see_;
  const AttentionProbe* previous_;
};

}  // namespace tap::ops
