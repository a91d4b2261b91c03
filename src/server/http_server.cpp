#include "server/http_server.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstring>
#include <ctime>
#include <new>
#include <optional>
#include <thread>
#include <unordered_set>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>

#include "base/fd.h"
#include "base/log.h"
#include "io/url.h"
#include "server/continuation.h"
#include "server/tls_link.h"

namespace tap::server {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;
using net::ip::tcp;

namespace {

// How often what could not be posted for lack of memory is looked for.
constexpr auto look_again = std::chrono::seconds(1);
constexpr std::size_t most_discarded = std::size_t{1} << 20;  // of what a refused client still sends

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::string date_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[40];
  return {text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts)};
}

// "[::1]:8080" to "::1", "Localhost:80" to "localhost".
std::string host_of(std::string_view authority) {
  if (authority.starts_with('[')) return lower(authority.substr(1, authority.find(']') - 1));
  return lower(authority.substr(0, authority.find(':')));
}

bool is_address(const std::string& host) {
  error_code failed;
  net::ip::make_address(host, failed);
  return !failed;
}

std::string_view view(beast::string_view text) { return {text.data(), text.size()}; }

int status_of(const error_code& error) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow) return 431;
  if (error == http::error::body_limit) return 413;
  return 400;
}

}  // namespace

std::string_view HttpRequest::header(std::string_view name) const {
  for (const auto& [key, value] : headers)
    if (key == name) return value;
  return {};
}

bool is_loopback(std::string_view host) {
  if (host == "localhost") return true;
  error_code failed;
  const auto address = net::ip::make_address(std::string(host), failed);
  return !failed && address.is_loopback();
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    default: return "Unknown";
  }
}

class Connection;

class HttpServer::Impl : public std::enable_shared_from_this<HttpServer::Impl> {
 public:
  Impl(HttpOptions with, Handler handle, FailureBody fail)
      : options(std::move(with)), handler(std::move(handle)), failure(std::move(fail)), acceptor(io), pause_(io) {
    if (!options.tls_certificate.empty()) tls.emplace(options.tls_certificate, options.tls_key);
  }
  void listen();
  void run();
  void tend_soon();  // any thread
  bool allows(std::string_view authority) const {
    const std::string host = host_of(authority);
    return host == "localhost" || is_address(host) || std::ranges::find(options.hosts, host) != options.hosts.end();
  }

  HttpOptions options;
  Handler handler;
  FailureBody failure;
  net::io_context io{1};
  tcp::acceptor acceptor;
  std::unordered_set<Connection*> open;
  std::atomic<std::size_t> count{0};
  std::uint64_t accepted = 0;
  std::atomic<bool> wants_drain{false};
  std::atomic<std::int64_t> wants_close{-1};  // within so many milliseconds
  bool closing = false;
  std::optional<TlsLinks> tls;

 private:
  class Accepting;
  void tend();
  void accept();
  void got(error_code error, tcp::socket socket);
  void take(tcp::socket socket, const std::string& client);
  bool accepting_ = false;
  net::steady_timer pause_;                         // before the next try to accept
  std::chrono::steady_clock::time_point end_by_{};  // of close()
};

namespace {

// What a connection and its newest exchange know of each other without a message.
struct ExchangeState {
  std::atomic<bool> gone{false};
  std::atomic<bool> dropped{false};  // let go unanswered, and no memory to say so
};

}  // namespace

// Everything here happens on the network's thread.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<HttpServer::Impl> server, tcp::socket socket, std::string client)
      : server_(std::move(server)), stream_(std::move(socket)), client_(std::move(client)) {
    server_->open.insert(this);
    ++server_->count;
    id_ = ++server_->accepted;
  }
  ~Connection() {
    server_->open.erase(this);
    --server_->count;
  }

  void start() {
    error_code ignored;
    stream_.socket().set_option(tcp::no_delay(true), ignored);
    stream_.socket().non_blocking(true, ignored);  // for peeking
    read_first();
  }
  void refuse_at_once() {
    answering_ = true;
    fail(503, "too many connections");
  }
  void shut() {
    error_code ignored;
    stream_.socket().close(ignored);
  }
  // There was no memory to go on with.
  void lost() noexcept {
    try {
      if (reading_ && !gone_) {  // without what was read it may be told so
        parser_.reset();
        buffer_ = {};
        answering_ = true;
        return fail(503, "out of memory");
      }
    } catch (const std::bad_alloc&) {
    }
    left();
  }
  void tend() {
    if (!state_ || !state_->dropped.exchange(false)) return;
    try {
      abandoned(number_);
    } catch (const std::bad_alloc&) {
      lost();
    }
  }
  void close_when_idle() {
    keep_alive_ = false;
    if (!answering_ && buffer_.size() == 0) shut();
  }

  void respond(std::uint64_t number, int status, std::string_view type, std::string body, const Headers& headers) {
    if (!current(number) || begun_) return;
    begun_ = true;
    std::string text = head(status, type, headers);
    text += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
    if (!is_head_) text += body;
    send(std::move(text));
    finish();
  }
  void begin(std::uint64_t number, int status, std::string_view type, const Headers& headers) {
    if (!current(number) || begun_) return;
    begun_ = true;
    chunked_ = version_ >= 11;
    if (!chunked_) keep_alive_ = false;
    send(head(status, type, headers) + (chunked_ ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n"));
  }
  void write(std::uint64_t number, std::string piece) {
    if (!current(number) || !begun_ || piece.empty() || is_head_) return;
    if (chunked_) piece = fmt::format("{:x}\r\n{}\r\n", piece.size(), piece);
    send(std::move(piece));
  }
  void end(std::uint64_t number) {
    if (!current(number)) return;
    if (!begun_) return abandoned(number);
    if (chunked_ && !is_head_) send("0\r\n\r\n");
    finish();
  }
  void abandoned(std::uint64_t number) {
    if (!current(number)) return;
    if (!begun_) return fail(500, "the request was dropped");
    left();  // in the middle of an answer: only a closed connection tells the client that it is not whole
  }
  void on_gone(std::uint64_t number, std::function<void()> callback) {
    if (number != number_ || gone_) return callback();
    if (answering_) on_gone_ = std::move(callback);
  }

 private:
  template <class Fn>
  Continuation<Connection, Fn> then(Fn fn) {
    return {shared_from_this(), std::move(fn)};
  }
  bool current(std::uint64_t number) const { return number == number_ && answering_ && !gone_; }

  void read_first() {
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(server_->options.limits.head_bytes));
    parser_->body_limit(server_->options.limits.body_bytes);
    if (buffer_.size() > 0) return read_head();
    stream_.expires_after(std::chrono::seconds(server_->options.limits.idle_seconds));
    stream_.async_read_some(buffer_.prepare(4096), then([](Connection& self, error_code error, std::size_t bytes) {
                              if (error) return self.shut();
                              self.buffer_.commit(bytes);
                              self.read_head();
                            }));
  }
  void read_head() {
    reading_ = true;
    stream_.expires_after(std::chrono::seconds(server_->options.limits.head_seconds));
    http::async_read_header(stream_, buffer_, *parser_,
                            then([](Connection& self, error_code error, std::size_t) { self.got_head(error); }));
  }
  void got_head(error_code error) {
    if (error == http::error::end_of_stream || error == net::error::eof || error == net::error::connection_reset ||
        error == net::error::operation_aborted || error == beast::error::timeout)  // which has closed the socket
      return shut();
    const auto& request = parser_->get();
    version_ = request.version();
    keep_alive_ = false;
    is_head_ = request.method() == http::verb::head;
    answering_ = true;
    if (error) return fail_read(error);
    const std::string_view target = view(request.target());
    const auto value = [&](http::field name) {
      const auto found = request.find(name);
      return found == request.end() ? std::string_view() : view(found->value());
    };
    if (version_ != 10 && version_ != 11) return fail(400, "the version of HTTP must be 1.0 or 1.1");
    if (!target.starts_with('/')) return fail(400, "the target must begin with /");
    if (request.count(http::field::host) != (version_ == 11 ? 1u : request.count(http::field::host)))
      return fail(400, "a request has one Host header");
    if (request.count(http::field::host) && !server_->allows(value(http::field::host)))
      return fail(403, fmt::format("the host {} is not one of this server's; --allow-host adds it",
                                   log::one_line(value(http::field::host).substr(0, 80))));
    if (const std::string_view origin = value(http::field::origin); !origin.empty()) {
      const Result<Url> url = parse_url(origin);
      if (!url || !server_->allows(url->host.starts_with('[') ? url->host : url->host + ":"))
        return fail(403, fmt::format("pages of {} may not ask this server", log::one_line(origin.substr(0, 80))));
    }
    if (request.count(http::field::transfer_encoding) && !request.chunked())
      return fail(501, "of the transfer encodings only chunked is known");
    keep_alive_ = request.keep_alive() && !server_->closing;
    if (const std::string_view expect = value(http::field::expect); !expect.empty()) {
      if (lower(expect) != "100-continue") return fail(417, "the only expectation that can be met is 100-continue");
      auto text = std::make_shared<std::string>("HTTP/1.1 100 Continue\r\n\r\n");
      return net::async_write(
          stream_, net::buffer(*text),
          then([text](Connection& self, error_code failed, std::size_t) { failed ? self.shut() : self.read_body(); }));
    }
    read_body();
  }
  void read_body() {
    stream_.expires_after(std::chrono::seconds(server_->options.limits.body_seconds));
    http::async_read(stream_, buffer_, *parser_,
                     then([](Connection& self, error_code error, std::size_t) { self.got_body(error); }));
  }
  void got_body(error_code error);

  void fail_read(const error_code& error) {
    const HttpLimits& limits = server_->options.limits;
    const int status = status_of(error);
    if (status == 431)
      return fail(431, fmt::format("the request's head is over the limit of {} bytes", limits.head_bytes));
    if (status == 413)
      return fail(413, fmt::format("the request's body is over the limit of {} bytes", limits.body_bytes));
    fail(400, fmt::format("the request is not HTTP: {}", error.message()));
  }
  // An answer of the server's own, after which the connection ends: what follows cannot be trusted.
  void fail(int status, std::string_view message) {
    reading_ = keep_alive_ = false;
    respond(number_, status, "application/json", server_->failure(status, message), {});
  }

  std::string head(int status, std::string_view type, const Headers& headers) const {
    std::string text =
        fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\nServer: tapetum\r\nX-Content-Type-Options: nosniff\r\n", status,
                    reason_phrase(status), date_now());
    if (!type.empty()) text += fmt::format("Content-Type: {}\r\n", type);
    for (const auto& [name, value] : headers) text += fmt::format("{}: {}\r\n", name, value);
    text += keep_alive_ ? "Connection: keep-alive\r\n" : "Connection: close\r\n";
    return text;
  }
  void send(std::string text) {
    unsent_ += text;
    if (unsent_.size() > server_->options.limits.unsent_bytes) return left();
    if (!writing_) write_more();
  }
  void write_more() {
    writing_ = true;
    being_sent_ = std::move(unsent_);
    unsent_.clear();
    stream_.expires_after(std::chrono::seconds(server_->options.limits.write_seconds));
    net::async_write(stream_, net::buffer(being_sent_), then([](Connection& self, error_code error, std::size_t) {
                       self.writing_ = false;
                       if (error) return self.left();
                       if (!self.unsent_.empty()) return self.write_more();
                       self.stream_.expires_never();
                       if (self.finished_) self.after_answer();
                     }));
  }
  void finish() {
    finished_ = true;
    on_gone_ = nullptr;
  }
  void after_answer() {
    answering_ = begun_ = finished_ = chunked_ = false;
    if (gone_) return;
    if (keep_alive_ && !server_->closing) return read_first();
    linger();
  }
  // A client that still sends would lose an answer to the reset of a connection closed under it: its bytes are read and
  // dropped, up to a limit.
  void linger() {
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    stream_.expires_after(std::chrono::seconds(2));
    discard();
  }
  void discard() {
    buffer_.clear();
    stream_.async_read_some(buffer_.prepare(16384), then([](Connection& self, error_code error, std::size_t bytes) {
                              self.discarded_ += bytes;
                              if (error || self.discarded_ > most_discarded) return self.shut();
                              self.discard();
                            }));
  }
  void left() {
    if (gone_) return;
    gone_ = true;
    if (state_) state_->gone = true;
    shut();
    if (const auto callback = std::exchange(on_gone_, nullptr)) callback();
  }
  // While an answer is computed nothing is read: the end of the client's bytes is its leaving.
  void watch() {
    stream_.socket().async_wait(tcp::socket::wait_read, then([number = number_](Connection& self, error_code error) {
                                  if (error || number != self.number_ || !self.answering_ || self.gone_) return;
                                  char byte;
                                  error_code peeked;
                                  self.stream_.socket().receive(net::buffer(&byte, 1), tcp::socket::message_peek,
                                                                peeked);
                                  if (peeked == net::error::would_block) return self.watch();
                                  if (peeked) self.left();  // else the next request is there already
                                }));
  }

  std::shared_ptr<HttpServer::Impl> server_;
  beast::tcp_stream stream_;
  std::string client_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  std::string unsent_, being_sent_;
  std::size_t discarded_ = 0;
  std::uint64_t id_ = 0, number_ = 0;  // of this, and of its newest exchange
  unsigned version_ = 11;
  bool keep_alive_ = false, is_head_ = false, chunked_ = false;
  bool reading_ = false, answering_ = false, begun_ = false, finished_ = false, writing_ = false, gone_ = false;
  std::shared_ptr<ExchangeState> state_;
  std::function<void()> on_gone_;
};

namespace {

class Exchange final : public HttpExchange {
 public:
  Exchange(HttpRequest request, const std::shared_ptr<HttpServer::Impl>& server, const std::shared_ptr<Connection>& to,
           std::uint64_t number, std::shared_ptr<ExchangeState> state)
      : request_(std::move(request)), server_(server), to_(to), number_(number), state_(std::move(state)) {}
  ~Exchange() override {
    try {
      if (!ended_) post([number = number_](Connection& to) { to.abandoned(number); });
    } catch (const std::bad_alloc&) {
      state_->dropped = true;
    }
  }
  const HttpRequest& request() const override { return request_; }
  void respond(int status, std::string_view type, std::string body, Headers headers) override {
    post([number = number_, status, type = std::string(type), body = std::move(body), headers = std::move(headers)](
             Connection& to) mutable { to.respond(number, status, type, std::move(body), headers); });
    ended_ = true;
  }
  void begin(int status, std::string_view type, Headers headers) override {
    post([number = number_, status, type = std::string(type), headers = std::move(headers)](Connection& to) {
      to.begin(number, status, type, headers);
    });
  }
  void write(std::string piece) override {
    post([number = number_, piece = std::move(piece)](Connection& to) mutable { to.write(number, std::move(piece)); });
  }
  void end() override {
    post([number = number_](Connection& to) { to.end(number); });
    ended_ = true;
  }
  bool gone() const override { return state_->gone.load(); }
  void on_gone(std::function<void()> callback) override {
    post([number = number_, callback = std::move(callback)](Connection& to) mutable {
      to.on_gone(number, std::move(callback));
    });
  }

 private:
  template <class Fn>
  void post(Fn fn) {
    const auto server = server_.lock();
    if (!server) return;
    net::post(server->io, [to = to_, fn = std::move(fn)]() mutable {
      const auto connection = to.lock();
      if (!connection) return;
      try {
        fn(*connection);
      } catch (const std::bad_alloc&) {
        connection->lost();
      }
    });
  }
  HttpRequest request_;
  std::weak_ptr<HttpServer::Impl> server_;
  std::weak_ptr<Connection> to_;
  std::uint64_t number_;
  std::shared_ptr<ExchangeState> state_;
  std::atomic<bool> ended_{false};
};

}  // namespace

void Connection::got_body(error_code error) {
  if (error == net::error::operation_aborted || error == net::error::connection_reset || error == beast::error::timeout)
    return shut();
  if (error) return fail_read(error);
  auto message = parser_->release();
  HttpRequest request;
  request.method = view(message.method_string());
  const std::string target(view(message.target()));
  const std::size_t question = std::min(target.find_first_of("?#"), target.size());
  request.path = target.substr(0, question);
  if (question < target.size() && target[question] == '?')
    request.query = target.substr(question + 1, target.find('#', question) - question - 1);
  for (const auto& field : message)
    request.headers.emplace_back(lower(view(field.name_string())), std::string(view(field.value())));
  request.body = std::move(message.body());
  request.client = client_;
  request.connection = id_;
  parser_.reset();
  ++number_;
  stream_.expires_never();
  state_ = std::make_shared<ExchangeState>();
  watch();
  const auto exchange = std::make_shared<Exchange>(std::move(request), server_, shared_from_this(), number_, state_);
  try {
    server_->handler(exchange);
  } catch (const std::bad_alloc&) {
    exchange->respond(503, "application/json", server_->failure(503, "out of memory"), {});
  } catch (const std::exception& failed) {
    log::warn("a request failed: {}", failed.what());
    exchange->respond(500, "application/json", server_->failure(500, "internal error"), {});
  }
  reading_ = false;
}

void HttpServer::Impl::listen() {
  const std::string literal = options.host == "localhost" ? "127.0.0.1" : options.host;
  error_code failed;
  const auto address = net::ip::make_address(literal, failed);
  if (failed)
    throw Error(ErrorCode::usage,
                fmt::format("--host {}: must be an address like 127.0.0.1, 0.0.0.0 or ::1, or localhost", options.host),
                "host");
  const tcp::endpoint endpoint(address, options.port);
  const auto check = [&] {
    if (failed)
      throw Error(ErrorCode::io,
                  fmt::format("cannot listen on {} port {}: {}", options.host, options.port, failed.message()), "port");
  };
  acceptor.open(endpoint.protocol(), failed), check();
  acceptor.set_option(tcp::acceptor::reuse_address(true), failed), check();
  acceptor.bind(endpoint, failed), check();
  acceptor.listen(net::socket_base::max_listen_connections, failed), check();
}

// Holds that a connection is being waited for; when it is let go uncalled, for lack of memory, none is.
class HttpServer::Impl::Accepting {
 public:
  explicit Accepting(std::shared_ptr<Impl> server) : server_(std::move(server)) { server_->accepting_ = true; }
  Accepting(Accepting&&) noexcept = default;
  Accepting& operator=(Accepting&&) = delete;
  ~Accepting() {
    if (server_) server_->accepting_ = false;
  }
  void operator()(error_code error, tcp::socket socket) { done()->got(error, std::move(socket)); }
  void operator()(error_code) { done()->accept(); }

 private:
  std::shared_ptr<Impl> done() {
    server_->accepting_ = false;
    return std::exchange(server_, nullptr);
  }
  std::shared_ptr<Impl> server_;
};

void HttpServer::Impl::accept() { acceptor.async_accept(Accepting(shared_from_this())); }

void HttpServer::Impl::got(error_code error, tcp::socket socket) {
  if (!acceptor.is_open()) return;
  if (error) {  // out of descriptors: those of others come free
    pause_.expires_after(std::chrono::milliseconds(100));
    return pause_.async_wait(Accepting(shared_from_this()));
  }
  error_code unknown;
  const auto peer = socket.remote_endpoint(unknown);
  const std::string client = unknown ? "" : peer.address().to_string();
  if (!tls) {
    take(std::move(socket), client);
  } else {
    tls->serve(std::move(socket), [self = shared_from_this(), client](Fd fd) {
      tcp::socket plain(self->io);
      error_code failed;
      plain.assign(tcp::v4(), fd.get(), failed);
      if (failed) return;
      fd.release();
      self->take(std::move(plain), client);
    });
  }
  accept();
}

void HttpServer::Impl::take(tcp::socket socket, const std::string& client) {
  const bool full = count.load() >= options.limits.connections;
  const auto connection = std::make_shared<Connection>(shared_from_this(), std::move(socket), client);
  full ? connection->refuse_at_once() : connection->start();
}

// What is due: no message says so where there was no memory for one.
void HttpServer::Impl::tend() {
  if (wants_drain && !std::exchange(closing, true))
    for (Connection* connection : open) connection->close_when_idle();
  if (const std::int64_t ms = wants_close; ms >= 0 && acceptor.is_open()) {
    error_code ignored;
    acceptor.close(ignored);
    pause_.cancel();
    end_by_ = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
  }
  for (Connection* connection : open) connection->tend();
  try {
    if (!accepting_ && acceptor.is_open()) accept();
  } catch (const std::bad_alloc&) {  // those that come wait until the next look
  }
}

void HttpServer::Impl::tend_soon() {
  try {
    net::post(io, [self = shared_from_this()] { self->tend(); });
  } catch (const std::bad_alloc&) {  // run() looks, too
  }
}

void HttpServer::Impl::run() {
  using Clock = std::chrono::steady_clock;
  for (;;) {
    try {
      tend();
      const auto next = Clock::now() + look_again;
      io.run_until(acceptor.is_open() ? next : std::min(next, end_by_));
    } catch (const std::bad_alloc&) {  // of one connection, which ends with what it held
    }
    if (!acceptor.is_open() && (io.stopped() || Clock::now() >= end_by_)) return;
    if (!io.stopped()) continue;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));  // not even accepting is there to be waited for
    io.restart();
  }
}

HttpServer::HttpServer(HttpOptions options, Handler handler, FailureBody failure)
    : impl_(std::make_shared<Impl>(std::move(options), std::move(handler), std::move(failure))) {
  impl_->listen();
}
HttpServer::~HttpServer() {
  // What waits in the loop holds the connections, and they this: it is woken and let go here.
  error_code ignored;
  impl_->acceptor.close(ignored);
  for (Connection* connection : impl_->open) connection->shut();
  for (bool over = false; !over;) {
    try {
      impl_->io.restart();
      impl_->io.poll();
      over = true;
    } catch (const std::bad_alloc&) {
    }
  }
}
std::uint16_t HttpServer::port() const { return impl_->acceptor.local_endpoint().port(); }
std::size_t HttpServer::connections() const { return impl_->count.load(); }
void HttpServer::run() { impl_->run(); }
void HttpServer::drain() {
  impl_->wants_drain = true;
  impl_->tend_soon();
}
void HttpServer::close(std::chrono::milliseconds at_most) {
  impl_->wants_drain = true;
  impl_->wants_close = at_most.count();
  impl_->tend_soon();
}

}  // namespace tap::server
