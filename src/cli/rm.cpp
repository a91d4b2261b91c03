// tapetum rm ORG/NAME: a model out of the local hub cache, with its packed weights.
#include <cerrno>

#include <unistd.h>

#include "base/exec_context.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "io/hub_store.h"
#include "io/packed_files.h"

namespace tap::cli {

namespace {

// The answer of a terminal to a question that only "y" and "yes" affirm.
bool affirmed(const std::string& question) {
  std::fprintf(stderr, "%s [y/N] ", question.c_str());
  std::string answer;
  for (char c = 0; answer.size() < 64;) {
    const ssize_t n = ::read(STDIN_FILENO, &c, 1);
    ExecContext::current().checkpoint();
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0 || c == '\n') break;
    answer += c;
  }
  return answer == "y" || answer == "Y" || answer == "yes";
}

// The packed weights of a model whose files are gone. Those of another hub cache's model of that name stay.
std::uint64_t remove_packed_of(const std::string& repo) {
  std::vector<PackedFile> files = packed_files();
  std::erase_if(files, [&](const PackedFile& file) { return file.model() != repo || is_directory(file.folder); });
  return remove_packed_files(files);
}

}  // namespace

int run_rm(const Options& options) {
  if (options.words.size() != 1)
    fail(ErrorCode::usage, "rm takes one model of the hub cache (ORG/NAME), got {} words", options.words.size());
  const std::string& word = options.words[0];
  if (word == "nano") throw Error(ErrorCode::usage, "nano: is a part of tapetum and cannot be removed", word);
  const auto name = parse_hub_name(word);
  if (!name)
    throw Error(
        ErrorCode::usage,
        fmt::format("{}: rm takes a model of the hub cache by name (ORG/NAME); a folder of yours is yours to remove",
                    log::one_line(word)),
        word);
  if (!name->revision.empty())
    throw Error(ErrorCode::usage,
                fmt::format("{}: revisions share their files: rm removes the whole model {}", word, name->repo()),
                word);
  const HubEnv env = HubEnv::from_environment();
  const std::string folder = env.cache_folder() + "/" + name->folder();
  const std::uint64_t bytes = model_bytes_on_disk(env, *name).value();
  if (!options.yes) {
    if (options.json || !::isatty(STDIN_FILENO) || !::isatty(STDERR_FILENO))
      throw Error(ErrorCode::usage, fmt::format("{}: nobody to ask: add --yes to remove it", word), word);
    if (!affirmed(fmt::format("remove {} ({}, {})?", word, human_bytes(static_cast<double>(bytes)), folder))) {
      write_out(fmt::format("{} stays\n", word));
      return 1;
    }
  }
  std::uint64_t freed = remove_model(env, *name).value();
  freed += remove_packed_of(name->repo());
  if (options.json)
    write_json({{"model", name->repo()}, {"folder", folder}, {"freed_bytes", freed}});
  else
    write_out(fmt::format("{}: removed, {} freed\n", word, human_bytes(static_cast<double>(freed))));
  return 0;
}

}  // namespace tap::cli
