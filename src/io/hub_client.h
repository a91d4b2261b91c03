// Talking to a model hub (huggingface.co, or a mirror that speaks its protocol): which files a revision has, what each
// file's hash is, and their bytes. What the hub says is not trusted: names of files are held against a list of what a
// model needs, hashes must be hashes, and bytes are believed when their hash is right.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "io/fetch.h"
#include "io/hub.h"
#include "io/hub_store.h"

namespace tap {

// Which hub, as huggingface_hub reads it from the environment.
struct HubAccess {
  std::string endpoint = "https://huggingface.co";  // HF_ENDPOINT
  std::string token{};         // HF_TOKEN, else the file of HF_TOKEN_PATH, else `token` in HF_HOME or its default place
  bool offline = false;        // HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE
  bool allow_private = false;  // see FetchOptions
  static Result<HubAccess> from_environment(const HubEnv& env);
};

// The files of a repository that a model needs (settings, tokenizer, templates, safetensors), small ones first and the
// weights last, and all others, shortened for printing. Error(unsupported) when there are no safetensors: says what
// there is and what to do. Never a pickle, never a name with a folder or an odd character.
struct HubFiles {
  std::vector<std::string> wanted, skipped;
};
Result<HubFiles> choose_files(const std::string& repo, const std::vector<std::string>& siblings);

struct HubRevision {
  std::string commit;
  HubFiles files;
};

class HubClient {
 public:
  static Result<HubClient> open(HubAccess access);

  // What the revision (empty: main) is now. Errors say what to do: gated, private or unknown models, too many requests.
  Result<HubRevision> revision(const HubName& name);
  // The hash and size of one file of a commit, without its bytes.
  Result<BlobId> blob(const HubName& name, const std::string& commit, const std::string& file);
  // Gets the bytes that `partial` has not got yet, over several attempts when the connection is cut, and finishes it.
  // `progress` is told the bytes it holds. Gives the bytes that came over the network.
  Result<std::uint64_t> download(const HubName& name, const std::string& commit, const std::string& file,
                                 const BlobId& blob, PartialBlob& partial,
                                 const std::function<void(std::uint64_t)>& progress);

 private:
  HubClient(HubAccess access, Url endpoint, Fetcher fetcher)
      : access_(std::move(access)), endpoint_(std::move(endpoint)), fetcher_(std::move(fetcher)) {}
  Result<Url> url(const std::string& path) const;
  FetchOptions options() const;
  Error explain(const HubName& name, const std::string& what, const FetchResponse& response) const;

  HubAccess access_;
  Url endpoint_;
  Fetcher fetcher_;
};

}  // namespace tap
