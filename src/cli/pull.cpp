// tapetum pull ORG/NAME[@REVISION]: a model of the hub into its local cache.
#include <filesystem>
#include <set>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "io/hub_client.h"

namespace tap::cli {

namespace {

constexpr std::size_t max_named_skipped = 4;

struct Pulled {
  std::string commit, folder;
  std::size_t files = 0;
  std::uint64_t bytes = 0, downloaded_bytes = 0;
};

// What the cache holds of the model; nullopt unless it is whole.
std::optional<Pulled> cached(const HubEnv& env, const std::string& word) {
  const auto folder = resolve_model(word, env);
  if (!folder.ok() || !missing_files(*folder).empty()) return std::nullopt;
  Pulled pulled{folder->substr(folder->rfind('/') + 1), *folder};
  std::error_code failed;
  for (std::filesystem::directory_iterator at(*folder, failed), end; !failed && at != end; at.increment(failed)) {
    std::error_code no_file;
    const auto size = std::filesystem::file_size(at->path(), no_file);
    if (no_file) continue;
    pulled.files += 1;
    pulled.bytes += size;
  }
  return pulled;
}

struct Wanted {
  std::string file;
  BlobId blob;
};

void say_skipped(const HubName& name, const std::vector<std::string>& skipped) {
  if (skipped.empty() || log::level() == log::Level::quiet) return;
  std::string text;
  for (std::size_t i = 0; i < std::min(skipped.size(), max_named_skipped); ++i) text += (i ? ", " : "") + skipped[i];
  if (skipped.size() > max_named_skipped) text += fmt::format(" and {} more", skipped.size() - max_named_skipped);
  std::fprintf(stderr, "%s: skipped what a model does not need: %s\n", name.repo().c_str(), text.c_str());
}

// Brings the snapshot of one commit to the disk: what is not there yet, each file whole or not at all.
Pulled bring(HubClient& hub, const HubEnv& env, const HubName& name, const HubRevision& revision) {
  const HubStore store = HubStore::open(env, name).value();
  Pulled pulled{revision.commit, store.snapshot(revision.commit)};
  std::vector<Wanted> wanted;
  std::uint64_t missing_bytes = 0, there_bytes = 0;
  std::set<std::string> counted;  // two names of the same content are one blob
  for (const std::string& file : revision.files.wanted) {
    pulled.files += 1;
    if (const auto bytes = store.file_bytes(revision.commit, file)) {  // a commit never changes
      pulled.bytes += *bytes;
      continue;
    }
    BlobId blob = hub.blob(name, revision.commit, file).value();
    pulled.bytes += blob.bytes;
    if (!store.has_blob(blob) && counted.insert(blob.etag).second) {
      missing_bytes += blob.bytes;
      there_bytes += store.partial_bytes(blob);
    }
    wanted.push_back({file, std::move(blob)});
  }
  if (!wanted.empty()) store.prepare();
  if (const auto free = store.free_bytes(); missing_bytes - there_bytes > free)
    throw Error(ErrorCode::io,
                fmt::format("{}: {} are to come, but {} has {} free", name.repo(),
                            human_bytes(static_cast<double>(missing_bytes - there_bytes)), store.folder(),
                            human_bytes(static_cast<double>(free))),
                store.folder());
  Progress progress(name.repo(), missing_bytes, Progress::Unit::bytes, missing_bytes == 0, there_bytes);
  std::uint64_t done = 0;  // of the files before this one
  for (const auto& [file, blob] : wanted) {
    const FileLock lock =
        store.lock(blob, [&] { log::warn("{}: another process downloads {}; waiting for it", name.repo(), file); })
            .value();
    if (!store.has_blob(blob)) {
      progress.label(file);
      PartialBlob partial(store.blobs(), blob);
      pulled.downloaded_bytes += hub.download(name, revision.commit, file, blob, partial,
                                              [&](std::uint64_t bytes) { progress.update(done + bytes); })
                                     .value();
      done += blob.bytes;
    }
    store.link(revision.commit, file, blob);
  }
  progress.hide();
  if (const std::string missing = missing_files(pulled.folder); !missing.empty())
    throw Error(ErrorCode::bad_file,
                fmt::format("{}: the hub's revision is not whole: {} is missing", name.repo(), missing), name.repo());
  const std::string wanted_name = name.revision.empty() ? "main" : name.revision;
  if (wanted_name != revision.commit) store.set_revision(wanted_name, revision.commit);
  say_skipped(name, revision.files.skipped);
  return pulled;
}

Pulled pull(const HubName& name, const std::string& word, const Options& options) {
  const HubEnv env = HubEnv::from_environment();
  HubAccess access = HubAccess::from_environment(env).value();
  access.allow_private = options.allow_private;
  auto held = cached(env, word);
  if (access.offline) {
    if (!held)
      throw Error(ErrorCode::io,
                  fmt::format("{}: is not (wholly) in the hub cache, and HF_HUB_OFFLINE forbids to download it", word),
                  word);
    log::warn("{}: HF_HUB_OFFLINE is set: the cached {} is taken as it is", word, held->commit);
    return *held;
  }
  HubClient hub = HubClient::open(std::move(access)).value();
  const auto revision = hub.revision(name);
  if (revision.ok()) return bring(hub, env, name, *revision);
  if (!held || revision.error().code() == ErrorCode::cancelled || revision.error().code() == ErrorCode::usage)
    throw revision.error();
  log::warn("{}; the cached {} stays in use", revision.error().message(), held->commit);
  return *held;
}

}  // namespace

int run_pull(const Options& options) {
  if (options.words.size() != 1)
    fail(ErrorCode::usage, "pull takes one model (ORG/NAME), got {} words", options.words.size());
  const std::string& word = options.words[0];
  const auto name = parse_hub_name(word);
  if (!name)
    throw Error(ErrorCode::usage,
                fmt::format("{}: pull takes a name of the hub: ORG/NAME or ORG/NAME@REVISION", log::one_line(word)),
                word);
  const Pulled pulled = pull(*name, word, options);
  const std::string revision = name->revision.empty() ? "main" : name->revision;
  if (options.json)
    write_json({{"model", name->repo()},
                {"revision", revision},
                {"commit", pulled.commit},
                {"folder", pulled.folder},
                {"files", pulled.files},
                {"bytes", pulled.bytes},
                {"downloaded_bytes", pulled.downloaded_bytes}});
  else
    write_out(fmt::format("{} ({}, {}): {} files, {} ({} downloaded) in {}\n", name->repo(), revision,
                          pulled.commit.substr(0, 12), pulled.files, human_bytes(static_cast<double>(pulled.bytes)),
                          human_bytes(static_cast<double>(pulled.downloaded_bytes)), pulled.folder));
  return 0;
}

}  // namespace tap::cli
