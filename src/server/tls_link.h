// TLS in front of the HTTP server: each accepted connection is decrypted into a socket pair, whose other end is served
// like any connection.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <boost/asio/ip/tcp.hpp>

#include "base/fd.h"

namespace tap::server {

class TlsLinks {
 public:
  // PEM files: the certificate with its chain, and its key. Throws Error naming the file that cannot be used.
  TlsLinks(const std::string& certificate, const std::string& key);
  ~TlsLinks();

  // Shakes hands, then gives the plain end out; a client that cannot is dropped. On the socket's thread.
  void serve(boost::asio::ip::tcp::socket socket, std::function<void(Fd)> give);

 private:
  class Link;
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace tap::server
