// Errors. Parsers of outside bytes return Result<T>; operations and loaders throw Error; TAP_ASSERT is for our own
// bugs. A message is one line and says where, what was got, what was wanted, and the next step. No pointers, no data of
// other users.
#pragma once

#include <exception>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include <fmt/core.h>

namespace tap {

enum class ErrorCode {
  usage,
  not_found,
  bad_file,
  bad_input,
  limit,
  io,
  unsupported,
  cancelled,
  out_of_memory,
  internal,
  refused  // by a guard
};

std::string_view name(ErrorCode code);  // "bad_file": stable, used as `code` in JSON errors

class Error : public std::exception {
 public:
  Error(ErrorCode code, std::string message, std::string item = {})
      : code_(code), message_(std::move(message)), item_(std::move(item)) {}
  // A copy never throws, as no exception's may: without memory for the texts it says that instead.
  Error(const Error& other) noexcept;
  Error& operator=(const Error& other) noexcept { return *this = Error(other); }
  Error(Error&&) noexcept = default;
  Error& operator=(Error&&) noexcept = default;
  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }
  const std::string& item() const { return item_; }  // file, key, argument or index the error is about; may be empty
  const char* what() const noexcept override { return message_.c_str(); }
  // The same error with "frame: " before its message; the first item given stays.
  Error within(std::string_view frame, std::string_view item = {}) const;

 private:
  ErrorCode code_;
  std::string message_, item_;
};

template <class... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
Error make_error(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return Error(code, fmt::format(format, std::forward<Args>(args)...));
}

inline Error out_of_memory() { return {ErrorCode::out_of_memory, "out of memory"}; }  // takes none: the text is short

// What fn fails with, a lack of memory among it; nothing when it does not.
template <class Fn>
std::optional<Error> error_in(Fn&& fn) {
  try {
    std::forward<Fn>(fn)();
    return std::nullopt;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

// A value or an Error. `value()` throws the error.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit by design
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit by design
  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  const Error& error() const { return std::get<1>(state_); }
  T& value() & { return check(), std::get<0>(state_); }
  const T& value() const& { return check(), std::get<0>(state_); }
  T value() && { return check(), std::move(std::get<0>(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  void check() const {
    if (!ok()) throw std::get<1>(state_);
  }
  std::variant<T, Error> state_;
};

// Runs fn; an Error that leaves it gets "frame: " before its message.
template <class Fn>
decltype(auto) with_frame(std::string_view frame, Fn&& fn) {
  try {
    return std::forward<Fn>(fn)();
  } catch (const Error& error) {
    throw error.within(frame);
  }
}

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);

}  // namespace tap

// For our bugs, never for input; survives release builds. A macro because it needs the expression's text and place.
#define TAP_ASSERT(condition) ((condition) ? void(0) : ::tap::assertion_failed(#condition, __FILE__, __LINE__))
