#include "io/hub_client.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <set>

#include <time.h>

#include "base/exec_context.h"
#include "base/file.h"
#include "base/log.h"
#include "io/json.h"

namespace tap {

namespace {

constexpr std::size_t max_listing_bytes = std::size_t{32} << 20, max_siblings = 100'000, max_wanted = 1000,
                      max_shown_name = 60;
constexpr std::uint64_t max_blob_bytes = std::uint64_t{1} << 42;
constexpr int max_idle_attempts = 4, max_attempts = 40;  // idle: attempts in a row that bring nothing new

constexpr std::string_view small_files[] = {"config.json",
                                            "generation_config.json",
                                            "preprocessor_config.json",
                                            "processor_config.json",
                                            "chat_template.json",
                                            "chat_template.jinja",
                                            "tokenizer.json",
                                            "tokenizer_config.json",
                                            "added_tokens.json",
                                            "special_tokens_map.json",
                                            "vocab.json",
                                            "vocab.txt",
                                            "merges.txt",
                                            "tokenizer.model",
                                            "spiece.model",
                                            "sentencepiece.bpe.model",
                                            "image_processor.json",
                                            "tiktoken.model",
                                            "video_preprocessor_config.json"};
constexpr std::string_view single_weights = "model.safetensors", weights_index = "model.safetensors.index.json";

bool has_digits_at(std::string_view text, std::size_t at) {
  return text.size() >= at + 5 && text.substr(at, 5).find_first_not_of("0123456789") == std::string_view::npos;
}

// "model-00001-of-00003.safetensors"
bool is_shard(std::string_view name) {
  return name.size() == 32 && name.starts_with("model-") && has_digits_at(name, 6) && name.substr(11, 4) == "-of-" &&
         has_digits_at(name, 15) && name.ends_with(".safetensors");
}

bool is_pickle(std::string_view name) {
  for (const std::string_view ending : {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
    if (name.ends_with(ending)) return true;
  return false;
}

std::string variable(const char* key) {
  const char* const value = std::getenv(key);
  return value ? value : "";
}

bool is_true(std::string value) {  // as huggingface_hub reads it
  for (char& c : value) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

std::string trimmed(std::string text) {
  text.erase(text.find_last_not_of(" \t\r\n") + 1);
  text.erase(0, text.find_first_not_of(" \t\r\n"));
  return text;
}

// As the hub wants a revision in a path; the characters were checked by parse_hub_name.
std::string in_path(const std::string& revision) {
  std::string out;
  for (const char c : revision) out += c == '/' ? std::string("%2F") : std::string(1, c);
  return out;
}

std::optional<std::uint64_t> whole_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

void pause(double seconds) {
  for (double slept = 0; slept < seconds; slept += 0.1) {
    ExecContext::current().checkpoint();
    const timespec step = {0, 100'000'000};
    ::nanosleep(&step, nullptr);
  }
}

}  // namespace

Result<HubAccess> HubAccess::from_environment(const HubEnv& env) {
  HubAccess access;
  if (const std::string endpoint = variable("HF_ENDPOINT"); !endpoint.empty()) access.endpoint = endpoint;
  while (access.endpoint.ends_with('/')) access.endpoint.pop_back();
  access.offline = is_true(variable("HF_HUB_OFFLINE")) || is_true(variable("TRANSFORMERS_OFFLINE"));
  access.token = trimmed(variable("HF_TOKEN"));
  if (!access.token.empty() || is_true(variable("HF_HUB_DISABLE_IMPLICIT_TOKEN"))) return access;
  std::string file = variable("HF_TOKEN_PATH");
  if (file.empty() && !env.hf_home.empty())
    file = env.hf_home + "/token";
  else if (file.empty() && !env.xdg_cache_home.empty())
    file = env.xdg_cache_home + "/huggingface/token";
  else if (file.empty() && !env.home.empty())
    file = env.home + "/.cache/huggingface/token";
  if (file.starts_with("~/")) file = env.home + file.substr(1);
  if (!file.empty() && file_exists(file)) {
    const auto text = read_file(file, 4096);
    if (text.ok())
      access.token = trimmed(*text);
    else
      log::warn("{}; going on without a token", text.error().message());
  }
  return access;
}

Result<HubFiles> choose_files(const std::string& repo, const std::vector<std::string>& siblings) {
  const std::set<std::string> names(siblings.begin(), siblings.end());
  HubFiles files;
  std::set<std::string> wanted;
  for (const std::string_view name : small_files)
    if (names.contains(std::string(name))) wanted.insert(std::string(name));
  for (const std::string& name : names)
    if (name.ends_with(".tiktoken") && name.size() < 100 &&
        std::all_of(name.begin(), name.end(),
                    [](char c) {
                      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                             c == '_' || c == '-';
                    }) &&
        name.find("..") == std::string::npos)
      wanted.insert(name);
  files.wanted.assign(wanted.begin(), wanted.end());
  if (names.contains(std::string(single_weights))) {
    files.wanted.emplace_back(single_weights);
  } else if (names.contains(std::string(weights_index))) {
    files.wanted.emplace_back(weights_index);
    std::copy_if(names.begin(), names.end(), std::back_inserter(files.wanted), is_shard);
  }
  const std::set<std::string> taken(files.wanted.begin(), files.wanted.end());
  bool pickles = false, gguf = false;
  for (const std::string& name : names) {
    if (taken.contains(name)) continue;
    pickles |= is_pickle(name);
    gguf |= name.ends_with(".gguf");
    std::string shown = log::one_line(name);
    if (shown.size() > max_shown_name) shown = shown.substr(0, max_shown_name) + "…";
    files.skipped.push_back(std::move(shown));
  }
  if (taken.contains(std::string(single_weights)) || taken.contains(std::string(weights_index))) {
    if (files.wanted.size() > max_wanted)
      return Error(ErrorCode::limit,
                   fmt::format("{}: {} files of weights, the limit is {}", repo, files.wanted.size(), max_wanted),
                   repo);
    return files;
  }
  return Error(ErrorCode::unsupported,
               fmt::format("{}: has no model.safetensors{}; choose a model or a revision with safetensors", repo,
                           gguf      ? ", only GGUF files, which cannot be read yet"
                           : pickles ? ", only pickles, which are never read (they can run code)"
                                     : ""),
               repo);
}

Result<HubClient> HubClient::open(HubAccess access) {
  auto endpoint = parse_url(access.endpoint);
  if (!endpoint.ok()) return Error(ErrorCode::usage, "HF_ENDPOINT: " + endpoint.error().message(), "HF_ENDPOINT");
  if (endpoint->target.find('?') != std::string::npos)
    return Error(ErrorCode::usage, fmt::format("HF_ENDPOINT is {}: must have no query", endpoint->shown()),
                 "HF_ENDPOINT");
  auto fetcher = Fetcher::open();
  if (!fetcher.ok()) return fetcher.error();
  return HubClient(std::move(access), std::move(endpoint).value(), std::move(fetcher).value());
}

Result<Url> HubClient::url(const std::string& path) const {
  return parse_url(endpoint_.origin() + (endpoint_.target == "/" ? "" : endpoint_.target) + path);
}

FetchOptions HubClient::options() const {
  FetchOptions options;
  options.allow_private = access_.allow_private;
  options.token = access_.token;
  return options;
}

Error HubClient::explain(const HubName& name, const std::string& what, const FetchResponse& response) const {
  const int status = response.status;
  const std::string repo = name.repo(), page = access_.endpoint + "/" + repo;
  const std::string_view code = response.first_header("x-error-code");
  if (response.url.origin() !=
      endpoint_.origin())  // where the bytes lie, not the hub: its word on the model means little
    return Error(ErrorCode::io,
                 fmt::format("{}: {} answers {} for {}", repo, response.url.origin(), status_text(status), what), repo);
  const bool denied = status == 401 || status == 403;
  if (denied && code == "GatedRepo")
    return Error(ErrorCode::bad_input,
                 access_.token.empty()
                     ? fmt::format("{}: is gated: accept its licence at {} while logged in, make a token at "
                                   "{}/settings/tokens and set HF_TOKEN to it",
                                   repo, page, access_.endpoint)
                     : fmt::format("{}: is gated, and the account of this token (HF_TOKEN) may not read it yet: accept "
                                   "its licence at {}",
                                   repo, page),
                 repo);
  if (code == "RevisionNotFound" || (status == 404 && code.empty() && !name.revision.empty()))
    return Error(
        ErrorCode::not_found,
        fmt::format("{}: the hub has no revision {} of it", repo, name.revision.empty() ? "main" : name.revision),
        repo);
  if (code == "EntryNotFound")
    return Error(ErrorCode::not_found, fmt::format("{}: the hub has no {} of it", repo, what), repo);
  if (denied || status == 404)
    return Error(ErrorCode::not_found,
                 fmt::format("{}: {} has no such model{} ({})", repo, access_.endpoint,
                             access_.token.empty() ? ", or it is private: check the name, or set HF_TOKEN"
                                                   : " that the token's account may read: check the name",
                             status_text(status)),
                 repo);
  if (status == 429) {
    const auto wait = whole_number(response.header("retry-after"));
    return Error(ErrorCode::io,
                 fmt::format("{}: {} answers {}: try again {}{}", repo, access_.endpoint, status_text(status),
                             wait ? fmt::format("in {} s", *wait) : "later",
                             access_.token.empty() ? ", or set HF_TOKEN (logged-in users may ask more often)" : ""),
                 repo);
  }
  return Error(status >= 500 ? ErrorCode::io : ErrorCode::bad_input,
               fmt::format("{}: {} answers {} for {}", repo, access_.endpoint, status_text(status), what), repo);
}

Result<HubRevision> HubClient::revision(const HubName& name) {
  const std::string revision = name.revision.empty() ? "main" : name.revision;
  const auto at = url("/api/models/" + name.repo() + "/revision/" + in_path(revision));
  if (!at.ok()) return at.error();
  FetchOptions fetching = options();
  fetching.max_bytes = max_listing_bytes;
  std::string text;
  const auto response = fetcher_.fetch({*at}, fetching, [&](const FetchResponse&, std::span<const std::byte> bytes) {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  });
  if (!response.ok()) return response.error();
  if (response->status != 200) return explain(name, "its list of files", *response);
  const auto json = parse_json(text, fmt::format("{}: the hub's list of files", name.repo()));
  if (!json.ok()) return json.error();
  const auto refuse = [&](std::string_view why) {
    return Error(ErrorCode::bad_input, fmt::format("{}: the hub's list of files {}", name.repo(), why), name.repo());
  };
  if (!json->is_object() || !json->contains("sha") || !json->contains("siblings"))
    return refuse("has no sha or no siblings");
  const Json &sha = (*json)["sha"], &siblings = (*json)["siblings"];
  if (!sha.is_string() || !is_commit(sha.get<std::string>())) return refuse("names no commit");
  if (!siblings.is_array()) return refuse("is no list");
  if (siblings.size() > max_siblings)
    return Error(ErrorCode::limit,
                 fmt::format("{}: {} files, the limit is {}", name.repo(), siblings.size(), max_siblings), name.repo());
  std::vector<std::string> names;
  for (const Json& sibling : siblings)
    if (sibling.is_object() && sibling.contains("rfilename") && sibling["rfilename"].is_string())
      names.push_back(sibling["rfilename"].get<std::string>());
  auto files = choose_files(name.repo(), names);
  if (!files.ok()) return files.error();
  return HubRevision{sha.get<std::string>(), std::move(files).value()};
}

Result<BlobId> HubClient::blob(const HubName& name, const std::string& commit, const std::string& file) {
  const auto at = url("/" + name.repo() + "/resolve/" + commit + "/" + file);
  if (!at.ok()) return at.error();
  FetchOptions fetching = options();
  fetching.follow_hosts = false;  // the hub itself says the hash; where the bytes lie is not asked
  fetching.max_bytes = max_blob_bytes;
  const auto response = fetcher_.fetch({*at, true}, fetching, {});
  if (!response.ok()) return response.error();
  const bool redirected = response->status >= 300 && response->status < 400;
  if (response->status != 200 && !redirected) return explain(name, file, *response);
  if (const auto other = response->first_header("x-repo-commit"); !other.empty() && other != commit)
    return Error(ErrorCode::bad_input, fmt::format("{}: {}: the hub answers for another commit", name.repo(), file),
                 file);
  const auto linked = response->first_header("x-linked-etag"), linked_size = response->first_header("x-linked-size");
  BlobId blob{blob_etag(linked.empty() ? response->first_header("etag") : linked), 0};
  if (blob.etag.empty())
    return Error(
        ErrorCode::bad_input,
        fmt::format("{}: {}: the hub gives no hash of it (an ETag of 40 or 64 hexadecimal digits)", name.repo(), file),
        file);
  const auto size = whole_number(!linked_size.empty() ? linked_size
                                 : redirected         ? std::string_view()
                                                      : response->header("content-length"));
  if (!size || *size > max_blob_bytes)
    return Error(ErrorCode::bad_input, fmt::format("{}: {}: the hub does not say how long it is", name.repo(), file),
                 file);
  blob.bytes = *size;
  return blob;
}

Result<std::uint64_t> HubClient::download(const HubName& name, const std::string& commit, const std::string& file,
                                          const BlobId& blob, PartialBlob& partial,
                                          const std::function<void(std::uint64_t)>& progress) {
  const auto at = url("/" + name.repo() + "/resolve/" + commit + "/" + file);
  if (!at.ok()) return at.error();
  FetchOptions fetching = options();
  fetching.max_bytes = blob.bytes;
  fetching.total_seconds = 0;
  fetching.low_seconds = 30;
  std::uint64_t received = 0;
  bool wrong_before = false, disk_failed = false;
  const auto sink = [&](const FetchResponse& response, std::span<const std::byte> bytes) {
    try {
      if (response.bytes == 0 && response.status == 200 && partial.bytes() > 0)
        partial.restart();  // the server sends all of it
      if (bytes.size() > blob.bytes - partial.bytes())
        throw Error(ErrorCode::bad_input,
                    fmt::format("{}: {}: the server sends more than its {} bytes", name.repo(), file, blob.bytes),
                    file);
      partial.append(bytes);
    } catch (...) {
      disk_failed = true;
      throw;
    }
    received += bytes.size();
    if (progress) progress(partial.bytes());
  };
  try {
    for (int idle = 0, attempt = 0;; ++attempt) {
      const std::uint64_t before = partial.bytes();
      std::optional<Error> failure;
      if (before < blob.bytes) {
        const auto response = fetcher_.fetch({*at, false, before, "\"" + blob.etag + "\""}, fetching, sink);
        if (!response.ok()) {
          if (disk_failed || response.error().code() != ErrorCode::io) return response.error();
          failure = response.error();
        } else if (response->status == 416) {
          partial.restart();
        } else if (response->status != 200 && response->status != 206) {
          failure = explain(name, file, *response);
          if (failure->code() != ErrorCode::io || response->status == 429) return *failure;
        }
      }
      if (partial.bytes() == blob.bytes) {
        if (partial.finish()) return received;
        if (wrong_before)
          return Error(
              ErrorCode::bad_file,
              fmt::format("{}: {}: the bytes that came do not have the hash that the hub promised ({}…), twice; "
                          "nothing of them is kept",
                          name.repo(), file, blob.etag.substr(0, 12)),
              file);
        wrong_before = true;
        continue;
      }
      idle = partial.bytes() > before ? 0 : idle + 1;
      if (idle >= max_idle_attempts || attempt >= max_attempts) {
        const std::string state =
            fmt::format("{} of {} bytes are kept, the same command goes on from there", partial.bytes(), blob.bytes);
        return Error(ErrorCode::io,
                     failure ? fmt::format("{}; {}", failure->message(), state)
                             : fmt::format("{}: {}: the server sends too little; {}", name.repo(), file, state),
                     file);
      }
      log::info("{}: {}; attempt {} goes on from byte {}", file, failure ? failure->message() : "cut", attempt + 2,
                partial.bytes());
      pause(0.5 * (1 << idle));
    }
  } catch (const Error& error) {
    return error;
  }
}

}  // namespace tap
