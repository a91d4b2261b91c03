#include "base/log.h"

#include <atomic>
#include <memory>
#include <mutex>

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace tap::log {

namespace {

std::atomic<Level> current{Level::normal};

spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = std::make_shared<spdlog::logger>("tapetum", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("%v");
    made->set_level(spdlog::level::trace);
    return made;
  }();
  return *instance;
}

std::mutex sink_mutex;
std::shared_ptr<const Sink> chosen_sink;

// Shared, so that a sink in use outlives its replacement, and none is called under the lock.
std::shared_ptr<const Sink> current_sink() {
  const std::lock_guard lock(sink_mutex);
  return chosen_sink;
}

}  // namespace

void set_level(Level level) { current = level; }
Level level() { return current; }
void set_sink(Sink sink) {
  auto made = sink ? std::make_shared<const Sink>(std::move(sink)) : nullptr;
  const std::lock_guard lock(sink_mutex);
  chosen_sink = std::move(made);
}

void write_info(std::string_view line) {
  if (const auto sink = current_sink())
    (*sink)(Level::verbose, one_line(line));
  else
    logger().info(one_line(line));
}

void write_warning(std::string_view line) {
  if (const auto sink = current_sink())
    (*sink)(Level::normal, one_line(line));
  else
    logger().warn("warning: {}", one_line(line));
}

std::string one_line(std::string_view text) {
  std::string line(text);
  for (char& c : line)
    if (const auto byte = static_cast<unsigned char>(c); byte < 0x20 || byte == 0x7F) c = c == '\n' ? ' ' : '?';
  return line;
}

}  // namespace tap::log
