#include "browser/tab.h"

#include <algorithm>
#include <thread>

namespace tap::browser {

namespace {

constexpr std::size_t most_kept = 10'000;  // notes, and requests: a page may write for ever
constexpr auto between_looks = std::chrono::milliseconds(25);

// console.log(a, b) as a person reads it.
std::string text_of(const Json& arguments) {
  std::string text;
  for (const Json& argument : arguments) {
    if (!text.empty()) text += ' ';
    const auto value = argument.find("value");
    text += value == argument.end() ? text_at(argument, "description")
            : value->is_string()    ? value->get<std::string>()
                                    : to_json_line(*value);
  }
  return text;
}

std::string exception_text(const Json& details) {
  const auto thrown = details.find("exception");
  std::string text = thrown == details.end() ? "" : text_at(*thrown, "description");
  if (text.empty() && thrown != details.end() && thrown->contains("value")) text = to_json_line((*thrown)["value"]);
  if (text.empty()) text = text_at(details, "text");
  std::ranges::replace(text, '\n', ' ');
  return text;
}

}  // namespace

struct Tab::Seen {
  std::string frame;      // the main one
  std::size_t loads = 0;  // its load events
  std::string gone;       // why there is no page any more; empty: there is one
  std::vector<Note> notes;
  std::vector<Request> requests;

  void note(Note::Kind kind, std::string level, std::string text) {
    if (notes.size() < most_kept) notes.push_back({kind, std::move(level), std::move(text)});
  }
  Request* request(const Json& params) {
    const std::string id = text_at(params, "requestId");
    const auto found =
        std::find_if(requests.rbegin(), requests.rend(), [&](const Request& one) { return one.id == id; });
    return found == requests.rend() ? nullptr : &*found;
  }

  void hear(Connection& connection, const std::string& session, const std::string& method, const Json& params) {
    if (method == "Page.lifecycleEvent") {
      if (text_at(params, "name") == "load" && text_at(params, "frameId") == frame) ++loads;
    } else if (method == "Page.javascriptDialogOpening") {
      note(Note::Kind::browser, "info", "the page asked: " + text_at(params, "message"));
      connection.post("Page.handleJavaScriptDialog", {{"accept", false}}, session);  // it would wait for ever
    } else if (method == "Runtime.consoleAPICalled") {
      note(Note::Kind::console, text_at(params, "type"), text_of(params.value("args", Json::array())));
    } else if (method == "Runtime.exceptionThrown") {
      note(Note::Kind::exception, "error", exception_text(params.value("exceptionDetails", Json::object())));
    } else if (method == "Log.entryAdded") {
      const Json entry = params.value("entry", Json::object());
      const std::string url = text_at(entry, "url");
      note(Note::Kind::browser, text_at(entry, "level"),
           text_at(entry, "text") + (url.empty() ? "" : " (" + url + ")"));
    } else if (method == "Network.requestWillBeSent") {
      const Json request = params.value("request", Json::object());
      if (requests.size() < most_kept)
        requests.push_back({text_at(params, "requestId"), text_at(request, "method"), text_at(request, "url"), 0, {}});
    } else if (method == "Network.responseReceived") {
      if (Request* one = this->request(params))
        one->status = params.value("response", Json::object()).value("status", 0);
    } else if (method == "Network.loadingFailed") {
      if (Request* one = this->request(params)) {
        const std::string blocked = text_at(params, "blockedReason");
        one->error = blocked.empty() ? text_at(params, "errorText") : "blocked: " + blocked;
      }
    } else if (method == "Inspector.targetCrashed" || method == "Inspector.detached") {
      gone = method == "Inspector.detached" ? "the tab was closed" : "the page crashed";
      connection.give_up(session, gone);
    }
  }
};

Tab::Tab(std::shared_ptr<Connection> connection, std::string target, std::string session, double patience_s)
    : connection_(std::move(connection)),
      target_(std::move(target)),
      session_(std::move(session)),
      patience_s_(patience_s),
      seen_(std::make_shared<Seen>()) {
  seen_->frame = target_;  // the main frame has its target's id
  connection_->listen(
      session_, [seen = seen_, to = connection_.get(), id = session_](const std::string& method, const Json& params) {
        seen->hear(*to, id, method, params);
      });
  for (const char* domain :
       {"Page.enable", "Runtime.enable", "Log.enable", "Network.enable", "DOM.enable", "Inspector.enable"})
    command(domain);
  command("Page.setLifecycleEventsEnabled", {{"enabled", true}});
}

Tab::~Tab() {
  if (connection_) connection_->forget(session_);
}
Tab::Tab(Tab&&) noexcept = default;

Json Tab::command(std::string_view method, const Json& params) {
  if (!seen_->gone.empty()) throw make_error(ErrorCode::bad_input, "{}: {}", method, seen_->gone);
  return connection_->call(method, params, session_, in_seconds(patience_s_));
}

void Tab::wait_for_load(std::size_t loads_before, Deadline deadline) {
  while (seen_->loads <= loads_before) {
    if (!seen_->gone.empty()) throw Error(ErrorCode::bad_input, seen_->gone);
    if (!connection_->pump(deadline))
      throw make_error(ErrorCode::io, "the page was not loaded within {} s", patience_s_);
  }
}

void Tab::go(const std::string& url) {
  const Deadline deadline = in_seconds(patience_s_);
  const std::size_t before = seen_->loads;
  const Json answer = command("Page.navigate", {{"url", url}});
  if (const std::string why = text_at(answer, "errorText"); !why.empty())
    throw Error(ErrorCode::bad_input, fmt::format("{}: {}", url, why), url);
  if (answer.contains("loaderId")) wait_for_load(before, deadline);  // else: a place in the same document
}

void Tab::reload() {
  const Deadline deadline = in_seconds(patience_s_);
  const std::size_t before = seen_->loads;
  command("Page.reload");
  wait_for_load(before, deadline);
}

void Tab::close() {
  connection_->call("Target.closeTarget", {{"targetId", target_}}, "", in_seconds(patience_s_));
  seen_->gone = "the tab was closed";
}

Json Tab::evaluate(const std::string& expression) {
  const Json answer = command("Runtime.evaluate", {{"expression", expression},
                                                   {"awaitPromise", true},
                                                   {"returnByValue", true},
                                                   {"userGesture", true},
                                                   {"allowUnsafeEvalBlockedByCSP", false}});
  if (const auto thrown = answer.find("exceptionDetails"); thrown != answer.end())
    throw make_error(ErrorCode::bad_input, "the page threw: {}", exception_text(*thrown));
  return member(answer, "result").value("value", Json());
}

Json Tab::call(std::string_view function, const Json& arguments) {
  std::string words;
  for (const Json& argument : arguments) words += (words.empty() ? "" : ", ") + to_json_line(argument);
  return evaluate(fmt::format("({})({})", function, words));
}

Json Tab::wait_until(const std::string& expression) {
  const Deadline deadline = in_seconds(patience_s_);
  std::string last;
  for (;;) {
    try {
      Json value = evaluate(expression);
      const bool true_there = value.is_boolean()  ? value.get<bool>()
                              : value.is_number() ? value.get<double>() != 0
                              : value.is_string() ? !value.get_ref<const std::string&>().empty()
                                                  : !value.is_null();
      if (true_there) return value;
      last = to_json_line(value);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::bad_input || !seen_->gone.empty()) throw;
      last = error.message();
    }
    if (std::chrono::steady_clock::now() >= deadline)
      throw make_error(ErrorCode::io, "after {} s it is not so that {} ({})", patience_s_, expression, last);
    std::this_thread::sleep_for(between_looks);
  }
}

const std::vector<Note>& Tab::notes() {
  while (connection_->pump(in_seconds(0))) {
  }
  return seen_->notes;
}

const std::vector<Request>& Tab::requests() {
  notes();
  return seen_->requests;
}

void Tab::forget() {
  notes();
  seen_->notes.clear();
  seen_->requests.clear();
}

}  // namespace tap::browser
