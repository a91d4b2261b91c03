#include "runtime/forward_input.h"

#include <algorithm>

namespace tap {

Dim chunk_end(const Prompt& prompt, Dim begin, Dim rows) {
  Dim end = std::min(begin + rows, prompt.rows());
  for (const Span& span : prompt.atomic)
    if (span.begin < end && end < span.end) end = span.begin > begin ? span.begin : span.end;
  return end;
}

void ForwardInput::add_prompt(const Prompt& prompt, Dim begin, Dim end, std::span<const Tensor> features) {
  const Dim offset = rows();
  const Batch part = prompt.batch(begin, end);
  ids_.insert(ids_.end(), prompt.ids.begin() + begin, prompt.ids.begin() + end);
  batch_.sequences.push_back({offset, offset + end - begin, begin});
  batch_.positions.resize(std::max(batch_.positions.size(), part.positions.size()));
  for (std::size_t axis = 0; axis < part.positions.size(); ++axis)
    batch_.positions[axis].insert(batch_.positions[axis].end(), part.positions[axis].begin(),
                                  part.positions[axis].end());
  batch_.intervals.insert(batch_.intervals.end(), part.intervals.begin(), part.intervals.end());
  for (const Span& span : part.atomic) batch_.atomic.push_back({span.begin + offset, span.end + offset, span.past});
  for (std::size_t i = 0; i < features.size(); ++i) {
    if (!features[i].defined()) continue;
    const auto first = prompt.slots.begin() + prompt.pictures[i].begin, last = first + prompt.pictures[i].count;
    const auto from = std::lower_bound(first, last, begin), to = std::lower_bound(from, last, end);
    if (from == to) continue;
    for (auto slot = from; slot != to; ++slot) slots_.push_back(*slot - begin + offset);
    pictures_.push_back(features[i].rows(from - first, to - first));
  }
}

void ForwardInput::add_tokens(std::span<const TokenId> ids, std::int32_t position, std::size_t axes, Dim past) {
  const Dim offset = rows();
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  batch_.sequences.push_back({offset, offset + static_cast<Dim>(ids.size()), past});
  batch_.positions.resize(std::max(batch_.positions.size(), axes));
  for (std::int32_t i = 0; i < static_cast<std::int32_t>(ids.size()); ++i) {
    for (auto& axis : batch_.positions) axis.push_back(position + i);
    batch_.intervals.push_back({0, static_cast<std::int32_t>(past) + i + 1});
  }
}

void ForwardInput::add_nothing(Dim past) { batch_.sequences.push_back({rows(), rows(), past}); }

Tensor ForwardInput::embed(const Network& network) const {
  Tensor x = network.embed(ids_);
  if (pictures_.empty()) return x;
  return ops::put_rows(x, slots_, pictures_.size() == 1 ? pictures_.front() : ops::concat_rows(pictures_));
}

}  // namespace tap
