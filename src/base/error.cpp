#include "base/error.h"

#include <new>

namespace tap {

std::string_view name(ErrorCode code) {
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

Error::Error(const Error& other) noexcept : code_(other.code_) {
  try {
    message_ = other.message_;
    item_ = other.item_;
  } catch (const std::bad_alloc&) {
    code_ = ErrorCode::out_of_memory;
    message_ = "out of memory";  // fits into the string itself
    item_.clear();
  }
}

Error Error::within(std::string_view frame, std::string_view item) const {
  return Error(code_, fmt::format("{}: {}", frame, message_), item_.empty() ? std::string(item) : item_);
}

void assertion_failed(const char* expression, const char* file, int line) {
  const std::string_view path(file);
  const auto slash = path.rfind('/');
  fail(ErrorCode::internal, "internal error (please report it): {} at {}:{}", expression,
       slash == std::string_view::npos ? path : path.substr(slash + 1), line);
}

}  // namespace tap
