// tapetum chat: a conversation about pictures, line by line.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/asking.h"
#include "cli/chat_file.h"
#include "cli/chat_input.h"
#include "cli/line_editor.h"
#include "cli/options.h"

namespace tap::cli {

class Chat {
 public:
  // Loads the model. Throws Error.
  Chat(const Options& options, ChatInput& input);

  void attach(const std::string& source);  // for the next question; throws Error
  int run();                               // until the end of input or /quit; gives the exit code

 private:
  friend struct ChatCommands;  // chat_commands.cpp
  void obey(std::string_view line);
  bool command(std::string_view line);  // false: not a command
  ChatPicture load(const std::string& source);
  void say_attached(const ChatPicture& picture) const;
  // Asks with the pictures attached. A question that fails is no turn; its pictures wait for the next one, unless they
  // did not fit the context.
  void ask(std::string question);
  // Gives false when it was stopped before the first word.
  bool answer(const Conversation& conversation, ChatTurn& turn);
  void report(const ChatTurn& turn, const Generation& generation, const std::vector<bool>& known,
              double total_ms) const;
  void note(std::string_view line) const;  // for people, on stderr
  void tell(std::string_view text) const;  // asked for: on stdout, but never among the JSON lines
  void fail_turn(const Error& error);

  Options options_;
  ChatInput& input_;
  std::unique_ptr<Model> model_;
  Session session_;
  Transcript transcript_;
  std::vector<ChatPicture> pending_;
  Guards guards_;
  std::vector<Safety> judged_, words_judged_, answer_judged_;  // what guards said of the turn's pictures, words, answer
  std::string file_;  // the conversation was saved to or loaded from it: /save may replace it
  bool quit_ = false, failed_ = false;
};

// Throws Error(limit) when the pictures of a conversation, decoded, are too many bytes with that of `source`.
void check_picture_bytes(std::size_t bytes, const std::string& source);

// "/im" to "/image ", and files after /image, /save and /load.
Completion complete_chat(std::string_view before_cursor);

struct ChatCommandInfo {
  std::string_view name, argument, help;
};
std::span<const ChatCommandInfo> chat_commands();

}  // namespace tap::cli
