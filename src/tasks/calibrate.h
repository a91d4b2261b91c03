// Thresholds of a guard from labelled examples: what precision and recall each one gives.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dim.h"
#include "base/error.h"

namespace tap {

struct LabelledExample {
  std::string thing;  // a picture's path, or the text itself
  bool is_picture = false;
  std::string policy;
  bool violates = false;
  Dim line = 0;  // of the file, from 1
};

// CSV (RFC 4180) whose first line names its columns: image or text (or both, one of them empty in each line), policy,
// violates (1, 0, yes, no, true, false). Others are ignored. `what` names the file in errors, which name the line.
Result<std::vector<LabelledExample>> read_labels(std::string_view csv, std::string_view what);

struct ScoredExample {
  double p_violates = 0;
  bool violates = false;
};

// Of "flagged from this threshold on". A share of nothing counts as 0, precision as 1.
struct ThresholdQuality {
  double threshold = 0, precision = 0, recall = 0, f1 = 0, false_positive_rate = 0;
};

struct Calibration {
  Dim positives = 0;
  std::vector<ThresholdQuality> table;  // at 0.1, 0.2 … 0.9
  ThresholdQuality best;                // the highest F1; among equal ones halfway between the neighbouring scores
};

ThresholdQuality quality_at(std::span<const ScoredExample> examples, double threshold);
Calibration calibrate(std::span<const ScoredExample> examples);

}  // namespace tap
