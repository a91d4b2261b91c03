#include "io/url.h"

#include <cstring>

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>

using namespace tap;

namespace {

std::string error_of(const std::string& text) {
  const auto url = parse_url(text);
  if (url.ok()) return "accepted as " + url->text();
  CHECK(url.error().code() == ErrorCode::bad_input);
  CHECK(url.error().message().find_first_of("\n\r\x1b") == std::string::npos);
  CHECK(url.error().message().size() < 400);
  return url.error().message();
}

void refused(const std::string& text, const std::string& part) {
  const std::string message = error_of(text);
  INFO(text << " -> " << message);
  CHECK(message.find(part) != std::string::npos);
}

std::string canonical(const std::string& text) {
  const auto url = parse_url(text);
  return url.ok() ? url->text() : url.error().message();
}

std::string resolved(const std::string& base, const std::string& location) {
  const auto url = resolve_url(parse_url(base).value(), location);
  return url.ok() ? url->text() : url.error().message();
}

std::string kind(const char* text) {
  sockaddr_storage storage = {};
  if (std::strchr(text, ':')) {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
    v6->sin6_family = AF_INET6;
    REQUIRE(::inet_pton(AF_INET6, text, &v6->sin6_addr) == 1);
  } else {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
    v4->sin_family = AF_INET;
    REQUIRE(::inet_pton(AF_INET, text, &v4->sin_addr) == 1);
  }
  const auto& address = reinterpret_cast<const sockaddr&>(storage);
  CHECK(address_text(address) == text);
  return std::string(refused_address_kind(address));
}

std::string data_error(const std::string& text, std::size_t limit = 100) {
  const auto data = parse_data_url(text, limit);
  return data.ok() ? "accepted" : data.error().message();
}

}  // namespace

TEST_CASE("a URL is written anew in one form") {
  CHECK(canonical("http://example.com") == "http://example.com/");
  CHECK(canonical("HTTPS://Example.COM:443/A?b=C#part") == "https://example.com/A?b=C");
  CHECK(canonical("http://example.com:8080?q") == "http://example.com:8080/?q");
  CHECK(canonical("http://example.com:/x") == "http://example.com/x");
  CHECK(canonical("http://example.com./x") == "http://example.com/x");
  CHECK(canonical("https://a_b.example.org/caf\xC3\xA9") == "https://a_b.example.org/caf%C3%A9");
  CHECK(canonical("http://[2001:DB8:0:0::1]:81/") == "http://[2001:db8::1]:81/");
  const Url url = parse_url("http://example.com/a/b?c").value();
  CHECK(url.scheme == "http");
  CHECK(url.host == "example.com");
  CHECK(url.port == 80);
  CHECK(url.target == "/a/b?c");
}

TEST_CASE("[B37] hosts that are numbers become dotted decimal or are refused") {
  for (const char* host :
       {"127.0.0.1", "127.1", "0x7f.1", "0x7F000001", "2130706433", "017700000001", "127.0.0.1.", "0177.0.0.1"})
    CHECK(canonical("http://" + std::string(host) + "/") == "http://127.0.0.1/");
  CHECK(canonical("http://[::ffff:7f00:1]/") == "http://[::ffff:127.0.0.1]/");
  for (const char* host : {"256.1.1.1", "1.2.3.4.5", "4294967296", "1.2.3.256", "127.0.0.08", "a.0x7g.0x1"})
    refused("http://" + std::string(host) + "/", "is no IPv4 address");
  refused("http://1..2/", "a part of 0 bytes");
  refused("http://[::1/", "is no IPv6 address");
  refused("http://[fe80::1%25eth0]/", "is no IPv6 address");
  refused("http://[]/", "is no IPv6 address");
}

TEST_CASE("[B37] what two readers could take for different hosts is refused") {
  refused("http://127.0.0.1\\@1.1.1.1/", "backslash");
  refused("http://a@b/", "user name or password");
  refused("http://user:secret@example.com/", "user name or password");
  CHECK(error_of("http://user:secret@example.com/").find("secret") == std::string::npos);
  CHECK(error_of("http://user:sec ret@example.com/").find("sec ret") == std::string::npos);
  refused("http://exa mple.com/", "no blank");
  refused("http://example.com/a b", "%20");
  refused("http://example.com/\r\nHost: x", "control character");
  refused(std::string("http://example.com/\0", 20), "control character");
  refused("http://ex%61mple.com/", "letters, digits");
  refused(
      "http://b\xC3\xBC"
      "cher.example/",
      "xn--");
  refused("http:///x", "names no host");
  refused("http://:80/", "names no host");
  refused("http:/example.com", "\"//\" must follow");
  refused("http://example.com:0/", "from 1 to 65535");
  refused("http://example.com:65536/", "from 1 to 65535");
  refused("http://example.com:8o/", "from 1 to 65535");
  refused("example.com", "must begin with http");
  refused("", "must begin with http");
}

TEST_CASE("[B37] other schemes are refused by name and long hosts and URLs by size") {
  refused("file:///etc/passwd", "file: URLs are not fetched");
  refused("gopher://example.com/", "gopher: URLs are not fetched");
  refused("FTP://example.com/", "ftp: URLs");
  refused("http://" + std::string(8000, 'a') + "/", "its host has 8000 bytes, the limit is 255");
  refused("http://" + std::string(8192, 'a'), "the URL has 8199 bytes, the limit is 8192");
  refused("http://" + std::string(64, 'a') + ".com/", "a part of 64 bytes");
}

TEST_CASE("a redirect is read against the URL it came from") {
  CHECK(resolved("http://a.example/x/y?z", "https://b.example/q") == "https://b.example/q");
  CHECK(resolved("https://a.example/x/y", "//b.example/q") == "https://b.example/q");
  CHECK(resolved("http://a.example:81/x/y?z", "/q?r#s") == "http://a.example:81/q?r");
  CHECK(resolved("http://a.example/x/y?z", "?r") == "http://a.example/x/y?r");
  CHECK(resolved("http://a.example/x/y?z=/1", "q") == "http://a.example/x/q");
  CHECK(resolved("http://a.example/x", "") == "http://a.example/x");
  CHECK(resolved("http://a.example/x", "file:///etc/passwd").find("file: URLs") != std::string::npos);
  CHECK(resolved("http://a.example/x", "/\\evil").find("backslash") != std::string::npos);
  CHECK(resolved("http://a.example/x", "//u@evil/").find("user name") != std::string::npos);
  CHECK(resolved("http://a.example/" + std::string(5000, 'x') + "/", std::string(5000, 'y')).find("limit") !=
        std::string::npos);
}

TEST_CASE("messages show a URL without its long query") {
  CHECK(parse_url("http://a.example/x?short").value().shown() == "http://a.example/x?short");
  const std::string signature(200, 's');
  CHECK(parse_url("http://a.example/x?sig=" + signature).value().shown() == "http://a.example/x?…");
  CHECK(shortened_url("data:image/png;base64," + signature).size() < 110);
}

TEST_CASE("words that are URLs are told from names of files and questions") {
  for (const char* word : {"http://a", "HTTPS://a", "data:image/png,x", "file:///x", "data:"}) CHECK(is_url(word));
  for (const char* word : {"a.png", "./http://a", "http", "data", "http: what is it?", "data: what is it?", "C:\\x",
                           "://x", "what is http://a", ""})
    CHECK_FALSE(is_url(word));
}

TEST_CASE("[B20] data URLs are read strictly") {
  const DataUrl base64 = parse_data_url("data:image/PNG;charset=x;base64,QUJD", 100).value();
  CHECK(base64.mime == "image/png");
  CHECK(base64.bytes == "ABC");
  CHECK(parse_data_url("data:;base64,QUI=", 100).value().bytes == "AB");
  CHECK(parse_data_url("data:;base64,QUI", 100).value().bytes == "AB");
  CHECK(parse_data_url("data:;base64,QU%4a%43", 100).value().bytes == "ABB");
  CHECK(parse_data_url("data:image/x,a%20b%00", 100).value().bytes == std::string("a b\0", 4));
  CHECK(parse_data_url("data:,", 100).value().mime == "text/plain");
  CHECK(data_error("data:image/png;base64").find("has no comma") != std::string::npos);
  CHECK(data_error("data:image/png;base64,QU!D").find("character 3 of its data is no base64") != std::string::npos);
  CHECK(data_error("data:image/png;base64,QU D").find("character 3") != std::string::npos);
  CHECK(data_error("data:image/png;base64,QUJDQ").find("is cut") != std::string::npos);
  CHECK(data_error("data:image/png;base64,====").find("no base64") != std::string::npos);
  CHECK(data_error("data:image/png,a%2").find("'%' without two") != std::string::npos);
  CHECK(data_error("data:image/png,a%zz").find("'%' without two") != std::string::npos);
  CHECK(data_error("http://a/").find("is no data: URL") != std::string::npos);
}

TEST_CASE("[B20] a data URL of 200 MB is refused before it is decoded") {
  const std::string huge = "data:image/png;base64," + std::string(200u << 20, 'A');
  const std::string message = data_error(huge, 100u << 20);
  CHECK(message.find("bytes of data, the limit is 104857600") != std::string::npos);
  CHECK(message.size() < 300);
  CHECK(data_error("data:x/y," + std::string(101, 'a')).find("101 bytes of data, the limit is 100") !=
        std::string::npos);
  CHECK(data_error("data:x/y;base64," + std::string(136, 'A')).find("the limit is 100") != std::string::npos);
  CHECK(data_error("data:x/y," + std::string(100, 'a')) == "accepted");
}

TEST_CASE("[B37] only public unicast addresses may be reached") {
  for (const char* text :
       {"1.1.1.1",        "8.8.8.8",          "9.255.255.255",   "11.0.0.0",        "100.63.255.255", "100.128.0.0",
        "126.0.0.1",      "128.0.0.1",        "172.15.0.1",      "172.32.0.1",      "192.167.1.1",    "192.169.1.1",
        "198.17.0.1",     "198.20.0.1",       "223.255.255.254", "2606:4700::1111", "2a00:1450::1",   "2001:4860::8888",
        "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"})
    CHECK_MESSAGE(kind(text) == "", text);
  CHECK(kind("127.0.0.1") == "loopback");
  CHECK(kind("127.255.255.255") == "loopback");
  CHECK(kind("0.0.0.0") == "unspecified");
  CHECK(kind("10.1.2.3") == "private");
  CHECK(kind("172.16.0.1") == "private");
  CHECK(kind("172.31.255.255") == "private");
  CHECK(kind("192.168.0.1") == "private");
  CHECK(kind("169.254.169.254") == "link-local");
  CHECK(kind("100.64.0.1") == "shared (carrier-grade NAT)");
  CHECK(kind("198.18.0.1") == "benchmark");
  CHECK(kind("192.0.2.1") == "documentation");
  CHECK(kind("198.51.100.1") == "documentation");
  CHECK(kind("203.0.113.9") == "documentation");
  CHECK(kind("192.0.0.1") == "reserved");
  CHECK(kind("224.0.0.1") == "multicast");
  CHECK(kind("240.0.0.1") == "reserved");
  CHECK(kind("255.255.255.255") == "broadcast");
  CHECK(kind("::") == "unspecified");
  CHECK(kind("::1") == "loopback");
  CHECK(kind("::127.0.0.1") == "reserved");
  CHECK(kind("::ffff:127.0.0.1") == "loopback");
  CHECK(kind("::ffff:10.0.0.1") == "private");
  CHECK(kind("64:ff9b::7f00:1") == "loopback");
  CHECK(kind("64:ff9b:1::1") == "reserved");
  CHECK(kind("2002:7f00:1::1") == "loopback");
  CHECK(kind("2002:a9fe:a9fe::1") == "link-local");
  CHECK(kind("fc00::1") == "private (unique local)");
  CHECK(kind("fd12:3456::1") == "private (unique local)");
  CHECK(kind("fe80::1") == "link-local");
  CHECK(kind("fec0::1") == "private (site-local)");
  CHECK(kind("ff02::1") == "multicast");
  CHECK(kind("2001:db8::1") == "documentation");
  CHECK(kind("3fff::1") == "documentation");
  CHECK(kind("2001:2::1") == "benchmark");
  CHECK(kind("2001::1") == "reserved");
  CHECK(kind("100::1") == "reserved");
  sockaddr other = {};
  other.sa_family = AF_UNIX;
  CHECK_FALSE(is_public(other));
}
