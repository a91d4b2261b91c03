// The DevTools protocol over one socket: JSON messages, each ended by a zero byte. Commands have numbers that their
// answers repeat; events have none and go to the listener of their session.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "io/json.h"

namespace tap::browser {

using Deadline = std::chrono::steady_clock::time_point;
Deadline in_seconds(double seconds);

class Connection {
 public:
  explicit Connection(Fd socket) : socket_(std::move(socket)) {}

  // Sends a command and waits for its answer; events that come first reach their listeners. Throws Error: bad_input
  // with what the browser says against the command, io when the browser went away, makes no sense or gives no answer
  // in time, cancelled. An empty session is the browser itself.
  Json call(std::string_view method, const Json& params, const std::string& session, Deadline deadline);
  // Sends a command whose answer nobody waits for; so listeners may use it.
  void post(std::string_view method, const Json& params, const std::string& session);

  // Ends the call that waits for this session's answer, if one does: it throws bad_input with `why`.
  void give_up(const std::string& session, std::string_view why);

  using Listener = std::function<void(const std::string& method, const Json& params)>;
  void listen(const std::string& session, Listener listener) { listeners_[session] = std::move(listener); }
  void forget(const std::string& session) { listeners_.erase(session); }

  // Takes what has come, waiting until the deadline for the first message. False: none came.
  bool pump(Deadline deadline);

 private:
  long send(std::string_view method, const Json& params, const std::string& session, Deadline deadline);
  void read_some();  // what is there, without waiting
  bool dispatch();   // one whole message of those read; false: there is none

  Fd socket_;
  std::string read_;
  std::size_t searched_ = 0;  // of read_, without a zero byte
  long sent_ = 0, awaited_ = 0;
  std::string awaited_session_;
  Json answer_;  // of the awaited command; null: not yet there
  std::map<std::string, Listener> listeners_;
};

// A member that the protocol promises. Throws Error(io).
const Json& member(const Json& json, const char* key);
std::string text_at(const Json& json, const char* key);  // empty where there is none

}  // namespace tap::browser
