#include "cache/kv_cache.h"

#include <algorithm>
#include <cstring>

#include "base/parallel.h"

namespace tap {

KvCache::KvCache(const KvShape& shape, DType type, Dim limit, Dim sequences)
    : shape_(shape), type_(type), limit_(limit), sequences_(static_cast<std::size_t>(std::max<Dim>(sequences, 1))) {
  if (type != DType::f32 && type != DType::bf16)
    fail(ErrorCode::bad_input, "a cache of {}: only f32 and bf16", name(type));
  if (shape.layers < 1 || shape.row_elements() < 1 || limit < 1)
    fail(ErrorCode::bad_input, "a cache of {} layers x {} rows x {} x {}", shape.layers, limit, shape.kv_heads,
         shape.head_dim);
  for (Sequence& sequence : sequences_) sequence.rows.assign(static_cast<std::size_t>(shape.layers), 0);
}

std::byte* KvCache::at(const Sequence& sequence, Dim layer, int part, Dim row) const {
  return sequence.storage->data() +
         ((layer * 2 + part) * sequence.capacity + row) * shape_.row_elements() * bytes_of(type_);
}

Dim KvCache::rows(Dim index) const {
  const Sequence& sequence = sequences_.at(static_cast<std::size_t>(index));
  return *std::min_element(sequence.rows.begin(), sequence.rows.end());
}

Dim KvCache::bytes() const {
  Dim sum = 0;
  for (const Sequence& sequence : sequences_) sum += sequence.storage ? static_cast<Dim>(sequence.storage->bytes()) : 0;
  return sum;
}

void KvCache::reserve(Dim rows, Dim index) {
  Sequence& sequence = sequences_.at(static_cast<std::size_t>(index));
  if (rows > limit_) fail(ErrorCode::limit, "the cache holds at most {} tokens, {} are wanted", limit_, rows);
  if (rows <= sequence.capacity) return;
  Sequence grown;
  grown.capacity = std::min(limit_, std::max({rows, 2 * sequence.capacity, Dim{64}}));
  const auto bytes = checked_mul(2 * shape_.layers, grown.capacity * shape_.row_elements() * bytes_of(type_));
  if (!bytes) fail(ErrorCode::limit, "a cache of {} tokens is too large", grown.capacity);
  grown.storage = Storage::allocate(static_cast<std::size_t>(*bytes));
  grown.rows = sequence.rows;
  for (Dim layer = 0; layer < shape_.layers; ++layer)
    for (int part = 0; part < 2; ++part)
      if (const Dim held = sequence.rows[static_cast<std::size_t>(layer)]; held > 0)
        std::memcpy(at(grown, layer, part, 0), at(sequence, layer, part, 0),
                    static_cast<std::size_t>(held * shape_.row_elements() * bytes_of(type_)));
  sequence = std::move(grown);
}

void KvCache::truncate(Dim rows, Dim index) {
  for (Dim& held : sequences_.at(static_cast<std::size_t>(index)).rows) held = std::min(held, std::max<Dim>(rows, 0));
}

KvView KvLayer::append(const Tensor& k, const Tensor& v, const Batch& batch) {
  KvCache& cache = *cache_;
  const KvShape& shape = cache.shape_;
  require_shape("cache", "keys", k, {batch.rows(), shape.kv_heads, shape.head_dim});
  require_shape("cache", "values", v, {batch.rows(), shape.kv_heads, shape.head_dim});
  TAP_ASSERT(layer_ >= 0 && layer_ < shape.layers);
  if (static_cast<Dim>(batch.sequences.size()) > cache.sequences())
    fail(ErrorCode::internal, "a batch of {} sequences for a cache of {}", batch.sequences.size(), cache.sequences());
  const Dim width = shape.row_elements();
  KvView view;
  view.dtype = cache.type_;
  view.kv_heads = shape.kv_heads;
  view.head_dim = shape.head_dim;
  auto owners = std::make_shared<std::vector<std::shared_ptr<Storage>>>();
  for (std::size_t s = 0; s < batch.sequences.size(); ++s) {
    const Span& span = batch.sequences[s];
    KvCache::Sequence& sequence = cache.sequences_[s];
    if (const Dim held = sequence.rows[static_cast<std::size_t>(layer_)]; span.past > held)
      fail(ErrorCode::internal, "{} cached rows are counted on, layer {} holds {}", span.past, layer_, held);
    const Dim total = span.past + span.rows();
    cache.reserve(total, static_cast<Dim>(s));
    for (int part = 0; part < 2 && span.rows() > 0; ++part) {
      const float* from = (part ? v : k).data<float>() + span.begin * width;
      std::byte* to = cache.at(sequence, layer_, part, span.past);
      parallel_rows(span.rows(), std::max<Dim>(1, Dim{32768} / width), [&](Rows rows) {
        const Dim first = rows.begin * width, count = rows.size() * width;
        if (cache.type_ == DType::f32) {
          std::memcpy(to + first * 4, from + first, static_cast<std::size_t>(count) * 4);
        } else {
          bf16* out = reinterpret_cast<bf16*>(to) + first;
          for (Dim i = 0; i < count; ++i) out[i] = to_bf16(from[first + i]);
        }
      });
    }
    sequence.rows[static_cast<std::size_t>(layer_)] = total;
    KvSequence seen;
    if (total > 0) seen.runs.push_back({cache.at(sequence, layer_, 0, 0), cache.at(sequence, layer_, 1, 0), total});
    view.sequences.push_back(std::move(seen));
    owners->push_back(sequence.storage);
  }
  view.owner = std::move(owners);
  return view;
}

}  // namespace tap
