// How far a long job is, on stderr: a bar that redraws its line on a terminal, else a plain line every few seconds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace tap::cli {

struct ProgressState {
  std::string label;  // "model.safetensors", "questions"
  std::uint64_t done = 0;
  std::uint64_t total = 0;  // 0 = not known
  double per_second = 0;    // 0 = not known yet
  bool bytes = false;       // else items
};

// "label  [#####-----]  50%  1.2 GB of 2.4 GB  12 MB/s  1:40 left" in at most `columns` columns: the bar gives way
// first, then the end of the label. `colour`: the bar in ANSI colour.
std::string progress_line(const ProgressState& state, int columns, bool colour);
// The same for a log: "label: 1.2 GB of 2.4 GB (50%), 12 MB/s, 1:40 left".
std::string plain_progress_line(const ProgressState& state);

// One job at a time, updated by one thread. Says nothing when quiet. Whoever prints while a bar stands calls hide()
// first; the next update draws it again. The destructor takes the bar away.
class Progress {
 public:
  enum class Unit { items, bytes };
  // `already`: what was done before this run; it counts as done, not for the rate.
  Progress(std::string label, std::uint64_t total, Unit unit, bool quiet, std::uint64_t already = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void label(std::string text) { state_.label = std::move(text); }
  void total(std::uint64_t total) { state_.total = total; }
  void update(std::uint64_t done);  // draws when it is time to: cheap to call often
  void advance(std::uint64_t n = 1) { update(state_.done + n); }
  void hide();

 private:
  void measure();

  enum class Style { none, plain, bar };
  ProgressState state_;
  Style style_ = Style::none;
  bool colour_ = false, shown_ = false;
  Stopwatch clock_;
  double drawn_ms_ = 0, measured_ms_ = 0;
  std::uint64_t measured_done_ = 0;
};

}  // namespace tap::cli
