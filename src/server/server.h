// The server: its routes, and the way of a request from the network through preparation (threads of its own) to the
// engine.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/model_pool.h"
#include "server/http_server.h"
#include "server/request_media.h"
#include "tasks/guards.h"

namespace tap::server {

struct ServerOptions {
  HttpOptions http;
  MediaLimits media;
  std::vector<std::string> keys;  // a request needs one of them ("Authorization: Bearer …"); none: no request needs one
  GenerateOptions generate;       // max_tokens and lookup where a request says nothing; sampling is the model's own
  int preparing_threads = 2;
  // Called once a request, when it has ended: {"time", "request", "method", "path", "status", "ms", "client", …}. From
  // any thread.
  std::function<void(const Json&)> log = {};
};

class Server {
 public:
  // Listens, and answers that the model is being loaded. Throws what HttpServer throws.
  explicit Server(ServerOptions options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::uint16_t port() const;
  EngineThread& thread();  // that engines are made for
  // Answers requests, computing on this thread in `context`, until drain() or stop(). `ready` is called once the first
  // model is loaded. Throws what loading it throws.
  void run(std::shared_ptr<Guards> guards, std::unique_ptr<ModelPool> pool, ExecContext& context,
           const std::function<void()>& ready);
  void drain();  // no new requests; those that are there get their answers. Any thread
  void stop();   // … and those that are there end too. Any thread

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tap::server
