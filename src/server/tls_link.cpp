#include "server/tls_link.h"

#include <array>
#include <chrono>
#include <utility>

#include <sys/socket.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <fmt/format.h>

#include "base/error.h"
#include "base/fd_message.h"
#include "server/continuation.h"

namespace tap::server {

namespace net = boost::asio;
using boost::system::error_code;
using net::ip::tcp;

namespace {

constexpr auto handshake_time = std::chrono::seconds(10);
constexpr auto linger_time = std::chrono::seconds(2);  // for a client that has its answer and goes on sending

}  // namespace

struct TlsLinks::Context {
  net::ssl::context ssl{net::ssl::context::tls_server};
};

// One connection: bytes go both ways until an end closes.
class TlsLinks::Link : public std::enable_shared_from_this<Link> {
 public:
  Link(tcp::socket socket, net::ssl::context& context, std::function<void(Fd)> give)
      : outer_(std::move(socket), context),
        inner_(outer_.get_executor()),
        timer_(outer_.get_executor()),
        give_(std::move(give)) {}

  void start() {
    error_code ignored;
    outer_.next_layer().set_option(tcp::no_delay(true), ignored);
    close_after(handshake_time);
    outer_.async_handshake(net::ssl::stream_base::server, then([](Link& self, error_code error) {
                             if (error) return self.close();
                             self.timer_.cancel();
                             self.open();
                           }));
  }
  void lost() { close(); }

 private:
  template <class Fn>
  Continuation<Link, Fn> then(Fn fn) {
    return {shared_from_this(), std::move(fn)};
  }
  void open() {
    auto [near, far] = socket_pair(SOCK_STREAM);
    if (near.get() < 0) return close();
    error_code failed;
    inner_.assign(net::local::stream_protocol(), near.get(), failed);
    if (failed) return close();
    near.release();
    give_(std::move(far));
    inwards();
    outwards();
  }
  void inwards() {
    outer_.async_read_some(net::buffer(in_), then([](Link& self, error_code error, std::size_t bytes) {
                             if (error) {  // the client has left, or says no more
                               error_code ignored;
                               self.inner_.shutdown(net::socket_base::shutdown_send, ignored);
                               return;
                             }
                             self.inwards(bytes);
                           }));
  }
  void inwards(std::size_t bytes) {
    net::async_write(inner_, net::buffer(in_, bytes), then([](Link& self, error_code closed, std::size_t) {
                       // What comes after the answer is read and dropped.
                       if (!closed || self.lingering_) self.inwards();
                     }));
  }
  void outwards() {
    inner_.async_read_some(net::buffer(out_), then([](Link& self, error_code error, std::size_t bytes) {
                             error ? self.finish() : self.outwards(bytes);
                           }));
  }
  void outwards(std::size_t bytes) {
    net::async_write(outer_, net::buffer(out_, bytes),
                     then([](Link& self, error_code gone, std::size_t) { gone ? self.close() : self.outwards(); }));
  }
  // The answer is over: the client is told, and has a moment to hear it.
  void finish() {
    lingering_ = true;
    close_after(linger_time);
    outer_.async_shutdown(then([](Link& self, error_code) {
      error_code ignored;
      self.outer_.next_layer().shutdown(tcp::socket::shutdown_send, ignored);
    }));
  }
  void close_after(std::chrono::seconds time) {
    timer_.expires_after(time);
    timer_.async_wait(then([](Link& self, error_code error) {
      if (!error) self.close();
    }));
  }
  void close() {
    error_code ignored;
    timer_.cancel();
    outer_.next_layer().close(ignored);
    inner_.close(ignored);
  }

  net::ssl::stream<tcp::socket> outer_;
  net::local::stream_protocol::socket inner_;
  net::steady_timer timer_;
  std::function<void(Fd)> give_;
  std::array<char, 16384> in_{}, out_{};
  bool lingering_ = false;
};

TlsLinks::TlsLinks(const std::string& certificate, const std::string& key) : context_(std::make_unique<Context>()) {
  error_code failed;
  const auto check = [&](const std::string& file) {
    if (failed) throw Error(ErrorCode::bad_file, fmt::format("{}: {}", file, failed.message()), file);
  };
  net::ssl::context& ssl = context_->ssl;
  ssl.set_options(net::ssl::context::default_workarounds | net::ssl::context::no_tlsv1 | net::ssl::context::no_tlsv1_1);
  ssl.use_certificate_chain_file(certificate, failed), check(certificate);
  ssl.use_private_key_file(key, net::ssl::context::pem, failed), check(key);
}
TlsLinks::~TlsLinks() = default;

void TlsLinks::serve(tcp::socket socket, std::function<void(Fd)> give) {
  std::make_shared<Link>(std::move(socket), context_->ssl, std::move(give))->start();
}

}  // namespace tap::server
