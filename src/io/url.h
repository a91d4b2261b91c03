// URLs as outside text names them, and which addresses may be reached. Pure functions: nothing here opens a connection.
//
// One strict parser, so that no two readers can disagree about a URL's host (`http://127.0.0.1\@1.1.1.1`): what it
// accepts is written anew in one canonical form, and only that form goes on to the network library.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <sys/socket.h>

#include "base/error.h"

namespace tap {

inline constexpr std::size_t max_url_bytes = 8192, max_host_bytes = 255;

struct Url {
  std::string scheme;  // "http" or "https"
  std::string host;    // lower case ASCII; "192.0.2.1"; "[2001:db8::1]"
  std::uint16_t port = 0;
  std::string target;  // path and query, begins with '/'; no fragment

  std::string origin() const;  // "https://host", with the port when it is not the scheme's own
  std::string text() const { return origin() + target; }
  std::string shown() const;  // for messages: a long query is cut (it may hold a signature)
};

// Absolute http and https URLs. Refuses: other schemes (by name), user names and passwords, backslashes, blanks,
// control characters, an empty host or one over 255 bytes, ports outside 1 to 65535, more than 8192 bytes. Hosts of
// numbers
// ("0x7f.1", "2130706433", "127.1") become dotted decimal, one trailing dot of a host goes, other bytes of UTF-8 in
// path and query become percent escapes. Errors (bad_input) quote the URL shortened.
Result<Url> parse_url(std::string_view text);

// The URL that `location` (of a redirect) means at `base`: absolute, "//host/path", "/path", "?query" or relative.
Result<Url> resolve_url(const Url& base, std::string_view location);

// Whether a word names something by URL: a scheme and "//", or "data:" and no blank. ("./data:x" names a file.)
bool is_url(std::string_view word);
bool is_data_url(std::string_view word);  // its scheme is data:

// The text, at most about 100 bytes of it and without a password, for messages and names of items.
std::string shortened_url(std::string_view text);

struct DataUrl {
  std::string mime;  // lower case, without parameters; "text/plain" when none is given (RFC 2397)
  std::string bytes;
};

// data:[<mime>][;parameters][;base64],<data> (RFC 2397). Base64 is strict (standard alphabet, no blanks; the padding
// may be absent); more than `max_bytes` are refused before anything is decoded.
Result<DataUrl> parse_data_url(std::string_view text, std::size_t max_bytes);

// What is wrong with an address for a fetcher that acts on somebody else's word: "loopback", "private", "link-local" …;
// empty for a public unicast address. IPv4 addresses inside IPv6 ones (mapped, NAT64, 6to4) are judged as IPv4. From
// the IANA special-purpose registries (RFC 6890).
std::string_view refused_address_kind(const sockaddr& address);
inline bool is_public(const sockaddr& address) { return refused_address_kind(address).empty(); }

// "127.0.0.1", "::1"; empty for other families.
std::string address_text(const sockaddr& address);

}  // namespace tap
