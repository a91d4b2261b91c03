#include "io/fetch.h"

#include <doctest/doctest.h>

#include "base/clock.h"
#include "base/exec_context.h"
#include "support/loopback.h"

using namespace tap;
using test::Loopback;

namespace {

using Send = std::function<bool(const std::string&)>;

FetchOptions here() {
  FetchOptions options;
  options.allow_private = true;
  options.connect_seconds = 5;
  options.total_seconds = 10;
  return options;
}

std::string answer(const std::string& body, const std::string& more = "") {
  return fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{}Connection: close\r\n\r\n{}", body.size(), more, body);
}

std::string redirect(const std::string& to) {
  return "HTTP/1.1 302 Found\r\nLocation: " + to + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
}

// The message of a failed fetch.
std::string failure(const std::string& url, const FetchOptions& options, ErrorCode code) {
  const auto body = fetch(url, options);
  if (body.ok()) return "(fetched " + std::to_string(body->size()) + " bytes)";
  CHECK(body.error().code() == code);
  CHECK(body.error().message().find('\n') == std::string::npos);
  return body.error().message();
}

bool contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  MESSAGE(text);
  return false;
}

struct Received {
  FetchResponse response;
  std::string body;
};

Received receive(const FetchRequest& request, const FetchOptions& options) {
  auto fetcher = Fetcher::open().value();
  Received out;
  out.response = fetcher
                     .fetch(request, options,
                            [&](const FetchResponse&, std::span<const std::byte> bytes) {
                              out.body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
                            })
                     .value();
  return out;
}

}  // namespace

TEST_CASE("a body is fetched and nothing is asked for that would be decoded") {
  const Loopback server([](const std::string&, const Send& send) { send(answer("hello")); });
  CHECK(fetch(server.url("/a?b"), here()).value() == "hello");
  const std::string head = server.requests().at(0);
  CHECK(head.starts_with("GET /a?b HTTP/1.1\r\n"));
  CHECK(head.find("Accept-Encoding") == std::string::npos);
  CHECK(head.find("Authorization") == std::string::npos);
}

TEST_CASE("[B37] loopback is refused by its address whatever name leads to it") {
  const Loopback server([](const std::string&, const Send& send) { send(answer("secret")); });
  FetchOptions options = here();
  options.allow_private = false;
  for (const char* host : {"127.0.0.1", "localhost", "0x7f.1", "2130706433", "127.0.0.1.", "[::ffff:7f00:1]"})
    CHECK(contains(failure(server.url("/", host), options, ErrorCode::bad_input), "(loopback)"));
  CHECK(server.requests().empty());
}

TEST_CASE("[B37] a redirect is vetted like the first URL") {
  const Loopback server([](const std::string&, const Send& send) { send(redirect("file:///etc/passwd")); });
  CHECK(contains(failure(server.url("/"), here(), ErrorCode::bad_input), "file: URLs are not fetched"));
  const Loopback second([](const std::string&, const Send& send) { send(redirect("http://127.0.0.1\\@1.1.1.1/")); });
  CHECK(contains(failure(second.url("/"), here(), ErrorCode::bad_input), "backslash"));
}

TEST_CASE("[B38] five redirects are followed and six are not") {
  const Loopback server([](const std::string& head, const Send& send) {
    const char left = head[5];  // "GET /5 …"
    send(left == '0' ? answer("there") : redirect(std::string("/") + static_cast<char>(left - 1)));
  });
  CHECK(fetch(server.url("/5"), here()).value() == "there");
  CHECK(contains(failure(server.url("/6"), here(), ErrorCode::bad_input), "redirects more than 5 times"));
  const Loopback loop([](const std::string&, const Send& send) { send(redirect("/")); });
  CHECK(contains(failure(loop.url("/"), here(), ErrorCode::bad_input), "redirects more than 5 times"));
  const Loopback nowhere(
      [](const std::string&, const Send& send) { send("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"); });
  CHECK(contains(failure(nowhere.url("/"), here(), ErrorCode::bad_input), "without a place to go"));
}

TEST_CASE("[B38] a body has a limit whether or not its length is known") {
  FetchOptions options = here();
  options.max_bytes = 1000;
  const Loopback honest([](const std::string&, const Send& send) { send(answer(std::string(1001, 'x'))); });
  CHECK(contains(failure(honest.url("/"), options, ErrorCode::limit), "1001 bytes, the limit is 1000"));
  const Loopback endless([](const std::string&, const Send& send) {
    send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    while (send(std::string(4096, 'x'))) {
    }
  });
  CHECK(contains(failure(endless.url("/"), options, ErrorCode::limit), "more bytes than the limit of 1000"));
  const Loopback no_length(
      [](const std::string&, const Send& send) { send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"); });
  CHECK(fetch(no_length.url("/"), options).value() == "hello");
  const Loopback exact([](const std::string&, const Send& send) { send(answer(std::string(1000, 'x'))); });
  CHECK(fetch(exact.url("/"), options).value().size() == 1000);
}

TEST_CASE("[B38] a body that ends early is an error") {
  const Loopback server(
      [](const std::string&, const Send& send) { send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"); });
  CHECK(contains(failure(server.url("/"), here(), ErrorCode::io), "the connection ended after 5 bytes"));
}

TEST_CASE("[B38] a compressed answer that nobody asked for is refused") {
  const Loopback server(
      [](const std::string&, const Send& send) { send(answer("\x1f\x8b", "Content-Encoding: gzip\r\n")); });
  CHECK(contains(failure(server.url("/"), here(), ErrorCode::bad_input), "is compressed (gzip)"));
}

TEST_CASE("[B38] headers have a limit") {
  const Loopback server([](const std::string&, const Send& send) {
    send("HTTP/1.1 200 OK\r\n");
    while (send("X-Filler: " + std::string(1000, 'x') + "\r\n")) {
    }
  });
  CHECK(contains(failure(server.url("/"), here(), ErrorCode::limit), "of headers, the limit"));
}

TEST_CASE("[B38] a server of one byte a second is given up and so is one that takes too long in all") {
  const Loopback server([](const std::string&, const Send& send) {
    send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    for (int i = 0; i < 100 && send("x"); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  });
  FetchOptions slow = here();
  slow.low_seconds = 1;
  CHECK(contains(failure(server.url("/"), slow, ErrorCode::io), "slower than 256 bytes/s for 1 s"));
  FetchOptions hasty = here();
  hasty.total_seconds = 0.5;
  CHECK(contains(failure(server.url("/"), hasty, ErrorCode::io), "took longer than the limit of 0.5 s"));
}

TEST_CASE("a token goes to its own origin only and never comes back after leaving it") {
  const Loopback other([](const std::string&, const Send& send) { send(answer("bytes")); });
  const std::string there = other.url("/cdn", "localhost");
  const Loopback server([&](const std::string& head, const Send& send) {
    send(redirect(head.starts_with("GET /first ") ? "/second" : there));
  });
  FetchOptions options = here();
  options.token = "hf_secret";
  const Received got = receive({parse_url(server.url("/first")).value()}, options);
  CHECK(got.body == "bytes");
  CHECK(got.response.hops.size() == 3);
  CHECK(server.requests().at(0).find("Authorization: Bearer hf_secret\r\n") != std::string::npos);
  CHECK(server.requests().at(1).find("Authorization: Bearer hf_secret\r\n") != std::string::npos);
  CHECK(other.requests().at(0).find("hf_secret") == std::string::npos);
  options.token = "two\r\nHost: lines";
  CHECK(contains(failure(server.url("/"), options, ErrorCode::usage), "the token holds blanks"));
}

TEST_CASE("a response of another origin is not fetched when hosts are not followed") {
  const Loopback server([](const std::string&, const Send& send) { send(redirect("http://elsewhere.invalid/x")); });
  FetchOptions options = here();
  options.follow_hosts = false;
  const Received got = receive({parse_url(server.url("/")).value(), true}, options);
  CHECK(got.response.status == 302);
  CHECK(got.response.header("location") == "http://elsewhere.invalid/x");
  CHECK(server.requests().at(0).starts_with("HEAD / "));
}

TEST_CASE("[F04] a range is asked for and a server that sends another one is refused") {
  const Loopback server([](const std::string& head, const Send& send) {
    const std::string begin = head.find("Range: bytes=5-\r\n") != std::string::npos ? "5" : "4";
    send("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes " + begin +
         "-9/10\r\nContent-Length: 5\r\nConnection: close\r\n\r\n56789");
  });
  FetchRequest request{parse_url(server.url("/")).value(), false, 5, "\"tag\""};
  const Received got = receive(request, here());
  CHECK(got.response.status == 206);
  CHECK(got.body == "56789");
  CHECK(server.requests().at(0).find("If-Range: \"tag\"\r\n") != std::string::npos);
  request.from = 6;
  auto fetcher = Fetcher::open().value();
  const auto wrong = fetcher.fetch(request, here(), [](const FetchResponse&, std::span<const std::byte>) {});
  REQUIRE(!wrong.ok());
  CHECK(contains(wrong.error().message(), "holds another range"));
}

TEST_CASE("what a sink throws is what the fetch says") {
  const Loopback server([](const std::string&, const Send& send) { send(answer("hello")); });
  auto fetcher = Fetcher::open().value();
  const auto failed =
      fetcher.fetch({parse_url(server.url("/")).value()}, here(),
                    [](const FetchResponse&, std::span<const std::byte>) { fail(ErrorCode::io, "disk full"); });
  REQUIRE(!failed.ok());
  CHECK(failed.error().message() == "disk full");
}

TEST_CASE("a status other than 200 is an error that names it and pages of errors are not read to their end") {
  const Loopback missing(
      [](const std::string&, const Send& send) { send("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n"); });
  CHECK(contains(failure(missing.url("/x"), here(), ErrorCode::not_found), "/x: the server answers 404 Not Found"));
  const Loopback endless([](const std::string&, const Send& send) {
    send("HTTP/1.1 429 Slow down\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n");
    while (send(std::string(4096, '<'))) {
    }
  });
  CHECK(contains(failure(endless.url("/"), here(), ErrorCode::io), "429 Too Many Requests"));
}

TEST_CASE("a fetch ends soon after it is cancelled") {
  const Loopback server([](const std::string&, const Send& send) {
    send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    for (int i = 0; i < 200 && send("x"); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  });
  ExecContext context(1);
  const ExecContext::Scope scope(context);
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    context.cancel();
  });
  const auto body = fetch(server.url("/"), here());
  later.join();
  REQUIRE(!body.ok());
  CHECK(body.error().code() == ErrorCode::cancelled);
  CHECK(server.requests().size() == 1);
}

TEST_CASE("a host that nobody knows and a port that nobody serves are named") {
  CHECK(contains(failure("http://nobody.invalid/", here(), ErrorCode::io), "the host nobody.invalid is not found"));
  CHECK(contains(failure("http://127.0.0.1:1/", here(), ErrorCode::io), "no connection to 127.0.0.1 port 1"));
}
