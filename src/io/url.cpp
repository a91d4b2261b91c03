#include "io/url.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/log.h"

namespace tap {

namespace {

constexpr std::size_t max_shown_bytes = 100, max_label_bytes = 63, max_mime_bytes = 255;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

std::string lowered(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

template <class... Args>
Error refuse(std::string_view url, fmt::format_string<Args...> format, Args&&... args) {
  std::string shown = shortened_url(url);
  std::string message = fmt::format("{}: {}", shown, fmt::format(format, std::forward<Args>(args)...));
  return Error(ErrorCode::bad_input, std::move(message), std::move(shown));
}

// The scheme before the first ':', lower case; empty when there is none.
std::string scheme_of(std::string_view text) {
  const auto colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0 || colon > 32 || !is_letter(text[0])) return "";
  for (const char c : text.substr(0, colon))
    if (!is_letter(c) && !is_digit(c) && c != '+' && c != '-' && c != '.') return "";
  return lowered(text.substr(0, colon));
}

// A number of an IPv4 host: decimal, 0x hexadecimal or 0 octal; nullopt when it is none or over 32 bits.
std::optional<std::uint64_t> host_number(std::string_view part) {
  int base = 10;
  if (part.size() >= 2 && part[0] == '0' && lower(part[1]) == 'x') {
    base = 16;
    part.remove_prefix(2);  // "0x" alone is 0, as browsers and inet_aton read it
  } else if (part.size() >= 2 && part[0] == '0') {
    base = 8;
    part.remove_prefix(1);
  } else if (part.empty()) {
    return std::nullopt;
  }
  std::uint64_t number = 0;
  for (const char c : part) {
    const int digit = hex_value(c);
    if (digit < 0 || digit >= base) return std::nullopt;
    number = number * static_cast<std::uint64_t>(base) + static_cast<std::uint64_t>(digit);
    if (number > 0xFFFFFFFFu) return std::nullopt;
  }
  return number;
}

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto end = text.find(at);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// Whether the resolver might read the host as an address: the last label is a number (WHATWG "ends in a number").
bool ends_in_number(std::string_view last_label) {
  return std::all_of(last_label.begin(), last_label.end(), is_digit) || host_number(last_label).has_value();
}

// "127.1" is 127.0.0.1: the last number fills the bytes that are left.
std::optional<std::string> dotted_decimal(const std::vector<std::string_view>& labels) {
  if (labels.size() > 4) return std::nullopt;
  std::uint64_t address = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto number = host_number(labels[i]);
    if (!number) return std::nullopt;
    const bool last = i + 1 == labels.size();
    if (*number > (last ? 0xFFFFFFFFu >> (8 * i) : 255u)) return std::nullopt;
    address |= last ? *number : *number << (24 - 8 * i);
  }
  return fmt::format("{}.{}.{}.{}", address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255);
}

Result<std::string> canonical_host(std::string_view host, std::string_view url) {
  if (host.empty()) return refuse(url, "names no host");
  if (host.size() > max_host_bytes)
    return refuse(url, "its host has {} bytes, the limit is {}", host.size(), max_host_bytes);
  if (host.front() == '[') {
    in6_addr address;
    char text[INET6_ADDRSTRLEN];
    if (host.back() != ']' ||
        ::inet_pton(AF_INET6, std::string(host.substr(1, host.size() - 2)).c_str(), &address) != 1 ||
        !::inet_ntop(AF_INET6, &address, text, sizeof text))
      return refuse(url, "{} is no IPv6 address", log::one_line(host));
    return fmt::format("[{}]", text);
  }
  if (host.back() == '.') host.remove_suffix(1);  // the DNS root: the same host
  const auto labels = split(host, '.');
  for (const std::string_view label : labels) {
    if (label.empty() || label.size() > max_label_bytes)
      return refuse(url, "its host has a part of {} bytes, 1 to {} are allowed", label.size(), max_label_bytes);
    for (const char c : label)
      if (!is_letter(c) && !is_digit(c) && c != '-' && c != '_')
        return refuse(url, "its host may have letters, digits, '-', '_' and '.' only{}",
                      (c & 0x80) ? " (write an international name in its xn-- form)" : "");
  }
  if (!ends_in_number(labels.back())) return lowered(host);
  if (auto address = dotted_decimal(labels)) return *std::move(address);
  return refuse(url, "{} is no IPv4 address", host);
}

// Bytes beyond ASCII as percent escapes, as browsers send them.
std::string escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text)
    if (c & 0x80)
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    else
      out += c;
  return out;
}

std::uint16_t own_port(std::string_view scheme) { return scheme == "https" ? 443 : 80; }

std::optional<Error> refuse_bytes(std::string_view text) {
  if (text.size() > max_url_bytes)
    return refuse(text, "the URL has {} bytes, the limit is {}", text.size(), max_url_bytes);
  for (const char c : text) {
    if (c == '\\') return refuse(text, "a URL may hold no backslash");
    if (c == ' ') return refuse(text, "a URL may hold no blank (write %20)");
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return refuse(text, "a URL may hold no control character");
  }
  return std::nullopt;
}

// ------------------------------------------------------------------------------------------------ data: URLs

int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (is_digit(c)) return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (text.size() - i < 3) return std::nullopt;
    const int high = hex_value(text[i + 1]), low = hex_value(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

Result<std::string> base64_decoded(std::string_view text, std::string_view url) {
  for (int padding = 0; padding < 2 && text.ends_with('='); ++padding) text.remove_suffix(1);
  if (text.size() % 4 == 1) return refuse(url, "its base64 is cut: {} characters", text.size());
  std::string out;
  out.reserve(text.size() / 4 * 3 + 2);
  std::uint32_t bits = 0;
  int count = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int value = base64_value(text[i]);
    if (value < 0) return refuse(url, "character {} of its data is no base64", i + 1);
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count & 255);
  }
  return out;
}

// ------------------------------------------------------------------------------------------------ addresses

struct Range4 {
  std::uint32_t first;
  int prefix;
  std::string_view kind;
};

constexpr std::array<Range4, 16> special4{{{0x00000000, 8, "unspecified"},
                                           {0x0A000000, 8, "private"},
                                           {0x64400000, 10, "shared (carrier-grade NAT)"},
                                           {0x7F000000, 8, "loopback"},
                                           {0xA9FE0000, 16, "link-local"},
                                           {0xAC100000, 12, "private"},
                                           {0xC0000000, 24, "reserved"},
                                           {0xC0000200, 24, "documentation"},
                                           {0xC0586300, 24, "reserved"},
                                           {0xC0A80000, 16, "private"},
                                           {0xC6120000, 15, "benchmark"},
                                           {0xC6336400, 24, "documentation"},
                                           {0xCB007100, 24, "documentation"},
                                           {0xE0000000, 4, "multicast"},
                                           {0xFFFFFFFF, 32, "broadcast"},
                                           {0xF0000000, 4, "reserved"}}};

std::string_view kind4(std::uint32_t address) {
  for (const Range4& range : special4)
    if ((address ^ range.first) >> (32 - range.prefix) == 0) return range.kind;
  return {};
}

std::uint32_t big_endian32(std::span<const std::uint8_t> bytes) {
  return static_cast<std::uint32_t>(bytes[0]) << 24 | static_cast<std::uint32_t>(bytes[1]) << 16 |
         static_cast<std::uint32_t>(bytes[2]) << 8 | bytes[3];
}

bool has_prefix(std::span<const std::uint8_t, 16> address, std::initializer_list<std::uint8_t> prefix, int bits) {
  const std::uint8_t* const wanted = prefix.begin();
  for (int i = 0; i < bits; ++i)
    if ((address[static_cast<std::size_t>(i / 8)] ^ wanted[i / 8]) >> (7 - i % 8) & 1) return false;
  return true;
}

std::string_view kind6(std::span<const std::uint8_t, 16> a) {
  const auto all_zero = [&](std::size_t first, std::size_t last) {
    return std::all_of(a.begin() + static_cast<std::ptrdiff_t>(first), a.begin() + static_cast<std::ptrdiff_t>(last),
                       [](std::uint8_t b) { return b == 0; });
  };
  if (all_zero(0, 10) && a[10] == 0xFF && a[11] == 0xFF) return kind4(big_endian32(a.subspan(12)));  // mapped
  if (has_prefix(a, {0x00, 0x64, 0xFF, 0x9B}, 32) && all_zero(4, 12))
    return kind4(big_endian32(a.subspan(12)));  // NAT64
  if (all_zero(0, 15)) return a[15] == 0 ? "unspecified" : a[15] == 1 ? "loopback" : "reserved";
  if (has_prefix(a, {0xFC}, 7)) return "private (unique local)";
  if (has_prefix(a, {0xFE, 0x80}, 10)) return "link-local";
  if (has_prefix(a, {0xFE, 0xC0}, 10)) return "private (site-local)";
  if (a[0] == 0xFF) return "multicast";
  if (!has_prefix(a, {0x20}, 3)) return "reserved";  // all of today's public unicast is 2000::/3
  if (has_prefix(a, {0x20, 0x02}, 16)) return kind4(big_endian32(a.subspan(2)));  // 6to4
  if (has_prefix(a, {0x20, 0x01, 0x0D, 0xB8}, 32) || has_prefix(a, {0x3F, 0xFF, 0x00}, 20)) return "documentation";
  if (has_prefix(a, {0x20, 0x01, 0x00, 0x02, 0x00, 0x00}, 48)) return "benchmark";
  if (has_prefix(a, {0x20, 0x01, 0x00}, 23)) return "reserved";  // IETF protocols: Teredo, ORCHID …
  return {};
}

}  // namespace

std::string Url::origin() const {
  return port == own_port(scheme) ? fmt::format("{}://{}", scheme, host)
                                  : fmt::format("{}://{}:{}", scheme, host, port);
}

std::string Url::shown() const { return shortened_url(text()); }

bool is_url(std::string_view word) {
  const std::string scheme = scheme_of(word);
  if (scheme.empty()) return false;
  word.remove_prefix(scheme.size() + 1);
  return word.starts_with("//") || (scheme == "data" && !word.starts_with(' '));
}

bool is_data_url(std::string_view word) { return scheme_of(word) == "data"; }

std::string shortened_url(std::string_view text) {
  std::string shown = log::one_line(text.substr(0, max_shown_bytes));
  if (const auto start = shown.find("//"), at = shown.substr(0, shown.find_first_of("/?#", start + 2)).rfind('@');
      start != std::string::npos && at != std::string::npos && at > start)
    shown.replace(start + 2, at - start - 2, "…");  // it may hold a password
  if (text.size() <= max_shown_bytes) return shown;
  const auto query = shown.find('?');
  if (query != std::string::npos) shown.resize(query + 1);
  while (!shown.empty() && (shown.back() & 0x80)) shown.pop_back();  // no half character
  return shown + "…";
}

Result<Url> parse_url(std::string_view text) {
  if (auto error = refuse_bytes(text)) return *std::move(error);
  Url url;
  url.scheme = scheme_of(text);
  if (url.scheme.empty()) return refuse(text, "is no URL: it must begin with http:// or https://");
  if (url.scheme != "http" && url.scheme != "https")
    return refuse(text, "{}: URLs are not fetched, only http: and https:{}", url.scheme,
                  url.scheme == "file" ? " (name a file of this machine by its path)" : "");
  std::string_view rest = text.substr(url.scheme.size() + 1);
  if (!rest.starts_with("//")) return refuse(text, "\"//\" must follow {}:", url.scheme);
  rest.remove_prefix(2);
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?#"));
  rest.remove_prefix(authority.size());
  if (authority.find('@') != std::string_view::npos)
    return refuse(text, "a URL with a user name or password is not fetched");
  std::string_view host = authority;
  url.port = own_port(url.scheme);
  const auto colon = authority.rfind(':');
  const auto bracket = authority.rfind(']');
  if (colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket)) {
    host = authority.substr(0, colon);
    const std::string_view digits = authority.substr(colon + 1);
    std::uint32_t port = 0;
    for (const char c : digits) {
      if (!is_digit(c) || digits.size() > 5) return refuse(text, "its port must be a number from 1 to 65535");
      port = port * 10 + static_cast<std::uint32_t>(c - '0');
    }
    if (!digits.empty() && (port == 0 || port > 65535))
      return refuse(text, "its port is {}: must be from 1 to 65535", port);
    if (!digits.empty()) url.port = static_cast<std::uint16_t>(port);
  }
  auto canonical = canonical_host(host, text);
  if (!canonical.ok()) return canonical.error();
  url.host = std::move(canonical).value();
  rest = rest.substr(0, rest.find('#'));
  url.target = escaped(rest);
  if (!url.target.starts_with('/')) url.target.insert(0, "/");
  return url;
}

Result<Url> resolve_url(const Url& base, std::string_view location) {
  if (auto error = refuse_bytes(location)) return *std::move(error);
  if (!scheme_of(location).empty()) return parse_url(location);
  if (location.starts_with("//")) return parse_url(base.scheme + ":" + std::string(location));
  Url url = base;
  location = location.substr(0, location.find('#'));
  if (location.empty()) return url;
  const std::string path = base.target.substr(0, base.target.find('?'));
  if (location.starts_with('/'))
    url.target = escaped(location);
  else if (location.starts_with('?'))
    url.target = path + escaped(location);
  else
    url.target = path.substr(0, path.rfind('/') + 1) + escaped(location);
  if (url.text().size() > max_url_bytes)
    return refuse(url.text(), "the URL has {} bytes, the limit is {}", url.text().size(), max_url_bytes);
  return url;
}

Result<DataUrl> parse_data_url(std::string_view text, std::size_t max_bytes) {
  if (scheme_of(text) != "data") return refuse(text, "is no data: URL");
  // Three bytes of a percent escape make one: longer than that, it cannot fit.
  if (text.size() / 3 > max_bytes + 1024)
    return Error(ErrorCode::limit,
                 fmt::format("{}: {} bytes of data: URL, the limit is {} bytes of data", shortened_url(text),
                             text.size(), max_bytes),
                 shortened_url(text));
  text.remove_prefix(5);
  const std::string url = "data:" + std::string(text.substr(0, max_shown_bytes));
  const auto comma = text.find(',');
  if (comma == std::string_view::npos) return refuse(url, "has no comma before its data");
  std::string_view head = text.substr(0, comma), data = text.substr(comma + 1);
  bool base64 = false;
  if (const auto last = head.rfind(';'); last != std::string_view::npos && lowered(head.substr(last + 1)) == "base64") {
    base64 = true;
    head = head.substr(0, last);
  }
  DataUrl out;
  out.mime = lowered(head.substr(0, head.find(';')));
  if (out.mime.empty()) out.mime = "text/plain";
  if (out.mime.size() > max_mime_bytes) return refuse(url, "its type has {} bytes", out.mime.size());
  const auto too_large = [&](std::size_t bytes) {
    return Error(ErrorCode::limit,
                 fmt::format("{}: {} bytes of data, the limit is {}", shortened_url(url), bytes, max_bytes),
                 shortened_url(url));
  };
  std::string unescaped;
  if (data.find('%') != std::string_view::npos) {
    auto decoded = percent_decoded(data);
    if (!decoded) return refuse(url, "its data has a '%' without two hexadecimal digits");
    unescaped = *std::move(decoded);
    data = unescaped;
  }
  if (!base64) {
    if (data.size() > max_bytes) return too_large(data.size());
    out.bytes = std::string(data);
    return out;
  }
  if (data.size() / 4 * 3 > max_bytes + 3) return too_large(data.size() / 4 * 3);
  auto bytes = base64_decoded(data, url);
  if (!bytes.ok()) return bytes.error();
  if (bytes->size() > max_bytes) return too_large(bytes->size());
  out.bytes = std::move(bytes).value();
  return out;
}

std::string_view refused_address_kind(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, &address, sizeof v4);
    return kind4(ntohl(v4.sin_addr.s_addr));
  }
  if (address.sa_family == AF_INET6) {
    sockaddr_in6 v6;
    std::memcpy(&v6, &address, sizeof v6);
    return kind6(std::span<const std::uint8_t, 16>(v6.sin6_addr.s6_addr));
  }
  return "no internet";
}

std::string address_text(const sockaddr& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.sa_family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, &address, sizeof v4);
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
  } else if (address.sa_family == AF_INET6) {
    sockaddr_in6 v6;
    std::memcpy(&v6, &address, sizeof v6);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
  }
  return text;
}

}  // namespace tap
