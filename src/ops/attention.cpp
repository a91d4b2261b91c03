// Interval attention: checks, cuts the work into blocks that depend on shapes only, calls the kernel.
#include <algorithm>
#include <array>
#include <cmath>

#include "autograd/tape.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "kernels/attention.h"
#include "kernels/isa.h"
#include "ops/attention_grad.h"
#include "ops/attention_probe.h"
#include "ops/ops.h"
#include "ops/scratch.h"

namespace tap::ops {

namespace {

using kernels::AttentionLayout;
using kernels::AttentionSequence;

// A group of heads of one row fills this many lanes or fewer: the row kernel reads each key once, at the speed of
// memory.
constexpr Dim row_kernel_heads = 8;
// So few new rows of a cached sequence are computed each by itself: a token that is checked together with others gets
// the bits that it would get alone.
constexpr Dim rows_apart = 8;
constexpr Dim part_bytes = 24 * 1024;   // keys and values of a head that are worth a unit of its own
constexpr Dim alone_bytes = 64 * 1024;  // less of them in all is not worth a second thread
constexpr Dim most_parts = 16;

void check(const Tensor& q, const KvView& kv, const Batch& batch, const AttentionOptions& options) {
  if (q.rank() != 3)
    fail(ErrorCode::bad_input, "attention: q is {}, must be [t, heads, head_dim]", q.shape().to_string());
  const Dim heads = q.dim(1), d = q.dim(2);
  if (kv.keys.defined()) {
    require_shape("attention", "keys", kv.keys, {q.dim(0), -1, d});
    require_shape("attention", "values", kv.values, kv.keys.shape());
  } else {
    if (kv.head_dim != d) fail(ErrorCode::bad_input, "attention: keys have head_dim {}, must be {}", kv.head_dim, d);
    if (kv.dtype != DType::f32 && kv.dtype != DType::bf16)
      fail(ErrorCode::bad_input, "attention: keys are {}, must be f32 or bf16", name(kv.dtype));
    if (kv.sequences.size() != batch.sequences.size())
      fail(ErrorCode::bad_input, "attention: keys of {} sequences for a batch of {}", kv.sequences.size(),
           batch.sequences.size());
  }
  const Dim kv_heads = kv.keys.defined() ? kv.keys.dim(1) : kv.kv_heads;
  if (kv_heads < 1 || heads % kv_heads || d < 1)
    fail(ErrorCode::bad_input, "attention: {} heads of {} over {} KV heads", heads, d, kv_heads);
  if (options.scale < 0 || options.softcap < 0)
    fail(ErrorCode::bad_input, "attention: scale {} and softcap {} must not be negative", options.scale,
         options.softcap);
  if (batch.rows() != q.dim(0))
    fail(ErrorCode::bad_input, "attention: {} intervals for {} rows", batch.rows(), q.dim(0));
  Dim at = 0;
  for (std::size_t s = 0; s < batch.sequences.size(); ++s) {
    const Span& span = batch.sequences[s];
    if (span.begin != at || span.end < at || span.end > q.dim(0))
      fail(ErrorCode::bad_input, "attention: sequence {} is rows {} to {}, must begin at {} and end within {}", s,
           span.begin, span.end, at, q.dim(0));
    Dim base = 0, end = span.rows();
    if (!kv.keys.defined()) {
      base = end = kv.sequences[s].base;
      for (const KvRun& run : kv.sequences[s].runs) end += run.rows;
    }
    for (; at < span.end; ++at) {
      const Interval seen = batch.intervals[static_cast<std::size_t>(at)];
      if (seen.begin > seen.end)
        fail(ErrorCode::bad_input, "attention: row {} sees [{}, {}): begins after its end", at, seen.begin, seen.end);
      if (seen.begin < seen.end && (seen.begin < base || seen.end > end))
        fail(ErrorCode::bad_input, "attention: row {} sees [{}, {}), but the keys are [{}, {})", at, seen.begin,
             seen.end, base, end);
    }
  }
  if (at != q.dim(0)) fail(ErrorCode::bad_input, "attention: the sequences end at row {} of {}", at, q.dim(0));
}

// Of the scores and the mix: a multiplication and an addition for each pair of a query head and a key that it sees.
double operations_of(const Tensor& q, const Batch& batch) {
  double seen = 0;
  for (const Interval& interval : batch.intervals) seen += interval.end - interval.begin;
  return 4.0 * seen * static_cast<double>(q.width() * q.dim(1));
}

// Where each sequence's keys lie. The plain form has one run a sequence; with bf16 products it is packed first.
class Keys {
 public:
  Keys(const KvView& kv, const Batch& batch, AttentionLayout& layout) : kv_(kv) {
    const Dim d = layout.head_dim;
    layout.key_row = layout.value_row = d;
    if (!kv.keys.defined()) return;
    plain_.reserve(batch.sequences.size());
    if (layout.bf16_products) {
      pack(batch, layout);
      return;
    }
    layout.key_row = layout.value_row = layout.kv_heads * d;
    for (const Span& span : batch.sequences)
      plain_.push_back({kv.keys.data<float>() + span.begin * layout.key_row,
                        kv.values.data<float>() + span.begin * layout.value_row, span.rows(), d, d});
  }

  AttentionSequence of(std::size_t s) const {
    AttentionSequence sequence;
    if (!plain_.empty()) {
      sequence.runs = &plain_[s];
      sequence.run_count = 1;
    } else {
      sequence.runs = kv_.sequences[s].runs.data();
      sequence.run_count = static_cast<Dim>(kv_.sequences[s].runs.size());
      sequence.base = kv_.sequences[s].base;
    }
    return sequence;
  }

 private:
  void pack(const Batch& batch, AttentionLayout& layout) {
    const Dim d = layout.head_dim, row = layout.kv_heads * d, rows = kv_.keys.dim(0);
    Dim pairs = 0;
    for (const Span& span : batch.sequences) pairs += ceil_div(span.rows(), 2);
    layout.bf16_rows = layout.paired_values = true;
    layout.value_row = 2 * d;
    const Dim key_head = rows * d, value_head = pairs * 2 * d;
    packed_ = Tensor::empty({rows + 2 * pairs, row}, DType::bf16);
    auto* keys = reinterpret_cast<std::uint16_t*>(packed_.raw_write());
    auto* values = keys + rows * row;
    pairs = 0;
    constexpr Dim chunk = 32;  // rows; even, so that no pair is cut
    for (const Span& span : batch.sequences) {
      plain_.push_back({keys + span.begin * d, values + pairs * 2 * d, span.rows(), key_head, value_head});
      pairs += ceil_div(span.rows(), 2);
    }
    const float *from_keys = kv_.keys.data<float>(), *from_values = kv_.values.data<float>();
    const auto some = [&](std::size_t s, Rows r) {
      const Dim offset = batch.sequences[s].begin * row;
      kernels::attention_pack(layout, from_keys + offset, from_values + offset, r.begin, r.end, plain_[s]);
    };
    const Dim sequences = static_cast<Dim>(plain_.size());
    if (sequences == 1) return parallel_rows(rows, chunk, [&](Rows r) { some(0, r); });
    parallel_rows(sequences, ceil_div(sequences * chunk, std::max<Dim>(1, rows)), [&](Rows r) {
      for (Dim s = r.begin; s < r.end; ++s)
        some(static_cast<std::size_t>(s), {0, batch.sequences[static_cast<std::size_t>(s)].rows()});
    });
  }

  const KvView& kv_;
  std::vector<KvRun> plain_;
  Tensor packed_;
};

// Lanes [begin, end) of one KV head, from `row` of the sequence on.
struct Lanes {
  std::size_t sequence;
  Dim row, kv_head, begin, end;
};

// A row by itself: its keys are cut into parts.
struct SingleRow {
  std::size_t sequence;
  Dim row;  // of the sequence
  Interval seen;
  Dim step;          // keys of a part
  Dim first, count;  // parts
  const void* keys;  // where those of its sequence begin
};

// Part `part` of single rows [row, row + rows) for one KV head: they see the same keys [begin, end), in the same
// memory.
struct Part {
  Dim row, rows, kv_head, part, begin, end;
  Dim work() const { return rows * (end - begin); }
};

// Whether the first `end` rows of two sequences are the same memory.
bool begin_alike(const AttentionSequence& a, const AttentionSequence& b, Dim end) {
  if (a.base != b.base) return false;
  Dim at = a.base;
  for (Dim r = 0; r < std::min(a.run_count, b.run_count) && at < end; ++r) {
    const KvRun &one = a.runs[r], &other = b.runs[r];
    at += std::min(one.rows, other.rows);
    if (one.keys != other.keys || (one.rows != other.rows && at < end)) return false;
  }
  return at >= end;
}

// Neighbours among the parts follow each other in memory, which is read ahead; rows that see the same keys, of one
// sequence or of several that share their first rows, go over them together, while these are in cache.
std::vector<Part> parts_of(std::vector<SingleRow>& rows, const Keys& keys, Dim kv_heads) {
  std::vector<Part> parts;
  std::ranges::stable_sort(rows, {}, [](const SingleRow& r) { return std::pair(r.keys, r.step); });
  const Dim count = static_cast<Dim>(rows.size());
  const auto at = [&](Dim i) -> const SingleRow& { return rows[static_cast<std::size_t>(i)]; };
  for (Dim first = 0, end; first < count; first = end) {
    Dim most = 0;
    for (end = first; end < count && at(end).keys == at(first).keys; ++end) most = std::max(most, at(end).count);
    const std::size_t before = parts.size();
    for (Dim part = 0; part < most; ++part)
      for (Dim i = first; i < end; ++i) {
        if (part >= at(i).count) continue;
        const Dim from = at(i).seen.begin + part * at(i).step, to = std::min<Dim>(at(i).seen.end, from + at(i).step);
        Part* last = parts.size() > before ? &parts.back() : nullptr;
        if (last && last->part == part && last->row + last->rows == i && last->begin == from && last->end == to &&
            last->rows < kernels::attention_rows_at_once &&
            begin_alike(keys.of(at(last->row).sequence), keys.of(at(i).sequence), to))
          ++last->rows;
        else
          parts.push_back({i, 1, 0, part, from, to});
      }
    const std::size_t after = parts.size();
    for (Dim kv_head = 1; kv_head < kv_heads; ++kv_head)
      for (std::size_t i = before; i < after; ++i) {
        Part part = parts[i];
        part.kv_head = kv_head;
        parts.push_back(part);
      }
  }
  return parts;
}

// Runs of parts of about equal work: one for each thread, as neighbours are best read by one, or more where rows share
// what is read.
std::vector<Rows> runs_of(const std::vector<Part>& parts, Dim threads) {
  Dim work = 0, done = 0;
  bool shared = false;
  for (const Part& part : parts) work += part.work(), shared |= part.rows > 1;
  const Dim wanted = threads * (shared ? 4 : 1);
  std::vector<Rows> runs;
  for (Dim i = 0, begin = 0, count = static_cast<Dim>(parts.size()); i < count; ++i) {
    done += parts[static_cast<std::size_t>(i)].work();
    if (i + 1 < count && done * wanted < work * (static_cast<Dim>(runs.size()) + 1)) continue;
    runs.push_back({begin, i + 1});
    begin = i + 1;
  }
  return runs;
}

}  // namespace

Tensor attention(const Tensor& q, const KvView& kv, const Batch& batch, const AttentionOptions& options) {
  check(q, kv, batch, options);
  const Profile::Scope profile([] { return "attention"; }, [&] { return Profile::Work{operations_of(q, batch), 0}; });
  const bool plain = kv.keys.defined();
  AttentionLayout layout;
  layout.heads = q.dim(1);
  layout.head_dim = q.dim(2);
  layout.kv_heads = plain ? kv.keys.dim(1) : kv.kv_heads;
  layout.scale = options.scale > 0 ? options.scale : 1.0f / std::sqrt(static_cast<float>(layout.head_dim));
  layout.softcap = options.softcap;
  layout.bf16_rows = !plain && kv.dtype == DType::bf16;
  const bool wanted = layout.bf16_rows || (plain && options.arithmetic == DType::bf16);
  layout.bf16_products = wanted && layout.head_dim % 2 == 0 && active_isa() >= Isa::avx512_bf16;

  Tensor y = Tensor::empty(q.shape());
  const Keys keys(kv, batch, layout);
  const Dim row = layout.heads * layout.head_dim, group = layout.heads / layout.kv_heads;
  const float* in = q.data<float>();
  float* out = y.write<float>();
  const auto sequence_of = [&](std::size_t s, Dim from) {
    AttentionSequence sequence = keys.of(s);
    const Span& span = batch.sequences[s];
    sequence.q = in + (span.begin + from) * row;
    sequence.out = out + (span.begin + from) * row;
    sequence.intervals = batch.intervals.data() + span.begin + from;
    sequence.rows = span.rows() - from;
    return sequence;
  };

  std::vector<Lanes> lanes;
  std::vector<SingleRow> single;
  Dim part_count = 0, work_bytes = 0;
  const Dim key_bytes = 2 * layout.kv_heads * layout.head_dim * (layout.bf16_rows ? 2 : 4);
  const auto add_lanes = [&](std::size_t s, Dim from, Dim rows) {
    for (Dim kv_head = 0; kv_head < layout.kv_heads; ++kv_head)
      for (Dim lane = 0; lane < rows * group; lane += kernels::attention_lanes)
        lanes.push_back({s, from, kv_head, lane, std::min(rows * group, lane + kernels::attention_lanes)});
    work_bytes += rows * group * key_bytes;  // a block of few keys is little work too
  };
  const auto add_single = [&](std::size_t s, Dim from) {
    const Interval seen = batch.intervals[static_cast<std::size_t>(batch.sequences[s].begin + from)];
    const Dim keys_seen = seen.end - seen.begin,
              pieces = std::clamp<Dim>(keys_seen * key_bytes / layout.kv_heads / part_bytes, 1, most_parts);
    const Dim step = std::max<Dim>(1, round_up(ceil_div(keys_seen, pieces), attention_block_keys));
    const Dim count = std::max<Dim>(1, ceil_div(keys_seen, step));
    const AttentionSequence sequence = keys.of(s);
    single.push_back(
        {s, from, seen, step, part_count, count, sequence.run_count > 0 ? sequence.runs[0].keys : nullptr});
    part_count += count;
    work_bytes += keys_seen * key_bytes;
  };
  for (std::size_t s = 0; s < batch.sequences.size(); ++s) {
    const Dim rows = batch.sequences[s].rows();
    const bool apart = rows == 1 || (!plain && rows <= rows_apart);
    const bool by_parts = apart && group <= row_kernel_heads && !layout.paired_values;
    if (!apart && rows > 0) add_lanes(s, 0, rows);
    for (Dim from = 0; apart && from < rows; ++from)
      if (by_parts)
        add_single(s, from);
      else
        add_lanes(s, from, 1);
  }
  const std::vector<Part> parts = parts_of(single, keys, layout.kv_heads);
  const Dim threads = ExecContext::current().threads(), blocks = static_cast<Dim>(lanes.size());
  const std::vector<Rows> runs = runs_of(parts, threads);
  const Dim tasks = blocks + static_cast<Dim>(runs.size());
  const bool alone = work_bytes < alone_bytes;
  ScratchSlots scratch(alone ? 1 : std::max<Dim>(1, std::min(threads, tasks)),
                       kernels::attention_scratch_bytes(layout));
  const Dim head_floats = 2 + layout.head_dim, part_floats = layout.heads * head_floats;
  Tensor part_sums = Tensor::empty({part_count, part_floats});
  float* sums = part_sums.write<float>();
  const auto run_part = [&](const Part& part, std::byte* memory) {
    std::array<kernels::AttentionRow, kernels::attention_rows_at_once> rows;
    for (Dim i = 0; i < part.rows; ++i) {
      const SingleRow& r = single[static_cast<std::size_t>(part.row + i)];
      rows[static_cast<std::size_t>(i)] = {
          in + (batch.sequences[r.sequence].begin + r.row) * row,
          sums + (r.first + part.part) * part_floats + part.kv_head * group * head_floats};
    }
    kernels::attention_rows(layout, keys.of(single[static_cast<std::size_t>(part.row)].sequence),
                            std::span(rows).first(static_cast<std::size_t>(part.rows)), part.kv_head, part.begin,
                            part.end, memory);
  };
  const auto run = [&](Rows some) {
    const ScratchSlots::Lease lease(scratch);
    for (Dim task = some.begin; task < some.end; ++task) {
      if (task < blocks) {
        const Lanes& unit = lanes[static_cast<std::size_t>(task)];
        kernels::attention_block(layout, sequence_of(unit.sequence, unit.row), unit.kv_head, unit.begin,
                                 unit.end - unit.begin, lease.data());
      } else {
        const Rows r = runs[static_cast<std::size_t>(task - blocks)];
        for (Dim i = r.begin; i < r.end; ++i) run_part(parts[static_cast<std::size_t>(i)], lease.data());
      }
    }
  };
  if (alone)
    run({0, tasks});
  else
    parallel_rows(tasks, 1, run);
  parallel_rows(static_cast<Dim>(single.size()), 8, [&](Rows rows) {
    for (Dim i = rows.begin; i < rows.end; ++i) {
      const SingleRow& r = single[static_cast<std::size_t>(i)];
      kernels::attention_combine(layout, sums + r.first * part_floats, r.count,
                                 out + (batch.sequences[r.sequence].begin + r.row) * row);
    }
  });

  if (const AttentionProbe* probe = AttentionProbe::current()) probe->look(q, kv, batch, options);
  if (plain && tape::wants({&q, &kv.keys, &kv.values}))
    tape::record(
        y, {&q, &kv.keys, &kv.values},
        [q, k = kv.keys, v = kv.values, spans = batch.sequences, intervals = batch.intervals, layout](
            const Tensor& dy) { return attention_grad(q, k, v, spans, intervals, layout.scale, layout.softcap, dy); });
  return y;
}

}  // namespace tap::ops
