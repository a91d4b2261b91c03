// Logging to stderr. The library never prints results; levels: quiet (errors only), normal (warnings), verbose (-v).
#pragma once

#include <functional>
#include <new>
#include <string>
#include <string_view>

#include <fmt/core.h>

namespace tap::log {

enum class Level { quiet, normal, verbose };

void set_level(Level level);
Level level();
void write_info(std::string_view line);     // shown at verbose
void write_warning(std::string_view line);  // shown at normal and above

// Where lines go instead of stderr, from any thread; empty: stderr. `level` is verbose for what write_info says, normal
// for a warning.
using Sink = std::function<void(Level level, std::string_view line)>;
void set_sink(Sink sink);

// The text with line ends as spaces and other control characters as '?': file names and keys may hold terminal
// commands.
std::string one_line(std::string_view text);

// A line that there is no memory for is left out: what is done goes on.
template <class... Args>
void write_at(Level least, void (*write)(std::string_view), fmt::format_string<Args...> format, Args&&... args) {
  if (level() < least) return;
  try {
    write(fmt::format(format, std::forward<Args>(args)...));
  } catch (const std::bad_alloc&) {
  }
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  write_at<Args...>(Level::verbose, write_info, format, std::forward<Args>(args)...);
}
template <class... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  write_at<Args...>(Level::normal, write_warning, format, std::forward<Args>(args)...);
}

}  // namespace tap::log
