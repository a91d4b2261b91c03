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
void write_info(std::string_view line) { logger().info(line); }
void write_warning(std::string_view line) { logger().warn("warning: {}", line); }

}  // namespace tap::log
