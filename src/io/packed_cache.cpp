#include "io/packed_cache.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "base/parallel.h"
#include "io/json.h"
#include "tensor/packed_data.h"

namespace tap {

namespace {

namespace fs = std::filesystem;

// Of the layouts of kernels/pack.h and of this file: a change of either is a new number.
constexpr int layout_version = 1;
constexpr std::string_view magic = "tapetum packed\n";
constexpr Dim piece_bytes = Dim{4} << 20;
constexpr Dim alignment = 64;
constexpr std::size_t max_header_bytes = std::size_t{64} << 20;

std::string folder_of_cache() {
  if (const char* given = std::getenv("TAPETUM_PACKED_CACHE"); given && *given)
    return std::string_view(given) == "off" ? "" : given;
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache == '/')
    return std::string(cache) + "/tapetum/packed";
  if (const char* home = std::getenv("HOME"); home && *home == '/') return std::string(home) + "/.cache/tapetum/packed";
  return "";
}

// The bytes of a matrix, in the order of the file: panels, then scales.
struct Part {
  const std::byte* data;
  Dim bytes;
};
std::vector<Part> parts_of(const PackedMatrix& matrix) {
  const PackedMatrix::Data& data = matrix.data();
  std::vector<Part> parts{{data.panels->data(), static_cast<Dim>(data.panels->bytes())}};
  if (data.scales) parts.push_back({data.scales->data(), static_cast<Dim>(data.scales->bytes())});
  return parts;
}

Dim stored_bytes(const PackedMatrix& matrix) {
  Dim sum = 0;
  for (const Part& part : parts_of(matrix)) sum += round_up(part.bytes, alignment);
  return sum;
}

struct Prologue {  // what a file begins with
  char magic[16];
  std::uint64_t header_bytes, data_begin, data_bytes, header_sum;
};

std::uint64_t sum_of(const void* bytes, std::size_t count) { return XXH3_64bits(bytes, count); }

// The oldest files go until the others take no more than the limit.
void make_room(const std::string& folder, const std::string& keep) {
  struct Old {
    fs::file_time_type used;
    std::uint64_t bytes;
    fs::path path;
  };
  std::vector<Old> files;
  std::uint64_t sum = 0;
  std::error_code ignored;
  for (fs::directory_iterator at(folder, ignored), end; !ignored && at != end; at.increment(ignored)) {
    std::error_code none;
    if (at->path().extension() != ".packed") continue;
    files.push_back({at->last_write_time(none), at->file_size(none), at->path()});
    sum += files.back().bytes;
  }
  std::sort(files.begin(), files.end(), [](const Old& a, const Old& b) { return a.used < b.used; });
  for (const Old& file : files) {
    if (sum <= PackedCache::most_bytes_kept) return;
    if (file.path == keep) continue;
    fs::remove(file.path, ignored);
    sum -= file.bytes;
  }
}

bool write_all(int fd, const void* bytes, std::size_t count, off_t at) {
  const auto* from = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t written = ::pwrite(fd, from, count, at);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    from += written, at += written, count -= static_cast<std::size_t>(written);
  }
  return true;
}

}  // namespace

PackedCache::PackedCache(std::string_view name, std::string_view source) {
  const XXH128_hash_t sum = XXH3_128bits(source.data(), source.size());
  source_ = fmt::format("layout {} source {:016x}{:016x}", layout_version, sum.high64, sum.low64);
  const std::string folder = folder_of_cache();
  if (folder.empty()) return;
  // A name that people recognise, told apart by the sum of the whole of it.
  std::string plain;
  for (const char c : name.substr(name.size() - std::min<std::size_t>(name.size(), 60)))
    plain += std::isalnum(static_cast<unsigned char>(c)) || c == '-' ? c : '_';
  path_ = fmt::format("{}/{}-{:016x}.packed", folder, plain, sum_of(name.data(), name.size()));
}

bool PackedCache::read() {
  if (!enabled() || !file_exists(path_)) return false;
  auto opened = File::open(path_);
  if (!opened.ok()) return false;
  const File file = std::move(opened).value();
  try {
    Prologue start;
    file.read_at(0, std::as_writable_bytes(std::span(&start, 1)));
    if (std::string_view(start.magic, magic.size()) != magic || start.header_bytes > max_header_bytes) return false;
    std::string text(start.header_bytes, '\0');
    file.read_at(sizeof start, std::as_writable_bytes(std::span(text)));
    if (sum_of(text.data(), text.size()) != start.header_sum) return false;
    const Json header = parse_json(text, path_, {.bytes = max_header_bytes}).value();
    if (header.at("source").get<std::string>() != source_) return false;

    if (start.data_begin > file.size() || start.data_bytes > file.size() - start.data_begin) return false;
    const auto bytes = static_cast<Dim>(start.data_bytes), pieces = ceil_div(bytes, piece_bytes);
    const std::uint64_t sums_at = start.data_begin + start.data_bytes;
    if (file.size() != sums_at + static_cast<std::uint64_t>(pieces) * 8) return false;
    std::vector<std::uint64_t> sums(static_cast<std::size_t>(pieces));
    file.read_at(sums_at, std::as_writable_bytes(std::span(sums)));
    const std::shared_ptr<Storage> block = Storage::allocate(static_cast<std::size_t>(bytes));
    std::atomic<bool> sound{true};
    parallel_rows(pieces, 1, [&](Rows r) {
      for (Dim p = r.begin; p < r.end; ++p) {
        const Dim at = p * piece_bytes;
        const std::span out(block->data() + at, static_cast<std::size_t>(std::min(piece_bytes, bytes - at)));
        file.read_at(start.data_begin + static_cast<std::uint64_t>(at), out);
        if (sum_of(out.data(), out.size()) != sums[static_cast<std::size_t>(p)]) sound = false;
      }
    });
    if (!sound) {
      log::warn("{}: damaged; the weights are packed again", path_);
      return false;
    }
    Dim offset = 0;
    for (const Json& entry : header.at("entries")) {
      const Dim in = entry.at("in").get<Dim>(), out = entry.at("out").get<Dim>();
      const auto type = static_cast<WeightType>(entry.at("type").get<int>());
      std::vector<std::shared_ptr<Storage>> storages;
      for (const Dim part : {entry.at("panels").get<Dim>(), entry.at("scales").get<Dim>()}) {
        if (part < 0 || part > bytes - offset) return false;
        storages.push_back(part ? Storage::part(block, static_cast<std::size_t>(offset), static_cast<std::size_t>(part))
                                : nullptr);
        offset += round_up(part, alignment);
      }
      PackedMatrix matrix = PackedMatrix::of_parts(type, in, out, storages[0], storages[1]);
      held_.emplace(entry.at("key").get<std::string>(), std::move(matrix));
    }
  } catch (const std::exception& e) {  // a file that is cut, or not ours
    log::info("{}: not used: {}", path_, e.what());
    held_.clear();
    return false;
  }
  ::utimensat(AT_FDCWD, path_.c_str(), nullptr, 0);  // used now: the last to be removed
  return true;
}

std::optional<PackedMatrix> PackedCache::find(const std::string& key) const {
  const auto at = held_.find(key);
  return at == held_.end() ? std::nullopt : std::optional(at->second);
}

void PackedCache::write(const std::vector<std::pair<std::string, PackedMatrix>>& matrices) const {
  if (!enabled()) return;
  Json header = {{"source", source_}, {"entries", Json::array()}};
  Dim bytes = 0;
  for (const auto& [key, matrix] : matrices) {
    if (matrix.type() == WeightType::dense) return;
    const std::vector<Part> parts = parts_of(matrix);
    header["entries"].push_back({{"key", key},
                                 {"type", static_cast<int>(matrix.type())},
                                 {"in", matrix.in()},
                                 {"out", matrix.out()},
                                 {"panels", parts[0].bytes},
                                 {"scales", parts.size() > 1 ? parts[1].bytes : 0}});
    bytes += stored_bytes(matrix);
  }
  if (bytes < least_bytes) return;
  std::error_code failed;
  const std::string folder = fs::path(path_).parent_path().string();
  fs::create_directories(folder, failed);
  struct statvfs disk;
  if (failed || ::statvfs(folder.c_str(), &disk) != 0) return;
  if (static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize) < 3.0 * static_cast<double>(bytes)) {
    log::info("{}: not written: the disk is nearly full", path_);
    return;
  }
  const std::string text = to_json_line(header);
  Prologue start{};
  std::copy(magic.begin(), magic.end(), start.magic);
  start.header_bytes = text.size();
  start.data_begin = static_cast<std::uint64_t>(round_up(static_cast<Dim>(sizeof start + text.size()), alignment));
  start.data_bytes = static_cast<std::uint64_t>(bytes);
  start.header_sum = sum_of(text.data(), text.size());

  // Under a name of this process's own: two that start together do not write into each other's file.
  const std::string temporary = fmt::format("{}.{}", path_, ::getpid());
  bool written = false;
  {
    const Fd file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (file.get() < 0) return log::info("{}: not written: {}", path_, reason_of(errno));
    written = write_all(file.get(), &start, sizeof start, 0) &&
              write_all(file.get(), text.data(), text.size(), static_cast<off_t>(sizeof start));
    // Piece by piece through one buffer, as the checksums count.
    std::vector<std::byte> piece;
    std::vector<std::uint64_t> sums;
    auto at = static_cast<off_t>(start.data_begin);
    const auto flush = [&] {
      sums.push_back(sum_of(piece.data(), piece.size()));
      written = written && write_all(file.get(), piece.data(), piece.size(), at);
      at += static_cast<off_t>(piece.size());
      piece.clear();
    };
    const auto add = [&](const std::byte* from, Dim count) {
      while (count > 0) {
        const Dim some = std::min(count, piece_bytes - static_cast<Dim>(piece.size()));
        if (from) piece.insert(piece.end(), from, from + some), from += some;
        else piece.resize(piece.size() + static_cast<std::size_t>(some));
        count -= some;
        if (static_cast<Dim>(piece.size()) == piece_bytes) flush();
      }
    };
    for (const auto& [key, matrix] : matrices)
      for (const Part& part : parts_of(matrix)) {
        add(part.data, part.bytes);
        add(nullptr, round_up(part.bytes, alignment) - part.bytes);
      }
    if (!piece.empty()) flush();
    written = written && write_all(file.get(), sums.data(), sums.size() * 8, at);
  }
  // No fsync: what a power cut leaves behind fails its checksums.
  if (!written || std::rename(temporary.c_str(), path_.c_str()) != 0) {
    log::info("{}: not written: {}", path_, reason_of(errno));
    ::unlink(temporary.c_str());
    return;
  }
  make_room(folder, path_);
}

}  // namespace tap
