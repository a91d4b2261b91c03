// Keys and values of past tokens, one contiguous block per sequence for the layers that see all of them and one for
// those that look back a window only. The first rows of a sequence may lie in blocks of others that began alike. What
// attention sees is a KvView, so that a paged cache can take this one's place.
#pragma once

#include <memory>
#include <vector>

#include "ops/batch.h"
#include "tensor/tensor.h"

namespace tap {

struct KvShape {
  Dim layers = 0, kv_heads = 0, head_dim = 0;
  std::vector<Dim> windows = {};  // per layer: rows that a row sees, itself included; 0 or no entry: all before it
  Dim spare = 512;                // rows that a windowed layer keeps beyond its window: it can go back by so many

  Dim row_elements() const { return kv_heads * head_dim; }
  Dim window(Dim layer) const {
    return static_cast<std::size_t>(layer) < windows.size() ? windows[static_cast<std::size_t>(layer)] : 0;
  }
  Dim windowed_layers() const;
  Dim windowed_rows() const;  // most rows that a windowed layer holds, unless more come at once
};

class KvCache;

// One layer's part of a cache: what a decoder layer is handed.
class KvLayer {
 public:
  // Writes rows [begin, end) of k and v ([t, kv_heads, head_dim] f32) of every sequence of the batch behind its `past`
  // rows, and returns what is held of those sequences: all rows, or in a windowed layer at least the new ones and those
  // that the first of them sees. Sequence i of the batch is sequence i of the cache. Throws Error(limit) beyond `limit`
  // rows, Error(internal) when `past` lies beyond what was written or before what is held.
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
  // `prompt` rows come and an answer of up to `total - prompt`: reserves what first_rows says, and `total` at once when
  // that is used up.
  void expect(Dim prompt, Dim total, Dim sequence = 0);
  // Most answers are short: room for 128 rows of it, unless all of it is little more.
  static Dim first_rows(Dim prompt, Dim total) {
    const Dim first = prompt + 128;
    return 2 * first < total ? first : total;
  }
  // Forgets the rows from `rows` on, in every layer: also what a forward that was interrupted left in some layers only.
  // Gives the rows that a forward can go on from: none when a windowed layer no longer holds what the next row sees.
  Dim truncate(Dim rows, Dim sequence = 0);
  // Sequence `to` becomes the first `rows` rows of `from`: where they are many, whole blocks of attention_block_keys
  // are shared, so that they are held and read once for both, and the rest is copied. Attention gives the same bits
  // either way. Not where a layer is windowed: false, and nothing is done.
  bool copy(Dim from, Dim to, Dim rows);
  Dim bytes() const;  // memory held, what is shared once
  KvLayer layer(Dim index) { return {*this, index}; }

 private:
  friend class KvLayer;
  struct Block {
    std::shared_ptr<Storage> storage;  // [layers of its kind, 2, kv_heads, capacity, head_dim]
    Dim capacity = 0;
    Dim first = 0;  // row of the sequence that lies first in it; of a windowed block the bases say it
  };
  struct SharedRows {
    Block block;  // of another sequence once: nobody writes its rows [block.first, end) any more
    Dim end;
  };
  struct Sequence {
    std::vector<SharedRows> shared;  // in order, before the rows of `full`
    Block full, windowed;
    Dim lent = 0;            // others may see the rows of `full` before this one
    Dim expected = 0;        // rows; 0: not known
    std::vector<Dim> rows;   // per layer: those that were written, forgotten ones included
    std::vector<Dim> bases;  // per layer: how many of them are forgotten, 0 unless it is windowed
    Block& block(bool is_windowed) { return is_windowed ? windowed : full; }
    const Block& block(bool is_windowed) const { return is_windowed ? windowed : full; }
  };
  std::byte* at(const Block& block, Dim layer, int part, Dim head, Dim row) const;
  std::byte* at(const Sequence& sequence, Dim layer, int part, Dim head, Dim row) const;
  Block allocate(bool is_windowed, Dim capacity, Dim first) const;
  void grow(Sequence& sequence, Dim total);
  void grow_windowed(Sequence& sequence, Dim capacity);
  void copy_rows(const Block& from, const Block& to, Dim begin, Dim end) const;
  static Dim cut(std::vector<SharedRows>& shared, Dim rows);
  Dim go_back(Sequence& sequence, Dim rows) const;
  void make_room(Sequence& sequence, Dim layer, Dim past, Dim count);
  static Dim read_by_others(const Sequence& sequence);
  void write(const float* from, Dim count, std::byte* to) const;  // in `type`
  KvShape shape_;
  DType type_;
  Dim limit_;
  std::vector<Dim> place_;  // of each layer among those of its kind
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
