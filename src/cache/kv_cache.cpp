#include "cache/kv_cache.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/parallel.h"
#include "base/profile.h"

namespace tap {

Dim KvShape::windowed_layers() const {
  return std::count_if(windows.begin(), windows.end(), [](Dim window) { return window > 0; });
}

Dim KvShape::windowed_rows() const {
  return windows.empty() ? 0 : *std::max_element(windows.begin(), windows.end()) + 2 * spare;
}

KvCache::KvCache(const KvShape& shape, DType type, Dim limit, Dim sequences)
    : shape_(shape), type_(type), limit_(limit), sequences_(static_cast<std::size_t>(std::max<Dim>(sequences, 1))) {
  if (type != DType::f32 && type != DType::bf16)
    fail(ErrorCode::bad_input, "a cache of {}: only f32 and bf16", name(type));
  if (shape.layers < 1 || shape.row_elements() < 1 || limit < 1)
    fail(ErrorCode::bad_input, "a cache of {} layers x {} rows x {} x {}", shape.layers, limit, shape.kv_heads,
         shape.head_dim);
  if (static_cast<Dim>(shape.windows.size()) > shape.layers || shape.spare < 1)
    fail(ErrorCode::bad_input, "a cache of {} layers with {} windows and {} spare rows", shape.layers,
         shape.windows.size(), shape.spare);
  std::array<Dim, 2> counts{};
  for (Dim layer = 0; layer < shape.layers; ++layer) place_.push_back(counts[shape.window(layer) > 0]++);
  for (Sequence& sequence : sequences_) {
    sequence.rows.assign(static_cast<std::size_t>(shape.layers), 0);
    sequence.bases.assign(static_cast<std::size_t>(shape.layers), 0);
  }
}

std::byte* KvCache::at(const Sequence& sequence, Dim layer, int part, Dim head, Dim row) const {
  const auto i = static_cast<std::size_t>(layer);
  const Block& block = sequence.block(shape_.window(layer) > 0);
  return block.storage->data() +
         (((place_[i] * 2 + part) * shape_.kv_heads + head) * block.capacity + row - sequence.bases[i]) *
             shape_.head_dim * bytes_of(type_);
}

Dim KvCache::rows(Dim index) const {
  const Sequence& sequence = sequences_.at(static_cast<std::size_t>(index));
  return *std::min_element(sequence.rows.begin(), sequence.rows.end());
}

Dim KvCache::bytes() const {
  Dim sum = 0;
  for (const Sequence& sequence : sequences_)
    for (const Block* block : {&sequence.full, &sequence.windowed})
      sum += block->storage ? static_cast<Dim>(block->storage->bytes()) : 0;
  return sum;
}

void KvCache::reserve(Dim rows, Dim index) {
  Sequence& sequence = sequences_.at(static_cast<std::size_t>(index));
  if (rows > limit_) fail(ErrorCode::limit, "the cache holds at most {} tokens, {} are wanted", limit_, rows);
  if (rows <= sequence.full.capacity) return;
  const Dim capacity = rows <= sequence.expected
                           ? sequence.expected
                           : std::min(limit_, std::max({rows, 2 * sequence.full.capacity, Dim{64}}));
  grow(sequence, true, std::min(capacity, shape_.windowed_rows()));
  grow(sequence, false, capacity);
}

void KvCache::expect(Dim prompt, Dim total, Dim index) {
  Sequence& sequence = sequences_.at(static_cast<std::size_t>(index));
  total = std::min(total, limit_);
  sequence.expected = 0;
  reserve(first_rows(prompt, total), index);
  sequence.expected = total;
}

void KvCache::grow(Sequence& sequence, bool is_windowed, Dim capacity) {
  const Dim windowed = shape_.windowed_layers(), layers = is_windowed ? windowed : shape_.layers - windowed;
  if (capacity <= sequence.block(is_windowed).capacity) return;
  Block block{nullptr, capacity};
  if (layers > 0) {
    const auto bytes = checked_mul(2 * layers, capacity * shape_.row_elements() * bytes_of(type_));
    if (!bytes) fail(ErrorCode::limit, "a cache of {} tokens is too large", capacity);
    block.storage = Storage::allocate(static_cast<std::size_t>(*bytes));
  }
  Sequence grown = sequence;
  grown.block(is_windowed) = block;
  for (Dim layer = 0; layer < shape_.layers; ++layer) {
    const auto i = static_cast<std::size_t>(layer);
    const Dim base = sequence.bases[i], held = sequence.rows[i] - base;
    if ((shape_.window(layer) > 0) != is_windowed || held == 0) continue;
    for (int part = 0; part < 2; ++part)
      for (Dim head = 0; head < shape_.kv_heads; ++head)
        std::memcpy(at(grown, layer, part, head, base), at(sequence, layer, part, head, base),
                    static_cast<std::size_t>(held * shape_.head_dim * bytes_of(type_)));
  }
  sequence = std::move(grown);
}

Dim KvCache::truncate(Dim rows, Dim index) {
  Sequence& sequence = sequences_.at(static_cast<std::size_t>(index));
  Dim kept = std::clamp<Dim>(rows, 0, this->rows(index));
  for (Dim layer = 0; layer < shape_.layers; ++layer)
    if (const Dim base = sequence.bases[static_cast<std::size_t>(layer)];
        base > 0 && base > kept - shape_.window(layer) + 1) {
      kept = 0;
      break;
    }
  std::ranges::fill(sequence.rows, kept);
  if (kept == 0) std::ranges::fill(sequence.bases, 0);
  return kept;
}

bool KvCache::copy(Dim from, Dim to, Dim rows) {
  if (from == to || shape_.windowed_layers() > 0 || rows > this->rows(from)) return false;
  reserve(rows, to);
  const Sequence& source = sequences_.at(static_cast<std::size_t>(from));
  Sequence& sequence = sequences_.at(static_cast<std::size_t>(to));
  const auto bytes = static_cast<std::size_t>(rows * shape_.head_dim * bytes_of(type_));
  for (Dim layer = 0; layer < shape_.layers; ++layer)
    for (int part = 0; part < 2; ++part)
      for (Dim head = 0; head < shape_.kv_heads; ++head)
        std::memcpy(at(sequence, layer, part, head, 0), at(source, layer, part, head, 0), bytes);
  std::ranges::fill(sequence.rows, rows);
  return true;
}

// Room for `count` rows behind `past` in a windowed layer: rows that are out of every window go when it is full.
void KvCache::make_room(Sequence& sequence, Dim layer, Dim past, Dim count) {
  Dim& base = sequence.bases[static_cast<std::size_t>(layer)];
  const Dim capacity = sequence.windowed.capacity, first = std::max<Dim>(0, past - shape_.window(layer) + 1);
  if (base > first)
    fail(ErrorCode::internal, "{} cached rows are counted on, layer {} has forgotten the first {}", past, layer, base);
  if (past - base + count <= capacity) return;
  const Dim kept = std::max({base, first - shape_.spare, std::min(first, past + count - capacity)});
  for (int part = 0; part < 2 && kept > base; ++part)
    for (Dim head = 0; head < shape_.kv_heads; ++head)
      std::memmove(at(sequence, layer, part, head, base), at(sequence, layer, part, head, kept),
                   static_cast<std::size_t>((past - kept) * shape_.head_dim * bytes_of(type_)));
  base = kept;
  sequence.rows[static_cast<std::size_t>(layer)] = past;
  grow(sequence, true, past - kept + count);
}

void KvCache::write(const float* from, Dim count, std::byte* to) const {
  if (type_ == DType::f32)
    std::memcpy(to, from, static_cast<std::size_t>(count) * 4);
  else
    std::transform(from, from + count, reinterpret_cast<bf16*>(to), [](float x) { return to_bf16(x); });
}

KvView KvLayer::append(const Tensor& k, const Tensor& v, const Batch& batch) {
  const Profile::Scope profile([] { return "cache write"; });
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
    const bool is_windowed = shape.window(layer_) > 0;
    if (is_windowed && span.rows() > 0) cache.make_room(sequence, layer_, span.past, span.rows());
    for (int part = 0; part < 2 && span.rows() > 0; ++part) {
      const float* from = (part ? v : k).data<float>() + span.begin * width;
      parallel_rows(span.rows(), std::max<Dim>(1, Dim{32768} / width), [&](Rows rows) {
        for (Dim row = rows.begin; row < rows.end; ++row)
          for (Dim head = 0; head < shape.kv_heads; ++head)
            cache.write(from + row * width + head * shape.head_dim, shape.head_dim,
                        cache.at(sequence, layer_, part, head, span.past + row));
      });
    }
    sequence.rows[static_cast<std::size_t>(layer_)] = total;
    KvSequence seen;
    seen.base = sequence.bases[static_cast<std::size_t>(layer_)];
    if (total > seen.base)
      seen.runs.push_back({cache.at(sequence, layer_, 0, 0, seen.base), cache.at(sequence, layer_, 1, 0, seen.base),
                           total - seen.base, sequence.block(is_windowed).capacity * shape.head_dim,
                           sequence.block(is_windowed).capacity * shape.head_dim});
    view.sequences.push_back(std::move(seen));
    owners->push_back(sequence.block(is_windowed).storage);
  }
  view.owner = std::move(owners);
  return view;
}

}  // namespace tap
