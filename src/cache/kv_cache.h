// Keys and values of past tokens, one contiguous block per sequence. What attention sees is a KvView, so that a paged
// or a ring cache can take this one's place.
#pragma once

#include <memory>
#include <vector>

#include "ops/batch.h"
#include "tensor/tensor.h"

namespace tap {

struct KvShape {
  Dim layers = 0, kv_heads = 0, head_dim = 0;
  Dim row_elements() const { return kv_heads * head_dim; }
};

class KvCache;

// One layer's part of a cache: what a decoder layer is handed.
class KvLayer {
 public:
  // Writes rows [begin, end) of k and v ([t, kv_heads, head_dim] f32) of every sequence of the batch behind its `past`
  // rows, and returns all rows of those sequences. Sequence i of the batch is sequence i of the cache. Throws
  // Error(limit) beyond `limit` rows, Error(internal) when `past` lies beyond what was written.
  KvView append(const Tensor& k, const Tensor& v, const Batch& batch);

 private:
  friend class KvCache;
  KvLayer(KvCache& cache, Dim layer) : cache_(&cache), layer_(layer) {}
  KvCache* cache_;
  Dim layer_;
};

class KvCache {
 public:
  // `type`: f32 or bf16. `limit`: most rows a sequence may hold. Memory is taken from the arena as sequences grow, by
  // doubling.
  KvCache(const KvShape& shape, DType type, Dim limit, Dim sequences = 1);
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  const KvShape& shape() const { return shape_; }
  DType type() const { return type_; }
  Dim limit() const { return limit_; }
  Dim sequences() const { return static_cast<Dim>(sequences_.size()); }
  Dim rows(Dim sequence = 0) const;          // rows that every layer holds
  void reserve(Dim rows, Dim sequence = 0);  // so that no step up to `rows` allocates
  // Forgets the rows from `rows` on, in every layer: also what a forward that was interrupted left in some layers only.
  void truncate(Dim rows, Dim sequence = 0);
  Dim bytes() const;  // memory held
  KvLayer layer(Dim index) { return {*this, index}; }

 private:
  friend class KvLayer;
  struct Sequence {
    std::shared_ptr<Storage> storage;  // [layers, 2, capacity, kv_heads, head_dim]
    Dim capacity = 0;
    std::vector<Dim> rows;  // per layer
  };
  std::byte* at(const Sequence& sequence, Dim layer, int part, Dim row) const;
  KvShape shape_;
  DType type_;
  Dim limit_;
  std::vector<Sequence> sequences_;
};

// The cache's layer, or null for a forward without one (training: these tokens only).
class LayerOf {
 public:
  LayerOf(KvCache* cache, Dim index) : cache_(cache), index_(index) {}
  KvView operator()(const Tensor& k, const Tensor& v, const Batch& batch) const {
    return cache_ ? cache_->layer(index_).append(k, v, batch) : KvView{k, v};
  }

 private:
  KvCache* cache_;
  Dim index_;
};

}  // namespace tap
