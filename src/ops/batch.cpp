#include "ops/batch.h"

namespace tap {

Batch Batch::causal(Dim count, Dim past) {
  Batch batch;
  batch.sequences = {{0, count, past}};
  batch.positions.resize(1);
  for (Dim i = 0; i < count; ++i) {
    batch.positions[0].push_back(static_cast<std::int32_t>(past + i));
    batch.intervals.push_back({0, static_cast<std::int32_t>(past + i + 1)});
  }
  return batch;
}

Batch Batch::segments(std::span<const Dim> lengths) {
  Batch batch;
  batch.positions.resize(1);
  Dim begin = 0;
  for (const Dim length : lengths) {
    batch.sequences.push_back({begin, begin + length, 0});
    for (Dim i = 0; i < length; ++i) {
      batch.positions[0].push_back(static_cast<std::int32_t>(i));
      batch.intervals.push_back({0, static_cast<std::int32_t>(length)});
    }
    begin += length;
  }
  return batch;
}

}  // namespace tap
