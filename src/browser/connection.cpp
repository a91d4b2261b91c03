#include "browser/connection.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <poll.h>
#include <sys/socket.h>

#include "base/exec_context.h"

namespace tap::browser {

namespace {

constexpr int look_ms = 50;  // between questions whether to go on
constexpr std::size_t most_message_bytes = std::size_t{256} << 20;
constexpr double posting_s = 10;

Error gone(const char* why) { return make_error(ErrorCode::io, "the browser {}", why); }

// True once `events` are there; false at the deadline.
bool wait_for(int fd, short events, short& got, Deadline deadline) {
  for (;;) {
    ExecContext::current().checkpoint();
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    pollfd one{fd, events, 0};
    const int count = ::poll(&one, 1, static_cast<int>(std::clamp<long>(left, 0, look_ms)));
    if (count < 0 && errno != EINTR) throw gone(std::strerror(errno));
    if (count > 0) return got = one.revents, true;
    if (left <= 0) return false;
  }
}

}  // namespace

const Json& member(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end()) throw make_error(ErrorCode::io, "the browser's answer has no {}", key);
  return *found;
}

std::string text_at(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Deadline in_seconds(double seconds) {
  return std::chrono::steady_clock::now() +
         std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(seconds));
}

long Connection::send(std::string_view method, const Json& params, const std::string& session, Deadline deadline) {
  Json command = {{"id", ++sent_}, {"method", method}};
  if (!params.empty()) command["params"] = params;
  if (!session.empty()) command["sessionId"] = session;
  const std::string text = to_json_line(command) + '\0';
  for (std::size_t done = 0; done < text.size();) {
    short got = 0;
    if (!wait_for(socket_.get(), POLLOUT | POLLIN, got, deadline))
      throw make_error(ErrorCode::io, "{}: the browser takes no command", method);
    if (got & POLLIN) read_some();  // a browser that waits to be heard hears nothing itself
    if (!(got & (POLLOUT | POLLHUP | POLLERR))) continue;
    const ssize_t n = ::send(socket_.get(), text.data() + done, text.size() - done, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) throw gone("went away");
    if (n > 0) done += static_cast<std::size_t>(n);
  }
  return sent_;
}

void Connection::post(std::string_view method, const Json& params, const std::string& session) {
  send(method, params, session, in_seconds(posting_s));
}

Json Connection::call(std::string_view method, const Json& params, const std::string& session, Deadline deadline) {
  TAP_ASSERT(awaited_ == 0);  // a listener must post
  const struct Awaiting {
    long& id;
    ~Awaiting() { id = 0; }
  } over{awaited_};
  answer_ = nullptr;
  awaited_session_ = session;
  awaited_ = send(method, params, session, deadline);
  while (answer_.is_null())
    if (!pump(deadline)) throw make_error(ErrorCode::io, "{}: the browser gave no answer in time", method);
  if (const auto error = answer_.find("error"); error != answer_.end()) {
    const std::string data = text_at(*error, "data");
    throw make_error(ErrorCode::bad_input, "{}: {}{}{}", method, text_at(*error, "message"), data.empty() ? "" : ": ",
                     data);
  }
  return answer_.value("result", Json::object());
}

void Connection::give_up(const std::string& session, std::string_view why) {
  if (awaited_ != 0 && awaited_session_ == session) answer_ = {{"error", {{"message", why}}}};
}

void Connection::read_some() {
  std::array<char, 65536> piece;
  const ssize_t n = ::recv(socket_.get(), piece.data(), piece.size(), MSG_DONTWAIT);
  if (n == 0) throw gone("went away");
  if (n < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    throw gone("went away");
  }
  read_.append(piece.data(), static_cast<std::size_t>(n));
  if (read_.size() > most_message_bytes) throw gone("sent a message that does not end");
}

bool Connection::dispatch() {
  const std::size_t end = read_.find('\0', searched_);
  if (end == std::string::npos) {
    searched_ = read_.size();
    return false;
  }
  const std::string text = read_.substr(0, end);
  read_.erase(0, end + 1);
  searched_ = 0;
  const Result<Json> parsed = parse_json(text, "a message of the browser", {.bytes = most_message_bytes, .depth = 512});
  if (!parsed.ok()) throw Error(ErrorCode::io, parsed.error().message());
  const Json& message = *parsed;
  if (!message.is_object()) throw gone("sent what is no message");
  if (const auto id = message.find("id"); id != message.end()) {
    if (id->is_number_integer() && *id == awaited_ && awaited_ != 0) answer_ = message;
    return true;  // or nobody waits for it: it was posted, or given up
  }
  const auto listener = listeners_.find(text_at(message, "sessionId"));
  if (listener == listeners_.end()) return true;
  const Listener told = listener->second;  // which may be forgotten while it runs
  told(text_at(message, "method"), message.value("params", Json::object()));
  return true;
}

bool Connection::pump(Deadline deadline) {
  bool any = false;
  while (dispatch()) any = true;
  while (!any) {
    short got = 0;
    if (!wait_for(socket_.get(), POLLIN, got, deadline)) return false;
    read_some();
    while (dispatch()) any = true;
  }
  return true;
}

}  // namespace tap::browser
