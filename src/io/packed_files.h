// The files of the packed cache (io/packed_cache.h): their form, which ones are there and of which model, removing
// them. One is known by its name, NAME-<16 hexadecimal digits>.packed, with .PID behind it while process PID writes it;
// whatever else lies in the folder, links too, is left alone.
#pragma once

#include <cstdint>
#include <ctime>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/dim.h"
#include "base/file.h"
#include "io/json.h"
#include "tensor/packed_matrix.h"

namespace tap {

namespace packed_format {

// A file: this, a header in JSON {model, type, source, entries}, the entries' bytes, each aligned to 64, then one XXH3
// checksum for every piece.
constexpr std::string_view magic = "tapetum packed\n";
constexpr Dim piece_bytes = Dim{4} << 20;
constexpr Dim alignment = 64;
constexpr std::size_t max_header_bytes = std::size_t{64} << 20;

struct Prologue {
  char magic[16];
  std::uint64_t header_bytes, data_begin, data_bytes, header_sum;
};

struct Header {
  Json json;
  std::uint64_t data_begin = 0, data_bytes = 0;
};
// nullopt when the file is not one of ours, is cut, or its header is damaged; the data are not looked at. Throws Error
// as File::read_at and parse_json do.
std::optional<Header> read_header(const File& file);

std::uint64_t sum_of(const void* bytes, std::size_t count);

}  // namespace packed_format

std::string packed_cache_folder();  // empty: packed weights are not kept
// Where the weights of a model are kept in `type`; empty when they are not. `folder` as plain_folder gives it.
std::string packed_path(const std::string& folder, WeightType type);
std::string plain_folder(const std::string& folder);  // absolute, without "..", "//" and a "/" at its end

struct PackedFile {
  enum class State { whole, damaged, being_written, left_over };  // left_over: its writer ended before it was done
  std::string path;
  std::uint64_t bytes = 0;
  std::timespec used{};  // the last time that a model was started with it
  State state = State::whole;
  std::string folder, type;   // of the model, as the file says; empty when it is damaged
  std::string model() const;  // "org/name", else the model's folder, else the file's own name
};
std::string_view name(PackedFile::State state);

std::vector<PackedFile> packed_files();  // the one used last first
// Gives the bytes freed. What is being written stays, what is not there any more is fine. Throws Error(io).
std::uint64_t remove_packed_files(std::span<const PackedFile> files);

}  // namespace tap
