// What goes wrong. Every function of the library that fails throws tap::Error, and nothing else: no other exception, no
// exit, no output.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include <tapetum/version.h>

namespace tap {
namespace v1 [[gnu::visibility("default")]] {

enum class ErrorCode {
  usage,          // the call itself is wrong: an option out of its range, an empty question
  not_found,      // no such file, folder or model
  bad_file,       // a model's file or a picture that is damaged, incomplete or of no known kind
  bad_input,      // a value that cannot be used: an empty text to embed, a frame that a file lacks
  limit,          // larger than what is allowed, or than the model's context
  io,             // reading or writing failed
  unsupported,    // right, but this model or this build cannot
  cancelled,      // `keep_on` said no
  out_of_memory,  // the message names the size
  internal,       // our bug; please report it
  refused         // by a guard; the message names policy, probability and threshold
};

// "bad_file": the same words that the program's JSON has as `code`.
std::string_view name(ErrorCode code) noexcept;

// One line: where, what was got, what is allowed, the next step.
//   try { tap::Model::load("nowhere"); }
//   catch (const tap::Error& error) { std::cerr << name(error.code()) << ": " << error.what() << "\n"; }
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message, std::string item = {});
  Error(const Error&);
  Error& operator=(const Error&);
  ~Error() override;
  ErrorCode code() const noexcept { return code_; }
  // The file, key or option the error is about; may be empty.
  const std::string& item() const noexcept { return item_; }

 private:
  ErrorCode code_;
  std::string item_;
};

}  // namespace gnu::visibility("default")]]
}  // namespace tap
