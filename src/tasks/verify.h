// Compares the engine with reference outputs: a folder with manifest.json, one safetensors file per case and a
// checkpoint (tests/families/README.md has the contract). In f32 every stage is held to the manifest's tolerance; in
// another dtype the errors of the float stages are measured instead, and only what must be exact is judged.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/dim.h"
#include "runtime/model.h"

namespace tap {

// unchecked: a stage's tensor is there and nothing here could check it, which fails the run unless excused by name;
// unknown: a tensor that is no stage, reported only; measured: a float stage in another dtype than f32.
enum class VerifyStatus { passed, failed, unchecked, excused, unknown, measured };
std::string_view name(VerifyStatus status);

// One comparison. A stage is compared twice where it can be: from the golden's own input of that stage, and end to end.
struct VerifyRow {
  std::string case_name,
      stage;         // ids, pixels, vision_hidden, features, positions, logits, greedy; else the tensor's name
  std::string from;  // "golden" or "end"
  VerifyStatus status = VerifyStatus::unchecked;
  std::optional<double> max_abs;   // largest difference; for ids and greedy tokens the number that differ
  std::optional<double> relative;  // of float stages: root mean square of the difference over that of the golden
  double tolerance = 0;
  std::string note;  // why unchecked, where it differs, at which step greedy tokens stopped being compared
};

struct VerifyReport {
  std::vector<VerifyRow> rows;
  bool passed() const;  // at least one check, nothing failed, nothing unchecked
};

struct VerifyOptions {
  std::vector<std::string> allow_unchecked;  // "case:stage"
  Dtype dtype = Dtype::f32;                  // of the weights
};

// Throws Error naming file and key when the folder breaks the contract or the checkpoint does not load.
VerifyReport verify(const std::string& folder, const VerifyOptions& options = {});

}  // namespace tap
