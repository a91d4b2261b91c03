// The one door to the network: GET and HEAD over http and https, for hosts that nobody vouches for.
//
// Promises: the address that is really connected to is vetted on every hop, so a name that resolves to something else
// the second time gains nothing; redirects are followed here, each parsed and vetted like the first URL; https never
// becomes http; the token goes to its own origin only; certificates are always checked; no answer, however long, slow
// or endless, takes more bytes or time than the options allow; nothing is decompressed. Proxies of the environment are
// used only with allow_private, because behind a proxy no address can be vetted. libcurl is opened at the first use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "io/url.h"

namespace tap {

struct FetchOptions {
  std::uint64_t max_bytes = std::uint64_t{256} << 20;  // of the body
  double connect_seconds = 10, total_seconds = 60;     // total 0: no limit (downloads)
  std::uint64_t low_bytes_per_second = 256;            // slower than this for low_seconds: given up
  double low_seconds = 15;
  int max_redirects = 5;
  bool allow_private = false;  // turns the policy of addresses off, and lets the environment name a proxy
  bool follow_hosts = true;    // false: a redirect to another origin is not followed, its response is the answer
  std::string token{};         // "Authorization: Bearer …", for the first URL's origin only
};

struct FetchRequest {
  Url url;
  bool head = false;
  std::uint64_t from = 0;  // "Range: bytes=from-" when not 0
  std::string if_range{};  // an entity tag, with its quotes; sent to the first URL's origin only
};

// Header names are lower case.
using Headers = std::vector<std::pair<std::string, std::string>>;

struct FetchResponse {
  int status = 0;
  Url url;                    // of the last hop
  std::vector<Headers> hops;  // the headers of every hop, redirects first
  std::uint64_t bytes = 0;    // of the body that the sink has got

  // Of the last hop; empty when it is not there.
  std::string_view header(std::string_view name) const;
  // Of the first hop that has it: a hub names a file's hash before it redirects to where the bytes lie.
  std::string_view first_header(std::string_view name) const;
};

// Takes the body of a response of status 200 or 206, piece by piece; the response is complete but for `bytes`. May
// throw Error: the fetch ends with it.
using FetchSink = std::function<void(const FetchResponse&, std::span<const std::byte>)>;

// Keeps its connections from one fetch to the next. One thread at a time.
class Fetcher {
 public:
  static Result<Fetcher> open();  // Error(unsupported) when libcurl is not installed
  Fetcher(Fetcher&&) noexcept;
  Fetcher& operator=(Fetcher&&) noexcept;
  ~Fetcher();

  // A response of any status (bodies of others than 200 and 206 are dropped). Errors name the URL, the cause and the
  // limit: io (the network: another attempt may go better), limit, bad_input (a refused address, a bad certificate, an
  // answer that makes no sense), usage (a token that cannot be sent), cancelled.
  Result<FetchResponse> fetch(const FetchRequest& request, const FetchOptions& options, const FetchSink& sink);

 private:
  class Impl;
  explicit Fetcher(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The whole body. A status other than 200 is an Error.
Result<std::string> fetch(const std::string& url, const FetchOptions& options);

// What a status means, in words: "404 Not Found".
std::string status_text(int status);

}  // namespace tap
