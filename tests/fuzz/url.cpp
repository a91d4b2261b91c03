// URLs: what is accepted means the same when it is read again, and a redirect's location against one.
#include "fuzz.h"
#include "io/url.h"

namespace {

using namespace tap;

void require_same(const Url& url) {
  const auto again = parse_url(url.text());
  fuzz::require(again.ok() && again->text() == url.text() && again->host == url.host && again->port == url.port,
                "the canonical form reads as itself");
  fuzz::require(!url.host.empty() && url.host.size() <= max_host_bytes + 2 && url.target.starts_with('/'),
                "a URL has a host and a path");
  for (const char c : url.text()) fuzz::require(c > ' ' && c < 127 && c != '\\', "a canonical URL is plain ASCII");
}

void run(fuzz::Bytes bytes) {
  const std::string_view text = fuzz::text_of(bytes);
  is_url(text);
  const auto url = parse_url(text);
  if (url)
    require_same(*url);
  else
    fuzz::require_readable(url.error());
  static const Url base = parse_url("https://hub.example:8443/a/b?c=d").value();
  if (const auto resolved = resolve_url(base, text)) require_same(*resolved);
  const auto data = parse_data_url(text, 1 << 14);
  if (data)
    fuzz::require(data->bytes.size() <= 1 << 14, "data stays within its limit");
  else
    fuzz::require_readable(data.error());
}

const fuzz::FuzzTarget target("url", run);

}  // namespace
