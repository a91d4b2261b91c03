// HTTP/1.1 for requests of at most a few megabytes and answers that may take minutes. All bytes are taken for hostile:
// heads, bodies, times and connections are limited, and a client that leaves is noticed while its answer is computed.
//
// One thread reads and writes; it runs the handler, which must hand long work to others.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace tap::server {

using Headers = std::vector<std::pair<std::string, std::string>>;  // names in lower case

struct HttpRequest {
  std::string method, path, query;  // "POST", "/v1/models", "" (without the ?)
  Headers headers;
  std::string body;
  std::string client = {};                               // its address
  std::uint64_t connection = 0;                          // that it came over, counted from 1
  std::string_view header(std::string_view name) const;  // empty when it is not there
};

// One request and its answer. Any thread may use it; what comes after the answer's end, or after the client has left,
// is dropped. An exchange that is let go without an answer gets status 500.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  virtual const HttpRequest& request() const = 0;
  // The whole answer.
  virtual void respond(int status, std::string_view type, std::string body, Headers headers = {}) = 0;
  // An answer in pieces: chunked, each piece sent at once.
  virtual void begin(int status, std::string_view type, Headers headers = {}) = 0;
  virtual void write(std::string piece) = 0;
  virtual void end() = 0;
  virtual bool gone() const = 0;  // the client left, or reads too slowly
  // Called once when it leaves before the answer's end, on the network's thread; at once when it has left.
  virtual void on_gone(std::function<void()> callback) = 0;
};

struct HttpLimits {
  std::size_t head_bytes = 16 << 10;  // request line and headers
  std::size_t body_bytes = std::size_t{64} << 20;
  std::size_t connections = 1024;
  std::size_t unsent_bytes = std::size_t{8} << 20;  // of one answer that its client does not read
  int head_seconds = 10;                            // from the first byte of a request to the end of its head
  int body_seconds = 120;
  int idle_seconds = 75;  // between requests of a connection
  int write_seconds = 60;
};

struct HttpOptions {
  std::string host = "127.0.0.1";  // a literal address, or localhost
  std::uint16_t port = 8080;       // 0: any free one
  // Hosts besides addresses and localhost that the Host header may name: a web page whose name was made to mean this
  // machine is none of them.
  std::vector<std::string> hosts = {};
  HttpLimits limits = {};
  // PEM files; empty: no TLS.
  std::string tls_certificate = {}, tls_key = {};
};

class HttpServer {
 public:
  class Impl;
  using Handler = std::function<void(std::shared_ptr<HttpExchange>)>;
  // `failure`: the body of an answer that the server gives by itself (a head that cannot be read, too large a body).
  using FailureBody = std::function<std::string(int status, std::string_view message)>;

  // Listens. Throws Error(io) naming host and port when they cannot be had, Error(usage) for a host that is no address.
  HttpServer(HttpOptions options, Handler handler, FailureBody failure);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::uint16_t port() const;
  std::size_t connections() const;
  void run();  // serves on this thread until close()
  // Any thread: connections end with the answers they wait for, new ones too …
  void drain();
  // … and there are no new ones: run() returns when the last one has ended, or after so long.
  void close(std::chrono::milliseconds at_most);

 private:
  std::shared_ptr<Impl> impl_;
};

bool is_loopback(std::string_view host);  // "localhost", 127.0.0.0/8, ::1
std::string_view reason_phrase(int status);

}  // namespace tap::server
