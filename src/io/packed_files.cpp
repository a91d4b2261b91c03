#include "io/packed_files.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "io/hub.h"

namespace tap {

namespace fs = std::filesystem;

namespace packed_format {

std::uint64_t sum_of(const void* bytes, std::size_t count) { return XXH3_64bits(bytes, count); }

std::optional<Header> read_header(const File& file) {
  Prologue start;
  file.read_at(0, std::as_writable_bytes(std::span(&start, 1)));
  if (std::string_view(start.magic, magic.size()) != magic || start.header_bytes > max_header_bytes)
    return std::nullopt;
  std::string text(start.header_bytes, '\0');
  file.read_at(sizeof start, std::as_writable_bytes(std::span(text)));
  if (sum_of(text.data(), text.size()) != start.header_sum) return std::nullopt;
  if (start.data_begin > file.size() || start.data_bytes > file.size() - start.data_begin) return std::nullopt;
  const Dim pieces = ceil_div(static_cast<Dim>(start.data_bytes), piece_bytes);
  if (file.size() != start.data_begin + start.data_bytes + static_cast<std::uint64_t>(pieces) * 8) return std::nullopt;
  return Header{parse_json(text, file.path(), {.bytes = max_header_bytes}).value(), start.data_begin, start.data_bytes};
}

}  // namespace packed_format

namespace {

constexpr std::size_t max_files = 100'000;
constexpr std::string_view ending = ".packed";

// The process in the name of a file that is being written, 0 of a finished one; nullopt: not a file of the cache.
std::optional<pid_t> writer_in(std::string_view file) {
  constexpr std::size_t digits = 16;
  const std::size_t at = file.rfind(ending);
  if (at == std::string_view::npos || at < digits + 1 || file[at - digits - 1] != '-') return std::nullopt;
  if (file.substr(at - digits, digits).find_first_not_of("0123456789abcdef") != std::string_view::npos)
    return std::nullopt;
  std::string_view rest = file.substr(at + ending.size());
  if (rest.empty()) return 0;
  if (rest.front() != '.') return std::nullopt;
  rest.remove_prefix(1);
  pid_t process = 0;
  const auto [end, problem] = std::from_chars(rest.data(), rest.data() + rest.size(), process);
  if (problem != std::errc() || end != rest.data() + rest.size() || process <= 0) return std::nullopt;
  return process;
}

bool lives(pid_t process) { return ::kill(process, 0) == 0 || errno == EPERM; }

// What the file says of its model.
void read_model(PackedFile& file) {
  try {
    auto opened = File::open(file.path);
    if (const auto header = opened.ok() ? packed_format::read_header(*opened) : std::nullopt) {
      file.folder = header->json.value("model", "");
      file.type = header->json.value("type", "");
      return;
    }
  } catch (const std::exception&) {  // cut, or no header of ours
  }
  if (file.state == PackedFile::State::whole) file.state = PackedFile::State::damaged;
}

}  // namespace

std::string packed_cache_folder() {
  if (const char* given = std::getenv("TAPETUM_PACKED_CACHE"); given && *given)
    return std::string_view(given) == "off" ? "" : given;
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache == '/')
    return std::string(cache) + "/tapetum/packed";
  if (const char* home = std::getenv("HOME"); home && *home == '/') return std::string(home) + "/.cache/tapetum/packed";
  return "";
}

std::string plain_folder(const std::string& folder) {
  std::error_code failed;
  const fs::path whole = fs::absolute(folder, failed);
  std::string plain = (failed ? fs::path(folder) : whole).lexically_normal().string();
  while (plain.size() > 1 && plain.ends_with('/')) plain.pop_back();
  return plain;
}

std::string packed_path(const std::string& folder, WeightType type) {
  const std::string cache = packed_cache_folder();
  if (cache.empty()) return "";
  // A name that people recognise, told apart by the sum of the whole of it.
  const std::string whole = fmt::format("{} {}", name(type), folder);
  std::string plain;
  for (const char c : whole.substr(whole.size() - std::min<std::size_t>(whole.size(), 60)))
    plain += std::isalnum(static_cast<unsigned char>(c)) || c == '-' ? c : '_';
  return fmt::format("{}/{}-{:016x}{}", cache, plain, packed_format::sum_of(whole.data(), whole.size()), ending);
}

std::string PackedFile::model() const {
  if (folder.empty()) return fs::path(path).filename().string();
  const std::string name = hub_name_of(folder);
  return name.empty() ? folder : name;
}

std::string_view name(PackedFile::State state) {
  switch (state) {
    case PackedFile::State::whole: return "whole";
    case PackedFile::State::damaged: return "damaged";
    case PackedFile::State::being_written: return "being written";
    case PackedFile::State::left_over: return "left over";
  }
  return "";
}

std::vector<PackedFile> packed_files() {
  std::vector<PackedFile> files;
  const std::string folder = packed_cache_folder();
  if (folder.empty()) return files;
  for (const std::string& entry : folder_entries(folder, max_files)) {
    const auto writer = writer_in(entry);
    struct stat info;
    if (!writer || ::lstat((folder + "/" + entry).c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    const auto state = *writer == 0     ? PackedFile::State::whole
                       : lives(*writer) ? PackedFile::State::being_written
                                        : PackedFile::State::left_over;
    files.push_back({folder + "/" + entry, static_cast<std::uint64_t>(info.st_size), info.st_mtim, state, "", ""});
    read_model(files.back());
  }
  std::sort(files.begin(), files.end(), [](const PackedFile& a, const PackedFile& b) {
    return std::pair(a.used.tv_sec, a.used.tv_nsec) > std::pair(b.used.tv_sec, b.used.tv_nsec);
  });
  return files;
}

std::uint64_t remove_packed_files(std::span<const PackedFile> files) {
  std::uint64_t freed = 0;
  for (const PackedFile& file : files) {
    if (file.state == PackedFile::State::being_written) continue;
    if (::unlink(file.path.c_str()) == 0)
      freed += file.bytes;
    else if (errno != ENOENT)
      throw Error(ErrorCode::io, fmt::format("{}: cannot be removed: {}", file.path, reason_of(errno)), file.path);
  }
  return freed;
}

}  // namespace tap
