#include "io/packed_cache.h"

#include <algorithm>
#include <atomic>
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
#include "io/packed_files.h"
#include "tensor/packed_data.h"

namespace tap {

namespace {

namespace fs = std::filesystem;
using namespace packed_format;

// Of the layouts of kernels/pack.h and of this file: a change of either is a new number.
constexpr int layout_version = 2;

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

void remove(const PackedFile& file) {
  try {
    remove_packed_files(std::span(&file, 1));
  } catch (const Error& error) {
    log::info("{}", error.message());
  }
}

// What processes that were killed while they wrote left behind.
void remove_left_overs() {
  for (const PackedFile& file : packed_files())
    if (file.state == PackedFile::State::left_over) remove(file);
}

// The oldest files go until the others take no more than the limit.
void make_room(const std::string& keep) {
  std::vector<PackedFile> files = packed_files();
  std::uint64_t sum = 0;
  for (const PackedFile& file : files) sum += file.bytes;
  for (; sum > PackedCache::most_bytes_kept && !files.empty(); files.pop_back()) {
    if (files.back().path == keep || files.back().state == PackedFile::State::being_written) continue;
    sum -= files.back().bytes;
    remove(files.back());
  }
}

}  // namespace

PackedCache::PackedCache(const std::string& folder, WeightType type, std::string_view source)
    : folder_(plain_folder(folder)), path_(packed_path(folder_, type)), type_(type) {
  const XXH128_hash_t sum = XXH3_128bits(source.data(), source.size());
  source_ = fmt::format("layout {} source {:016x}{:016x}", layout_version, sum.high64, sum.low64);
}

bool PackedCache::read() {
  if (!enabled() || !file_exists(path_)) return false;
  auto opened = File::open(path_);
  if (!opened.ok()) return false;
  const File file = std::move(opened).value();
  try {
    const auto header = read_header(file);
    if (!header || header->json.at("source").get<std::string>() != source_) return false;
    const auto bytes = static_cast<Dim>(header->data_bytes), pieces = ceil_div(bytes, piece_bytes);
    std::vector<std::uint64_t> sums(static_cast<std::size_t>(pieces));
    file.read_at(header->data_begin + header->data_bytes, std::as_writable_bytes(std::span(sums)));
    const std::shared_ptr<Storage> block = Storage::allocate(static_cast<std::size_t>(bytes));
    std::atomic<bool> sound{true};
    parallel_rows(pieces, 1, [&](Rows r) {
      for (Dim p = r.begin; p < r.end; ++p) {
        const Dim at = p * piece_bytes;
        const std::span out(block->data() + at, static_cast<std::size_t>(std::min(piece_bytes, bytes - at)));
        file.read_at(header->data_begin + static_cast<std::uint64_t>(at), out);
        if (sum_of(out.data(), out.size()) != sums[static_cast<std::size_t>(p)]) sound = false;
      }
    });
    if (!sound) {
      log::warn("{}: damaged; the weights are packed again", path_);
      return false;
    }
    Dim offset = 0;
    for (const Json& entry : header->json.at("entries")) {
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
  Json header = {{"model", folder_}, {"type", name(type_)}, {"source", source_}, {"entries", Json::array()}};
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
  remove_left_overs();  // first: they may be what fills the disk
  struct statvfs disk;
  if (failed || ::statvfs(folder.c_str(), &disk) != 0) return;
  if (static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize) < 3.0 * static_cast<double>(bytes)) {
    log::info("{}: not written: the disk is nearly full", path_);
    return;
  }
  std::string text = to_json_line(header);
  const auto before_data =
      static_cast<std::size_t>(round_up(static_cast<Dim>(sizeof(Prologue) + text.size()), alignment));
  text.resize(before_data - sizeof(Prologue), ' ');
  Prologue start{};
  std::copy(magic.begin(), magic.end(), start.magic);
  start.header_bytes = text.size();
  start.data_begin = before_data;
  start.data_bytes = static_cast<std::uint64_t>(bytes);
  start.header_sum = sum_of(text.data(), text.size());

  // Under a name of this process's own: two that start together do not write into each other's file.
  const std::string temporary = fmt::format("{}.{}", path_, ::getpid());
  bool written = false;
  {
    const Fd file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (file.get() < 0) return log::info("{}: not written: {}", path_, reason_of(errno));
    const auto put = [&](std::span<const std::byte> more) { return write_all(file.get(), more) == more.size(); };
    written = put(std::as_bytes(std::span(&start, 1))) && put(std::as_bytes(std::span(text)));
    // Piece by piece through one buffer, as the checksums count.
    std::vector<std::byte> piece;
    std::vector<std::uint64_t> sums;
    const auto flush = [&] {
      sums.push_back(sum_of(piece.data(), piece.size()));
      written = written && put(piece);
      piece.clear();
    };
    const auto add = [&](const std::byte* from, Dim count) {
      while (count > 0) {
        const Dim some = std::min(count, piece_bytes - static_cast<Dim>(piece.size()));
        if (from)
          piece.insert(piece.end(), from, from + some), from += some;
        else
          piece.resize(piece.size() + static_cast<std::size_t>(some));
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
    written = written && put(std::as_bytes(std::span(sums)));
  }
  // No fsync: what a power cut leaves behind fails its checksums.
  if (!written || std::rename(temporary.c_str(), path_.c_str()) != 0) {
    log::info("{}: not written: {}", path_, reason_of(errno));
    ::unlink(temporary.c_str());
    return;
  }
  make_room(path_);
}

}  // namespace tap
