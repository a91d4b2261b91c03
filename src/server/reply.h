// What becomes of the tokens of a request's answers.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "runtime/batch_generator.h"

namespace tap::server {

// Its parts are called on the engine's thread.
class Reply {
 public:
  virtual ~Reply() = default;
  virtual void token(std::size_t choice, const BatchGenerator::Event& event) = 0;
  virtual void end(std::size_t choice, const BatchGenerator::Finished& finished) = 0;
};

// An answer as it grows, without the white space that templates leave before it and models at its end: as Answer::text.
struct AnswerText {
  std::string text = {};    // that has come
  std::string unsent = {};  // white space that belongs to it if more follows
  // What a client may be told now. `exact`: every byte counts.
  std::string add(std::string_view piece, bool exact);
};

}  // namespace tap::server
