#include "server/observed_exchange.h"

#include <algorithm>
#include <new>
#include <utility>

#include "server/chat_reply.h"

namespace tap::server {

namespace {

std::string id_of(const HttpRequest& request) {
  const std::string_view given = request.header("x-request-id");
  const bool fits =
      !given.empty() && given.size() <= 64 && std::ranges::all_of(given, [](char c) { return c > ' ' && c < 127; });
  return fits ? std::string(given) : "req-" + random_id();
}

}  // namespace

ObservedExchange::ObservedExchange(std::shared_ptr<HttpExchange> exchange, std::function<void(const Done&)> done)
    : exchange_(std::move(exchange)), done_(std::move(done)), id_(id_of(exchange_->request())) {}

ObservedExchange::~ObservedExchange() { ended(exchange_->gone() ? 499 : 500); }

void ObservedExchange::note(std::string_view key, Json value) {
  const std::lock_guard lock(mutex_);
  if (over_) return;  // they are gone
  try {
    notes_[std::string(key)] = std::move(value);
  } catch (const std::bad_alloc&) {
  }
}

void ObservedExchange::respond(int status, std::string_view type, std::string body, Headers headers) {
  headers.emplace_back("X-Request-Id", id_);
  ended(exchange_->gone() ? 499 : status);  // before the client has it: what it asks for next comes after it in the log
  exchange_->respond(status, type, std::move(body), std::move(headers));
}

void ObservedExchange::begin(int status, std::string_view type, Headers headers) {
  headers.emplace_back("X-Request-Id", id_);
  status_ = status;
  exchange_->begin(status, type, std::move(headers));
}

void ObservedExchange::end() {
  ended(exchange_->gone() ? 499 : status_.load());
  exchange_->end();
}

void ObservedExchange::ended(int status) noexcept {
  if (over_.exchange(true)) return;
  Done done{status, since_.s(), {}};
  {
    const std::lock_guard lock(mutex_);
    done.notes = std::move(notes_);
  }
  try {
    done_(done);
  } catch (const std::bad_alloc&) {  // one line less in the log
  }
}

}  // namespace tap::server
