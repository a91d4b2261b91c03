#include "cli/progress.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <sys/ioctl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/log.h"
#include "base/strings.h"
#include "cli/output.h"

namespace tap::cli {

namespace {

constexpr double bar_every_ms = 100, plain_every_ms = 5000, measure_every_ms = 200, smoothing_ms = 4000;
constexpr int widest_bar = 30, least_bar = 6, least_label = 8;

bool is_set(const char* variable) {
  const char* const value = std::getenv(variable);
  return value && *value;
}

int terminal_columns() {
  winsize size = {};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

// Progress is no result: what cannot be written is dropped.
void say(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
    if (n <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

std::string amount(const ProgressState& s, std::uint64_t n) {
  return s.bytes ? human_bytes(static_cast<double>(n)) : fmt::format("{}", n);
}

double fraction(const ProgressState& s) {
  return s.total ? std::min(1.0, static_cast<double>(s.done) / static_cast<double>(s.total)) : 0;
}

std::string counted(const ProgressState& s) {
  return s.total ? fmt::format("{} of {}", amount(s, s.done), amount(s, s.total)) : amount(s, s.done);
}

std::string rate(const ProgressState& s) {
  if (s.per_second <= 0) return "";
  if (s.bytes) return human_bytes(s.per_second) + "/s";
  return s.per_second >= 1 ? fmt::format("{:.1f}/s", s.per_second) : fmt::format("{:.1f} s each", 1 / s.per_second);
}

std::string time_left(const ProgressState& s) {
  if (s.per_second <= 0 || s.done >= s.total) return "";
  const double seconds = static_cast<double>(s.total - s.done) / s.per_second;
  if (seconds > 359'999) return "";  // 100 hours: not worth a guess
  const auto whole = static_cast<int>(std::ceil(seconds));
  if (whole >= 3600) return fmt::format("{}:{:02}:{:02} left", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02} left", whole / 60, whole % 60);
}

int columns_of(std::string_view text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(), starts_character));
}

// The end is what tells files of one folder apart.
std::string shortened(std::string text, int columns) {
  if (columns_of(text) <= columns) return text;
  while (!text.empty() && columns_of(text) > columns - 1) {
    text.erase(0, 1);
    while (!text.empty() && !starts_character(text.front())) text.erase(0, 1);
  }
  return "…" + text;
}

}  // namespace

std::string progress_line(const ProgressState& s, int columns, bool colour) {
  std::vector<std::string> parts = {counted(s), rate(s), time_left(s)};
  if (s.total) parts.insert(parts.begin(), fmt::format("{:3.0f}%", std::floor(fraction(s) * 100)));
  std::string tail;
  for (const std::string& part : parts)  // a narrow terminal shows the first ones only
    if (!part.empty() && (tail.empty() || least_label + columns_of(tail) + 2 + columns_of(part) <= columns))
      tail += "  " + part;
  std::string label = log::one_line(s.label);
  const int around_bar = 4;  // two spaces and the brackets
  int bar = s.total ? std::min(widest_bar, columns - columns_of(label) - columns_of(tail) - around_bar) : 0;
  if (bar < least_bar) bar = 0;
  label = shortened(std::move(label), std::max(least_label, columns - columns_of(tail) - (bar ? bar + around_bar : 0)));
  std::string line = label;
  if (bar) {
    const auto filled = static_cast<std::size_t>(fraction(s) * bar);
    const std::string marks = std::string(filled, '#') + std::string(static_cast<std::size_t>(bar) - filled, '-');
    line += colour ? fmt::format("  [\x1b[36m{}\x1b[0m]", marks) : fmt::format("  [{}]", marks);
  }
  line += tail;
  if (bar == 0 && columns_of(line) > columns) {  // a very narrow terminal
    std::size_t end = 0;
    for (int seen = 0; end < line.size(); ++end)
      if (starts_character(line[end]) && ++seen > columns) break;
    line.resize(end);
  }
  return line;
}

std::string plain_progress_line(const ProgressState& s) {
  std::string line = fmt::format("{}: {}", log::one_line(s.label), counted(s));
  if (s.total) line += fmt::format(" ({:.0f}%)", std::floor(fraction(s) * 100));
  for (const std::string& part : {rate(s), time_left(s)})
    if (!part.empty()) line += ", " + part;
  return line;
}

Progress::Progress(std::string label, std::uint64_t total, Unit unit, bool quiet, std::uint64_t already)
    : state_{std::move(label), already, total, 0, unit == Unit::bytes}, measured_done_(already) {
  if (quiet || log::level() == log::Level::quiet) return;
  const char* const terminal = std::getenv("TERM");
  const bool dumb = terminal && std::strcmp(terminal, "dumb") == 0;
  style_ = ::isatty(STDERR_FILENO) && !dumb ? Style::bar : Style::plain;
  colour_ = style_ == Style::bar && !is_set("NO_COLOR");
}

Progress::~Progress() { hide(); }

void Progress::measure() {
  const double now = clock_.ms(), elapsed = now - measured_ms_;
  if (elapsed < measure_every_ms) return;
  const double step = static_cast<double>(state_.done - std::min(measured_done_, state_.done)) * 1000 / elapsed;
  const double weight = state_.per_second > 0 ? 1 - std::exp(-elapsed / smoothing_ms) : 1;
  state_.per_second += weight * (step - state_.per_second);
  measured_ms_ = now;
  measured_done_ = state_.done;
}

void Progress::update(std::uint64_t done) {
  state_.done = done;
  if (style_ == Style::none) return;
  measure();
  const double now = clock_.ms();
  if (now - drawn_ms_ < (style_ == Style::bar ? bar_every_ms : plain_every_ms)) return;
  drawn_ms_ = now;
  if (style_ == Style::plain) return say(plain_progress_line(state_) + "\n");
  say("\r" + progress_line(state_, terminal_columns() - 1, colour_) + "\x1b[K");
  shown_ = true;
}

void Progress::hide() {
  if (shown_) say("\r\x1b[K");
  shown_ = false;
}

}  // namespace tap::cli
