// The CSV of `guard calibrate`: examples are whole, errors name the line, and calibrating them ends.
#include "fuzz.h"
#include "tasks/calibrate.h"

namespace {

using namespace tap;

void run(fuzz::Bytes bytes) {
  const auto labels = read_labels(fuzz::text_of(bytes), "labels.csv");
  if (!labels) return fuzz::require_readable(labels.error());
  fuzz::require(!labels->empty(), "labels hold an example");
  std::vector<ScoredExample> examples;
  Dim line = 1;
  for (const LabelledExample& label : *labels) {
    fuzz::require(!label.thing.empty(), "an example has a picture or a text");
    fuzz::require(label.line > line, "examples stand in order behind the head");
    line = label.line;
    examples.push_back({static_cast<double>(label.thing.size() % 7) / 7, label.violates});
  }
  const Calibration found = calibrate(examples);
  fuzz::require(found.best.threshold >= 0 && found.best.threshold <= 1, "a threshold is a probability");
}

const fuzz::FuzzTarget target("labels", run);

}  // namespace
