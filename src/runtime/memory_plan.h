// How much memory a run takes at most, and how long it may take, from headers and configuration alone: what --dry-run,
// admission and `show` say. The weights are those that the family's own network asks for, made without their numbers.
#pragma once

#include <cstdint>
#include <functional>
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

  Dim cache_bytes(Dim rows) const;  // of a sequence of so many rows
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

// What is resident now, before anything is computed, and what the first computation brings in: code, libraries that
// open late, the stacks of the threads.
Dim program_bytes();

struct RunSize {
  std::vector<PromptSize> prompts;  // in order, one conversation after the other
  Dim max_tokens = 0;
  Dim context = 0;    // 0: the model's
  Dim sequences = 1;  // computed at once
};

// Sequences to compute at once when nobody says: as many as have their caches in a quarter of what weights leave, at
// most 16. Whatever the prompts: a picture takes 4096 tokens here, as large ones do.
Dim default_sequences(const NetworkPlan& network, Dim max_tokens, Dim context, const MemoryLimits& limits);

struct MemoryPlan {  // bytes
  Dim program = 0;   // what the process holds before the weights: code, libraries, tokenizer
  Dim weights = 0, cache = 0, features = 0, scratch = 0, pictures = 0;
  Dim needed() const { return weights + cache + features + scratch + pictures; }  // beyond the program
  Dim total() const { return program + needed(); }
};

// `program`: program_bytes(), or 0 where only what is needed beyond it counts.
MemoryPlan plan_memory(const NetworkPlan& network, const RunSize& run, Dim program);

// Throws Error(out_of_memory) when the run's plan needs more than is available: with its parts, and what would fit.
// `smaller`: gives the network in q4, if that is another; asked only for the advice.
void admit(const NetworkPlan& network, const RunSize& run, const MemoryLimits& limits,
           const std::function<std::optional<NetworkPlan>()>& smaller);

}  // namespace tap
