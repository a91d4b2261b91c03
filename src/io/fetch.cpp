#include "io/fetch.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <optional>

#include <curl/curl.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/dynamic_library.h"
#include "base/exec_context.h"
#include "base/log.h"

namespace tap {

namespace {

constexpr std::size_t max_header_bytes = std::size_t{256} << 10, max_headers = 1000;
constexpr std::uint64_t max_dropped_bytes = std::uint64_t{64} << 10;  // of a body that nobody reads
constexpr int poll_ms = 100;                                          // how soon Ctrl-C is seen

// libcurl's functions, of the types its header declares.
struct Curl {
  decltype(curl_global_init)* global_init;
  decltype(curl_easy_init)* easy_init;
  decltype(curl_easy_reset)* easy_reset;
  decltype(curl_easy_cleanup)* easy_cleanup;
  decltype(curl_easy_setopt)* setopt;
  decltype(curl_easy_getinfo)* getinfo;
  decltype(curl_easy_strerror)* strerror;
  decltype(curl_slist_append)* slist_append;
  decltype(curl_slist_free_all)* slist_free_all;
  decltype(curl_multi_init)* multi_init;
  decltype(curl_multi_cleanup)* multi_cleanup;
  decltype(curl_multi_add_handle)* multi_add;
  decltype(curl_multi_remove_handle)* multi_remove;
  decltype(curl_multi_perform)* multi_perform;
  decltype(curl_multi_poll)* multi_poll;
  decltype(curl_multi_info_read)* multi_info_read;
};

Result<const Curl*> open_curl() {
  static const Result<Curl> opened = []() -> Result<Curl> {
    const auto library = DynamicLibrary::open("libcurl.so.4", "fetching from the network", "libcurl4");
    if (!library.ok()) return library.error();
    try {
      Curl c{};
      const auto take = [&]<class Function>(Function*& slot, const char* name) {
        slot = library->symbol<Function>(name);
      };
      take(c.global_init, "curl_global_init");
      take(c.easy_init, "curl_easy_init");
      take(c.easy_reset, "curl_easy_reset");
      take(c.easy_cleanup, "curl_easy_cleanup");
      take(c.setopt, "curl_easy_setopt");
      take(c.getinfo, "curl_easy_getinfo");
      take(c.strerror, "curl_easy_strerror");
      take(c.slist_append, "curl_slist_append");
      take(c.slist_free_all, "curl_slist_free_all");
      take(c.multi_init, "curl_multi_init");
      take(c.multi_cleanup, "curl_multi_cleanup");
      take(c.multi_add, "curl_multi_add_handle");
      take(c.multi_remove, "curl_multi_remove_handle");
      take(c.multi_perform, "curl_multi_perform");
      take(c.multi_poll, "curl_multi_poll");
      take(c.multi_info_read, "curl_multi_info_read");
      if (c.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return Error(ErrorCode::unsupported, "libcurl.so.4 cannot be initialised", "libcurl.so.4");
      return c;
    } catch (const Error& error) {
      return error;
    }
  }();
  if (!opened.ok()) return opened.error();
  return &*opened;
}

std::string lowered(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  return out;
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::string_view find_header(const Headers& headers, std::string_view name) {
  for (const auto& [key, value] : headers)
    if (key == name) return value;
  return {};
}

std::optional<std::uint64_t> whole_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

bool token_is_sound(std::string_view token) {  // what stands in a header line cannot end it
  return token.size() <= 4096 && std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7F; });
}

// What the callbacks of one hop share. Exceptions must not cross libcurl's frames: the first one waits here.
struct Hop {
  const Curl& curl;
  CURL* easy;
  const FetchRequest& request;
  const FetchOptions& options;
  const FetchSink& sink;
  FetchResponse& response;
  std::string name;  // of the URL in messages
  std::size_t header_bytes = 0;
  std::uint64_t dropped_bytes = 0;
  bool began = false, wanted = false, dropped_enough = false;
  std::string refused_address{};
  std::exception_ptr failure{};

  Headers& headers() { return response.hops.back(); }
  int status() const {
    long code = 0;
    curl.getinfo(easy, CURLINFO_RESPONSE_CODE, &code);
    return static_cast<int>(code);
  }
  template <class... Args>
  [[noreturn]] void refuse(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) const {
    throw Error(code, fmt::format("{}: {}", name, fmt::format(format, std::forward<Args>(args)...)), name);
  }
  void take_header(std::string_view line);
  void check_head();
  void take_body(std::span<const std::byte> bytes);
};

void Hop::take_header(std::string_view line) {
  header_bytes += line.size();
  if (header_bytes > max_header_bytes || headers().size() >= max_headers)
    refuse(ErrorCode::limit, "its answer has over {} bytes or {} lines of headers, the limit", max_header_bytes,
           max_headers);
  if (line.starts_with("HTTP/")) return headers().clear();  // the answer after a "100 Continue" counts
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return;
  headers().emplace_back(lowered(trimmed(line.substr(0, colon))), trimmed(line.substr(colon + 1)));
}

// Before the first byte of the body.
void Hop::check_head() {
  began = true;
  response.status = status();
  wanted = response.status == 200 || response.status == 206;
  if (!wanted) return;
  if (const auto coding = find_header(headers(), "content-encoding"); !coding.empty() && lowered(coding) != "identity")
    refuse(ErrorCode::bad_input, "the answer is compressed ({}), though this was not asked for",
           log::one_line(coding.substr(0, 40)));
  if (const auto length = whole_number(find_header(headers(), "content-length")); length && *length > options.max_bytes)
    refuse(ErrorCode::limit, "{} bytes, the limit is {}", *length, options.max_bytes);
  if (response.status != 206) return;
  const std::string begin = fmt::format("bytes {}-", request.from);
  if (request.from == 0 || !find_header(headers(), "content-range").starts_with(begin))
    refuse(ErrorCode::bad_input, "the answer holds another range than the one that was asked for");
}

void Hop::take_body(std::span<const std::byte> bytes) {
  if (!began) check_head();
  if (!wanted) {
    dropped_bytes += bytes.size();
    dropped_enough = dropped_bytes > max_dropped_bytes;
    return;
  }
  if (bytes.size() > options.max_bytes - response.bytes)
    refuse(ErrorCode::limit, "more bytes than the limit of {}", options.max_bytes);
  sink(response, bytes);
  response.bytes += bytes.size();
}

template <class Fn>
std::size_t guarded(Hop& hop, std::size_t bytes, Fn&& fn) {
  if (hop.failure) return 0;
  try {
    fn();
  } catch (...) {
    hop.failure = std::current_exception();
    return 0;
  }
  return bytes;
}

std::size_t on_header(char* data, std::size_t size, std::size_t count, void* hop_address) {
  Hop& hop = *static_cast<Hop*>(hop_address);
  return guarded(hop, size * count, [&] { hop.take_header({data, size * count}); });
}

std::size_t on_body(char* data, std::size_t size, std::size_t count, void* hop_address) {
  Hop& hop = *static_cast<Hop*>(hop_address);
  const std::size_t bytes =
      guarded(hop, size * count, [&] { hop.take_body(std::as_bytes(std::span(data, size * count))); });
  return hop.dropped_enough ? 0 : bytes;
}

// The address that is about to be connected to: whatever the name resolved to before, or will resolve to later, this is
// the one that counts.
curl_socket_t on_socket(void* hop_address, curlsocktype, curl_sockaddr* address) {
  Hop& hop = *static_cast<Hop*>(hop_address);
  const std::size_t went_well = guarded(hop, 1, [&] {
    if (hop.options.allow_private) return;
    if (const auto kind = refused_address_kind(address->addr); !kind.empty())
      hop.refused_address = fmt::format("{} ({})", address_text(address->addr), kind);
  });
  if (!went_well || (!hop.options.allow_private && !is_public(address->addr))) return CURL_SOCKET_BAD;
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

// What went wrong, in our words where the cause is known.
[[noreturn]] void explain(const Hop& hop, CURLcode code, std::string_view detail, bool out_of_time) {
  const FetchOptions& o = hop.options;
  if (!hop.refused_address.empty() && code == CURLE_COULDNT_CONNECT)
    hop.refuse(ErrorCode::bad_input, "its address {} is not public: refused (--allow-private allows it)",
               hop.refused_address);
  const bool proxied =
      !o.allow_private && (std::getenv("https_proxy") || std::getenv("HTTPS_PROXY") || std::getenv("http_proxy") ||
                           std::getenv("ALL_PROXY") || std::getenv("all_proxy"));
  const std::string_view proxy_hint = proxied ? "; the proxy of the environment is used only with --allow-private" : "";
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
      hop.refuse(ErrorCode::io, "the host {} is not found (no network?){}", hop.response.url.host, proxy_hint);
    case CURLE_COULDNT_CONNECT:
      hop.refuse(ErrorCode::io, "no connection to {} port {}{}", hop.response.url.host, hop.response.url.port,
                 proxy_hint);
    case CURLE_OPERATION_TIMEDOUT:
      if (out_of_time) hop.refuse(ErrorCode::io, "took longer than the limit of {} s", o.total_seconds);
      if (detail.find("too slow") != std::string_view::npos)
        hop.refuse(ErrorCode::io, "slower than {} bytes/s for {} s: given up", o.low_bytes_per_second, o.low_seconds);
      hop.refuse(ErrorCode::io, "no connection within {} s{}", o.connect_seconds, proxy_hint);
    case CURLE_PARTIAL_FILE:
      hop.refuse(ErrorCode::io, "the connection ended after {} bytes, before the answer did", hop.response.bytes);
    case CURLE_GOT_NOTHING: hop.refuse(ErrorCode::io, "the server closed the connection without an answer");
    case CURLE_PEER_FAILED_VERIFICATION:
      hop.refuse(ErrorCode::bad_input, "the server's certificate is not valid for it: {}", log::one_line(detail));
    default: break;
  }
  const bool passing = code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR || code == CURLE_SSL_CONNECT_ERROR;
  hop.refuse(passing ? ErrorCode::io : ErrorCode::bad_input, "{}",
             log::one_line(detail.empty() ? hop.curl.strerror(code) : detail));
}

}  // namespace

std::string_view FetchResponse::header(std::string_view name) const {
  return hops.empty() ? std::string_view() : find_header(hops.back(), name);
}

std::string_view FetchResponse::first_header(std::string_view name) const {
  for (const Headers& headers : hops)
    if (const auto value = find_header(headers, name); !value.empty()) return value;
  return {};
}

class Fetcher::Impl {
 public:
  explicit Impl(const Curl& curl) : curl_(curl), multi_(curl.multi_init()), easy_(curl.easy_init()) {
    if (!multi_ || !easy_) throw std::bad_alloc();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    curl_.easy_cleanup(easy_);
    curl_.multi_cleanup(multi_);
  }

  FetchResponse fetch(const FetchRequest& request, const FetchOptions& options, const FetchSink& sink) {
    if (!token_is_sound(options.token))
      throw Error(ErrorCode::usage, "the token holds blanks, control characters or over 4096 bytes", "HF_TOKEN");
    FetchResponse response;
    response.url = request.url;
    const std::string first_name = request.url.shown();
    bool at_home = true;  // still at the first origin: what is secret or peculiar to it may be sent
    const Stopwatch clock;
    for (int redirects = 0;; ++redirects) {
      response.hops.emplace_back();
      const std::string name =
          redirects ? fmt::format("{} (redirected to {})", first_name, response.url.shown()) : first_name;
      Hop hop{curl_, easy_, request, options, sink, response, name};
      run(hop, at_home, clock);
      if (!is_redirect(response.status)) return response;
      const auto location = response.header("location");
      if (location.empty())
        hop.refuse(ErrorCode::bad_input, "{}, but without a place to go", status_text(response.status));
      const auto next = resolve_url(response.url, location);
      if (!next.ok())
        hop.refuse(ErrorCode::bad_input, "redirects to a URL that is refused: {}", next.error().message());
      if (response.url.scheme == "https" && next->scheme != "https")
        hop.refuse(ErrorCode::bad_input, "redirects from https to {}: refused", next->shown());
      if (next->origin() != response.url.origin()) {
        if (!options.follow_hosts) return response;
        at_home = false;
      }
      if (redirects == options.max_redirects)
        hop.refuse(ErrorCode::bad_input, "redirects more than {} times, the limit", options.max_redirects);
      response.url = *next;
    }
  }

 private:
  template <class Value>
  void set(CURLoption option, Value value) {
    if (const CURLcode code = curl_.setopt(easy_, option, value); code != CURLE_OK)
      throw Error(ErrorCode::unsupported,
                  fmt::format("libcurl.so.4 refuses option {}: {}", static_cast<int>(option), curl_.strerror(code)),
                  "libcurl.so.4");
  }

  // One request and its answer; throws what went wrong.
  void run(Hop& hop, bool at_home, const Stopwatch& clock) {
    const FetchOptions& o = hop.options;
    char detail[CURL_ERROR_SIZE] = "";
    curl_.easy_reset(easy_);
    const std::string url = hop.response.url.text();
    set(CURLOPT_URL, url.c_str());
    set(CURLOPT_PROTOCOLS_STR, hop.response.url.scheme.c_str());
    set(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    set(CURLOPT_FOLLOWLOCATION, 0L);
    set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    set(CURLOPT_USERAGENT, "tapetum");
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_QUICK_EXIT, 1L);  // Ctrl-C does not wait for the resolver
    set(CURLOPT_SSL_VERIFYPEER, 1L);
    set(CURLOPT_SSL_VERIFYHOST, 2L);
    if (const char* file = std::getenv("SSL_CERT_FILE"); file && *file) set(CURLOPT_CAINFO, file);
    if (!o.allow_private) set(CURLOPT_PROXY, "");
    set(CURLOPT_ERRORBUFFER, detail);
    set(CURLOPT_BUFFERSIZE, 256L << 10);
    if (hop.request.head) set(CURLOPT_NOBODY, 1L);
    set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(o.connect_seconds * 1000));
    if (o.total_seconds > 0)
      set(CURLOPT_TIMEOUT_MS, std::max(1L, static_cast<long>(std::ceil(o.total_seconds * 1000 - clock.ms()))));
    set(CURLOPT_LOW_SPEED_LIMIT, static_cast<long>(o.low_bytes_per_second));
    set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(std::ceil(o.low_seconds)));
    set(CURLOPT_OPENSOCKETFUNCTION, on_socket);
    set(CURLOPT_OPENSOCKETDATA, &hop);
    set(CURLOPT_HEADERFUNCTION, on_header);
    set(CURLOPT_HEADERDATA, &hop);
    set(CURLOPT_WRITEFUNCTION, on_body);
    set(CURLOPT_WRITEDATA, &hop);

    const auto free_list = [this](curl_slist* list) { curl_.slist_free_all(list); };
    std::unique_ptr<curl_slist, decltype(free_list)> lines(nullptr, free_list);
    const auto add_line = [&](const std::string& line) {
      curl_slist* const longer = curl_.slist_append(lines.get(), line.c_str());
      if (!longer) throw std::bad_alloc();
      (void)lines.release();
      lines.reset(longer);
    };
    if (at_home && !o.token.empty()) add_line("Authorization: Bearer " + o.token);
    if (hop.request.from) add_line(fmt::format("Range: bytes={}-", hop.request.from));
    if (hop.request.from && at_home && !hop.request.if_range.empty()) add_line("If-Range: " + hop.request.if_range);
    if (lines) set(CURLOPT_HTTPHEADER, lines.get());

    const CURLcode code = transfer(hop);
    if (hop.failure) std::rethrow_exception(hop.failure);
    if (code != CURLE_OK && !hop.dropped_enough)
      explain(hop, code, detail, o.total_seconds > 0 && clock.ms() + poll_ms >= o.total_seconds * 1000);
    if (!hop.began) hop.check_head();  // an empty body
  }

  CURLcode transfer(Hop& hop) {
    if (curl_.multi_add(multi_, easy_) != CURLM_OK) throw std::bad_alloc();
    const auto remove = [this](CURL* easy) { curl_.multi_remove(multi_, easy); };
    const std::unique_ptr<CURL, decltype(remove)> added(easy_, remove);
    for (int running = 1; running > 0;) {
      ExecContext::current().checkpoint();
      if (curl_.multi_perform(multi_, &running) != CURLM_OK) return CURLE_FAILED_INIT;
      if (hop.failure) break;
      if (running) curl_.multi_poll(multi_, nullptr, 0, poll_ms, nullptr);
    }
    int waiting = 0;
    while (const CURLMsg* message = curl_.multi_info_read(multi_, &waiting))
      if (message->msg == CURLMSG_DONE) return message->data.result;
    return CURLE_FAILED_INIT;
  }

  const Curl& curl_;
  CURLM* multi_;
  CURL* easy_;
};

Fetcher::Fetcher(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Fetcher::Fetcher(Fetcher&&) noexcept = default;
Fetcher& Fetcher::operator=(Fetcher&&) noexcept = default;
Fetcher::~Fetcher() = default;

Result<Fetcher> Fetcher::open() {
  const auto curl = open_curl();
  if (!curl.ok()) return curl.error();
  return Fetcher(std::make_unique<Impl>(**curl));
}

Result<FetchResponse> Fetcher::fetch(const FetchRequest& request, const FetchOptions& options, const FetchSink& sink) {
  try {
    return impl_->fetch(request, options, sink);
  } catch (const Error& error) {
    return error;
  }
}

Result<std::string> fetch(const std::string& url, const FetchOptions& options) {
  const auto parsed = parse_url(url);
  if (!parsed.ok()) return parsed.error();
  auto fetcher = Fetcher::open();
  if (!fetcher.ok()) return fetcher.error();
  std::string body;
  const auto response = fetcher->fetch({*parsed}, options, [&](const FetchResponse&, std::span<const std::byte> bytes) {
    body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  });
  if (!response.ok()) return response.error();
  const int status = response->status;
  if (status == 200) return body;
  const std::string name = parsed->shown();
  return Error(status == 404 || status == 410   ? ErrorCode::not_found
               : status == 429 || status >= 500 ? ErrorCode::io
                                                : ErrorCode::bad_input,
               fmt::format("{}: the server answers {}", name, status_text(status)), name);
}

std::string status_text(int status) {
  switch (status) {
    case 400: return "400 Bad Request";
    case 401: return "401 Unauthorized";
    case 403: return "403 Forbidden";
    case 404: return "404 Not Found";
    case 410: return "410 Gone";
    case 416: return "416 Range Not Satisfiable";
    case 429: return "429 Too Many Requests";
    case 500: return "500 Internal Server Error";
    case 502: return "502 Bad Gateway";
    case 503: return "503 Service Unavailable";
    case 504: return "504 Gateway Timeout";
    default: return fmt::format("{}", status);
  }
}

}  // namespace tap
