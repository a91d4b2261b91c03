// An exchange that is counted and logged: one line a request, by the id that its answer carries in X-Request-Id.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "io/json.h"
#include "server/http_server.h"

namespace tap::server {

class ObservedExchange final : public HttpExchange {
 public:
  // `done` is called once, when the answer has ended or the client has left (status 499, as nginx has it).
  struct Done {
    int status = 0;
    double seconds = 0;
    Json notes;
  };
  // The client's own X-Request-Id is kept where it is one (printable ASCII, at most 64 bytes).
  ObservedExchange(std::shared_ptr<HttpExchange> exchange, std::function<void(const Done&)> done);
  ~ObservedExchange() override;

  const std::string& id() const { return id_; }
  void note(std::string_view key, Json value);  // for the log; without memory for it there is none

  const HttpRequest& request() const override { return exchange_->request(); }
  void respond(int status, std::string_view type, std::string body, Headers headers = {}) override;
  void begin(int status, std::string_view type, Headers headers = {}) override;
  void write(std::string piece) override { exchange_->write(std::move(piece)); }
  void end() override;
  bool gone() const override { return exchange_->gone(); }
  void on_gone(std::function<void()> callback) override { exchange_->on_gone(std::move(callback)); }

 private:
  void ended(int status) noexcept;
  std::shared_ptr<HttpExchange> exchange_;
  std::function<void(const Done&)> done_;
  std::string id_;
  Stopwatch since_;
  std::atomic<int> status_{0};
  std::atomic<bool> over_{false};
  std::mutex mutex_;
  Json notes_ = Json::object();
};

}  // namespace tap::server
