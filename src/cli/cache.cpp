// tapetum cache: the packed weights that are kept on disk, and what frees them.
#include <ctime>
#include <span>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "io/packed_cache.h"
#include "io/packed_files.h"

namespace tap::cli {

namespace {

using Files = std::vector<PackedFile>;

std::string time_text(std::time_t seconds, bool utc) {
  std::tm parts{};
  if (!(utc ? ::gmtime_r(&seconds, &parts) : ::localtime_r(&seconds, &parts))) return "?";
  char text[64];
  return {text, std::strftime(text, sizeof text, utc ? "%Y-%m-%dT%H:%M:%SZ" : "%Y-%m-%d %H:%M", &parts)};
}

std::uint64_t bytes_of(const Files& files) {
  std::uint64_t sum = 0;
  for (const PackedFile& file : files) sum += file.bytes;
  return sum;
}

std::string size_text(std::uint64_t bytes) { return human_bytes(static_cast<double>(bytes)); }

std::string count_text(std::size_t count) { return fmt::format("{} file{}", count, count == 1 ? "" : "s"); }

int list_cache(const Options& options, const std::string& folder) {
  const Files files = packed_files();
  if (options.json) {
    Json all = Json::array();
    for (const PackedFile& file : files)
      all.push_back({{"model", file.model()},
                     {"folder", file.folder},
                     {"type", file.type},
                     {"bytes", file.bytes},
                     {"used", time_text(file.used.tv_sec, true)},
                     {"state", name(file.state)},
                     {"file", file.path}});
    write_json({{"folder", folder},
                {"bytes", bytes_of(files)},
                {"most_bytes", PackedCache::most_bytes_kept},
                {"files", std::move(all)}});
    return 0;
  }
  for (const PackedFile& file : files)
    write_out(fmt::format("{:<44} {:<4} {:>8}  {}{}\n", log::one_line(file.model()),
                          file.type.empty() ? "?" : log::one_line(file.type), size_text(file.bytes),
                          time_text(file.used.tv_sec, false),
                          file.state == PackedFile::State::whole ? "" : fmt::format("  {}", name(file.state))));
  if (options.quiet) return 0;
  if (folder.empty())
    write_out("(no packed weights are kept: TAPETUM_PACKED_CACHE is off, or there is no HOME)\n");
  else
    write_out(fmt::format("{} of at most {}, {} in {}\n", size_text(bytes_of(files)),
                          size_text(PackedCache::most_bytes_kept), count_text(files.size()), log::one_line(folder)));
  return 0;
}

// Those of the models that `words` name, as the list shows them or by their folders; all without words.
Files chosen(const std::span<const std::string> words, const std::string& folder) {
  Files files = packed_files();
  if (words.empty()) return files;
  std::vector<bool> named(files.size());
  for (const std::string& word : words) {
    const std::string model_folder = plain_folder(word);
    bool known = false;
    for (std::size_t i = 0; i < files.size(); ++i) {
      if (files[i].model() != word && (files[i].folder.empty() || files[i].folder != model_folder)) continue;
      known = named[i] = true;
    }
    if (!known)
      throw Error(ErrorCode::not_found,
                  fmt::format("{}: no packed weights of it are kept{}; tapetum cache lists what is there",
                              log::one_line(word), folder.empty() ? "" : " in " + log::one_line(folder)),
                  word);
  }
  Files wanted;
  for (std::size_t i = 0; i < files.size(); ++i)
    if (named[i]) wanted.push_back(std::move(files[i]));
  return wanted;
}

int clear_cache(const Options& options, const std::string& folder) {
  Files files = chosen(std::span(options.words).subspan(1), folder);
  std::erase_if(files, [](const PackedFile& file) { return file.state == PackedFile::State::being_written; });
  const std::uint64_t freed = remove_packed_files(files);
  if (options.json)
    write_json({{"folder", folder}, {"files", files.size()}, {"freed_bytes", freed}});
  else
    write_out(fmt::format("{} removed, {} freed\n", count_text(files.size()), size_text(freed)));
  return 0;
}

}  // namespace

int run_cache(const Options& options) {
  const std::string folder = packed_cache_folder();
  if (options.words.empty()) return list_cache(options, folder);
  if (options.words[0] == "clear") return clear_cache(options, folder);
  throw Error(ErrorCode::usage,
              fmt::format("cache: {} is no word of it: tapetum cache lists, tapetum cache clear [MODEL…] removes",
                          log::one_line(options.words[0])),
              options.words[0]);
}

}  // namespace tap::cli
