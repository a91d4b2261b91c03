#include "cache/kv_cache.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <utility>

#include "base/parallel.h"
#include "base/profile.h"
#include "kernels/elementwise.h"

namespace tap {

namespace {

// Fewer rows are copied: to hold and to read them once saves little, and a block would be kept for their sake.
constexpr Dim least_shared_rows = 256;

Dim whole_steps(Dim rows) { return rows / attention_block_keys * attention_block_keys; }

}  // namespace

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

std::byte* KvCache::at(const Block& block, Dim layer, int part, Dim head, Dim row) const {
  const Dim place = place_[static_cast<std::size_t>(layer)];
  return block.storage->data() +
         (((place * 2 + part) * shape_.kv_heads + head) * block.capacity + row) * shape_.head_dim * bytes_of(type_);
}

std::byte* KvCache::at(const Sequence& sequence, Dim layer, int part, Dim head, Dim row) const {
  const Block& block = sequence.block(shape_.window(layer) > 0);
  return at(block, layer, part, head, row - sequence.bases[static_cast<std::size_t>(layer)] - block.first);
}

Dim KvCache::rows(Dim index) const {
  const Sequence& sequence = sequences_.at(static_cast<std::size_t>(index));
  return *std::min_element(sequence.rows.begin(), sequence.rows.end());
}

Dim KvCache::bytes() const {
  std::set<const Storage*> held;
  for (const Sequence& sequence : sequences_) {
    for (const SharedRows& rows : sequence.shared) held.insert(rows.block.storage.get());
    held.insert({sequence.full.storage.get(), sequence.windowed.storage.get()});
  }
  Dim sum = 0;
  for (const Storage* storage : held) sum += storage ? static_cast<Dim>(storage->bytes()) : 0;
  return sum;
}

void KvCache::reserve(Dim rows, Dim index) {
  Sequence& sequence = sequences_.at(static_cast<std::size_t>(index));
  if (rows > limit_) fail(ErrorCode::limit, "the cache holds at most {} tokens, {} are wanted", limit_, rows);
  const Block& full = sequence.full;
  if (rows <= full.first + full.capacity) return;
  const Dim total = rows <= sequence.expected
                        ? sequence.expected
                        : std::min(limit_, full.first + std::max({rows - full.first, 2 * full.capacity, Dim{64}}));
  grow_windowed(sequence, std::min(total, shape_.windowed_rows()));
  grow(sequence, total);
}

void KvCache::expect(Dim prompt, Dim total, Dim index) {
  Sequence& sequence = sequences_.at(static_cast<std::size_t>(index));
  total = std::min(total, limit_);
  sequence.expected = 0;
  // What a long conversation took is not held for a short one, whose beginning others could not share then.
  if (rows(index) == 0 && sequence.full.capacity > 2 * total) sequence.full = sequence.windowed = {};
  reserve(first_rows(prompt, total), index);
  sequence.expected = total;
}

KvCache::Block KvCache::allocate(bool is_windowed, Dim capacity, Dim first) const {
  const Dim windowed = shape_.windowed_layers(), layers = is_windowed ? windowed : shape_.layers - windowed;
  if (layers == 0) return {nullptr, capacity, first};
  const auto bytes = checked_mul(2 * layers, capacity * shape_.row_elements() * bytes_of(type_));
  if (!bytes) fail(ErrorCode::limit, "a cache of {} tokens is too large", capacity);
  return {Storage::allocate(static_cast<std::size_t>(*bytes)), capacity, first};
}

// Rows [begin, end) of a sequence, in every layer that sees all.
void KvCache::copy_rows(const Block& from, const Block& to, Dim begin, Dim end) const {
  if (begin >= end) return;
  const auto bytes = static_cast<std::size_t>((end - begin) * shape_.head_dim * bytes_of(type_));
  for (Dim layer = 0; layer < shape_.layers; ++layer)
    for (int part = 0; part < 2 && shape_.window(layer) == 0; ++part)
      for (Dim head = 0; head < shape_.kv_heads; ++head)
        std::memcpy(at(to, layer, part, head, begin - to.first), at(from, layer, part, head, begin - from.first),
                    bytes);
}

// Rows of the sequence that stand fast, because others see them.
Dim KvCache::read_by_others(const Sequence& sequence) {
  return sequence.full.storage.use_count() > 1 ? sequence.lent : 0;
}

void KvCache::grow(Sequence& sequence, Dim total) {
  Block& old = sequence.full;
  const Dim first = std::max(old.first, read_by_others(sequence)), end = old.first + old.capacity;
  sequence.shared.reserve(sequence.shared.size() + 1);
  const Block block = allocate(false, total - first, first);
  copy_rows(old, block, first, std::min(end, *std::max_element(sequence.rows.begin(), sequence.rows.end())));
  if (first > old.first) sequence.shared.push_back({old, first});
  old = block;
  sequence.lent = 0;
}

void KvCache::grow_windowed(Sequence& sequence, Dim capacity) {
  if (capacity <= sequence.windowed.capacity) return;
  const Block block = allocate(true, capacity, 0);
  for (Dim layer = 0; layer < shape_.layers; ++layer) {
    const auto i = static_cast<std::size_t>(layer);
    const Dim held = sequence.rows[i] - sequence.bases[i];
    if (shape_.window(layer) == 0 || held == 0) continue;
    for (int part = 0; part < 2; ++part)
      for (Dim head = 0; head < shape_.kv_heads; ++head)
        std::memcpy(at(block, layer, part, head, 0), at(sequence.windowed, layer, part, head, 0),
                    static_cast<std::size_t>(held * shape_.head_dim * bytes_of(type_)));
  }
  sequence.windowed = block;
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
  if (kept < std::max(sequence.full.first, read_by_others(sequence))) kept = go_back(sequence, kept);
  if (kept < sequence.lent) sequence.lent = 0;
  std::ranges::fill(sequence.rows, kept);
  if (kept == 0) std::ranges::fill(sequence.bases, 0);
  return kept;
}

// Leaves of shared blocks what lies before `rows`, the end of a step, but no block of which less than a quarter is seen
// then: it would be held for little. Gives how far they reach.
Dim KvCache::cut(std::vector<SharedRows>& shared, Dim rows) {
  while (!shared.empty()) {
    SharedRows& last = shared.back();
    last.end = std::min(last.end, rows);
    if (last.end > last.block.first && 4 * (last.end - last.block.first) >= last.block.capacity) return last.end;
    rows = std::min(rows, last.block.first);
    shared.pop_back();
  }
  return 0;
}

// Goes back to rows that others see too, who keep theirs. Gives the rows that are kept: none without the memory for a
// block of its own.
Dim KvCache::go_back(Sequence& sequence, Dim rows) const {
  std::vector<SharedRows>& shared = sequence.shared;
  Block own = std::move(sequence.full);
  if (const Dim end = sequence.lent; own.storage.use_count() > 1 && end > own.first)
    shared.push_back({std::exchange(own, {}), end});  // it has place for one: see copy
  const auto keep = [&] {
    std::vector<SharedRows> kept = shared;
    const Dim first = cut(kept, whole_steps(rows));
    if (own.capacity < rows - first) own = allocate(false, round_up(rows - first, attention_block_keys), first);
    own.first = first;
    for (const SharedRows& part : shared)
      copy_rows(part.block, own, std::max(first, part.block.first), std::min(rows, part.end));
    shared = std::move(kept);
  };
  if (rows == 0 || error_in(keep)) {
    shared.clear();
    own.first = rows = 0;
  }
  sequence.full = std::move(own);
  sequence.lent = 0;
  return rows;
}

bool KvCache::copy(Dim from, Dim to, Dim rows) {
  if (from == to || shape_.windowed_layers() > 0 || rows > this->rows(from)) return false;
  truncate(0, to);
  Sequence& source = sequences_.at(static_cast<std::size_t>(from));
  Sequence& sequence = sequences_.at(static_cast<std::size_t>(to));
  sequence.expected = 0;
  const Dim others = read_by_others(source);
  source.shared.reserve(source.shared.size() + 1);
  std::vector<SharedRows> shared = source.shared;
  shared.push_back({source.full, rows});
  if (const Dim whole = cut(shared, whole_steps(rows)); whole >= least_shared_rows) {
    if (whole > source.full.first) source.lent = std::max(others, whole);
    sequence.shared = std::move(shared);
    sequence.full = {nullptr, 0, whole};
    std::ranges::fill(sequence.rows, whole);
  } else if (sequence.full.capacity > 2 * rows) {
    sequence.full = {};
  }
  if (const auto failed = error_in([&] { reserve(rows, to); })) {
    truncate(0, to);
    throw *failed;
  }
  const auto copy_from = [&](const Block& block, Dim end) {
    copy_rows(block, sequence.full, std::max(block.first, sequence.full.first), std::min(end, rows));
  };
  for (const SharedRows& part : source.shared) copy_from(part.block, part.end);
  copy_from(source.full, rows);
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
  grow_windowed(sequence, past - kept + count);
}

void KvCache::write(const float* from, Dim count, std::byte* to) const {
  if (type_ == DType::f32)
    std::memcpy(to, from, static_cast<std::size_t>(count) * 4);
  else
    kernels::to_bf16(from, count, reinterpret_cast<std::uint16_t*>(to));
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
    if (const Dim fast = std::max(sequence.full.first, KvCache::read_by_others(sequence));
        span.rows() > 0 && span.past < fast)
      fail(ErrorCode::internal, "rows from {} on are written, the first {} are shared", span.past, fast);
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
    const auto see = [&](const KvCache::Block& block, Dim rows) {
      if (rows <= 0) return;
      seen.runs.push_back({cache.at(block, layer_, 0, 0, 0), cache.at(block, layer_, 1, 0, 0), rows,
                           block.capacity * shape.head_dim, block.capacity * shape.head_dim});
      owners->push_back(block.storage);
    };
    if (!is_windowed)
      for (const KvCache::SharedRows& rows : sequence.shared) see(rows.block, rows.end - rows.block.first);
    see(sequence.block(is_windowed), total - seen.base - (is_windowed ? 0 : sequence.full.first));
    view.sequences.push_back(std::move(seen));
  }
  view.owner = std::move(owners);
  return view;
}

}  // namespace tap
