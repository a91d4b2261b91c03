#include "api/internal.h"

#include <unistd.h>

namespace tap::v1 {

std::string_view version() noexcept { return TAPETUM_VERSION; }

std::string_view name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::usage: return "usage";
    case ErrorCode::not_found: return "not_found";
    case ErrorCode::bad_file: return "bad_file";
    case ErrorCode::bad_input: return "bad_input";
    case ErrorCode::limit: return "limit";
    case ErrorCode::io: return "io";
    case ErrorCode::unsupported: return "unsupported";
    case ErrorCode::cancelled: return "cancelled";
    case ErrorCode::out_of_memory: return "out_of_memory";
    case ErrorCode::internal: return "internal";
    case ErrorCode::refused: return "refused";
  }
  return "internal";
}

Error::Error(ErrorCode code, const std::string& message, std::string item)
    : std::runtime_error(message), code_(code), item_(std::move(item)) {}
Error::Error(const Error&) = default;
Error& Error::operator=(const Error&) = default;
Error::~Error() = default;  // here, so that the type has one home and catching works across libraries

void on_warning(std::function<void(std::string_view)> sink) {
  api::quiet_log();
  if (!sink) sink = [](std::string_view) {};
  log::set_sink([sink = std::move(sink)](log::Level level, std::string_view line) {
    if (level == log::Level::normal) sink(line);
  });
}

}  // namespace tap::v1

namespace tap::api {

v1::ErrorCode code_of(tap::ErrorCode code) {
  switch (code) {
    case tap::ErrorCode::usage: return v1::ErrorCode::usage;
    case tap::ErrorCode::not_found: return v1::ErrorCode::not_found;
    case tap::ErrorCode::bad_file: return v1::ErrorCode::bad_file;
    case tap::ErrorCode::bad_input: return v1::ErrorCode::bad_input;
    case tap::ErrorCode::limit: return v1::ErrorCode::limit;
    case tap::ErrorCode::io: return v1::ErrorCode::io;
    case tap::ErrorCode::unsupported: return v1::ErrorCode::unsupported;
    case tap::ErrorCode::cancelled: return v1::ErrorCode::cancelled;
    case tap::ErrorCode::out_of_memory: return v1::ErrorCode::out_of_memory;
    case tap::ErrorCode::internal: return v1::ErrorCode::internal;
    case tap::ErrorCode::refused: return v1::ErrorCode::refused;
  }
  return v1::ErrorCode::internal;
}

void quiet_log() {
  static std::once_flag once;
  std::call_once(once, [] { log::set_sink([](log::Level, std::string_view) {}); });
}

void throw_public() {
  try {
    throw;
  } catch (const tap::Error& error) {
    throw v1::Error(code_of(error.code()), error.message(), error.item());
  } catch (const std::bad_alloc&) {
    throw v1::Error(v1::ErrorCode::out_of_memory, "out of memory");
  } catch (const std::exception& error) {
    throw v1::Error(v1::ErrorCode::internal, fmt::format("internal error (please report it): {}", error.what()));
  } catch (...) {
    throw v1::Error(v1::ErrorCode::internal, "internal error (please report it)");
  }
}

void Engine::refuse_reentry() const {
  static std::atomic<pid_t> first{0};  // the process that computed first
  pid_t expected = 0;
  const pid_t me = ::getpid();
  if (!first.compare_exchange_strong(expected, me) && expected != me)
    throw v1::Error(v1::ErrorCode::unsupported,
                    "this process was forked from one that had used tapetum, whose threads it lacks; load the model "
                    "after the fork only, or start a new process instead (Python's multiprocessing: \"spawn\")");
  if (turns.has_caller())
    throw v1::Error(v1::ErrorCode::usage, "keep_on may not use the model that called it", "keep_on");
}

}  // namespace tap::api
