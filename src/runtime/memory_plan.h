// How much memory a run takes at most, and how long it may take, from headers and configuration alone: what --dry-run,
// admission and `show` say. The weights are those that the family's own network asks for, made without their numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/memory.h"
#include "models/family.h"

namespace tap {

// A network as plans see it.
struct NetworkPlan {
  WeightType type = WeightType::bf16;
  NetworkShape shape;
  KvShape kv;
  DType cache_type = DType::bf16;
  Dim context = 0, vocab = 0;
  Dim packed_bytes = 0;  // the matrices: Weights::packed_bytes() of the loaded model (q8: when no layer stays in bf16)
  Dim tensor_bytes = 0;  // tables, gains and biases
  Dim block_bytes = 0;   // both, as the arena holds them

  Dim cache_row_bytes() const { return 2 * kv.layers * kv.row_elements() * bytes_of(cache_type); }
  // Operations (2 per weight and row, 4 per key, row and width of attention) and bytes read.
  double encode_operations(const ImagePlan& plan) const;
  double prefill_operations(Dim tokens) const;
  double decode_bytes(Dim context) const;  // of one token: the decoder's matrices and the cache
};

// Reads the headers in `files.folder`. Throws what loading would throw of missing and misshapen tensors.
NetworkPlan plan_network(const Family& family, const ModelFiles& files, WeightType type);

// One prompt with its pictures.
struct PromptSize {
  Dim tokens = 0;  // pictures included
  std::vector<ImagePlan> pictures;
};

struct RunSize {
  std::vector<PromptSize> prompts;  // in order, one conversation after the other
  Dim max_tokens = 0;
  Dim context = 0;    // 0: the model's
  Dim sequences = 1;  // computed at once
};

struct MemoryPlan {  // bytes
  Dim program = 0;   // what the process holds before the weights: code, libraries, tokenizer
  Dim weights = 0, cache = 0, features = 0, scratch = 0, pictures = 0;
  Dim cache_row = 0;  // what one more token of every sequence adds to the cache
  Dim needed() const { return weights + cache + features + scratch + pictures; }  // beyond the program
  Dim total() const { return program + needed(); }
};

// `program_bytes`: what is resident now, when nothing has been loaded.
MemoryPlan plan_memory(const NetworkPlan& network, const RunSize& run, Dim program_bytes);

// Throws Error(out_of_memory) with what is needed by part, what is available, and what would fit, when `needed` of the
// plan is more. `smaller`: the same run's plan with q4 weights, if that would be another.
void admit(const MemoryPlan& plan, const RunSize& run, const MemoryLimits& limits,
           const std::optional<MemoryPlan>& smaller);

}  // namespace tap
