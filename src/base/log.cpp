#include "base/log.h"

#include <atomic>

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

}  // namespace

void set_level(Level level) { current = level; }
Level level() { return current; }
void write_info(std::string_view line) { logger().info(one_line(line)); }
void write_warning(std::string_view line) { logger().warn("warning: {}", one_line(line)); }

std::string one_line(std::string_view text) {
  std::string line(text);
  for (char& c : line)
    if (const auto byte = static_cast<unsigned char>(c); byte < 0x20 || byte == 0x7F) c = c == '\n' ? ' ' : '?';
  return line;
}

}  // namespace tap::log
