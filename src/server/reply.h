// What becomes of the tokens of a request's answers.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/batch_generator.h"
#include "runtime/tool_calls.h"
#include "server/chat_request.h"

namespace tap::server {

// Its parts are called on the engine's thread.
class Reply {
 public:
  virtual ~Reply() = default;
  virtual void token(std::size_t choice, const BatchGenerator::Event& event) = 0;
  virtual void end(std::size_t choice, const BatchGenerator::Finished& finished) = 0;
};

// Reads an answer as it comes: its text, without the white space that templates leave before it and models at its end
// (as Answer::text), and the calls of tools in it.
class AnswerReader {
 public:
  using Piece = ToolCallReader::Piece;
  AnswerReader(const ChatRequest& request, const Model& model);
  // What a client may be told now; no text is empty. `last`: nothing follows.
  std::vector<Piece> read(std::string_view text, bool last);
  bool calls_are_whole() const { return calls_ && calls_->complete(); }  // and there are some

 private:
  std::string shaped(std::string_view text);
  std::optional<ToolCallReader> calls_;
  bool exact_;  // every byte counts
  bool begun_ = false;
  std::string unsent_;  // white space that belongs to the text if more follows
};

}  // namespace tap::server
