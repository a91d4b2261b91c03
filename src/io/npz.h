// numpy's .npz: a ZIP archive of .npy arrays (APPNOTE.TXT 4.3; numpy.lib.format 1.0 and 2.0). Sizes are held against
// the limits before anything is unpacked; an array of Python objects, a pickle, is never read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/dim.h"
#include "base/error.h"
#include "tensor/tensor.h"

namespace tap {

struct NpzLimits {
  std::size_t file_bytes = std::size_t{1} << 30;
  std::size_t unpacked_bytes = std::size_t{1} << 30;  // of all arrays together
  std::size_t members = 4096;
};

class Npz {
 public:
  static Result<Npz> open(const std::string& path, const NpzLimits& limits = {});
  // `what` is the file's name in errors. Checks the directory; arrays are unpacked by `read`.
  static Result<Npz> parse(std::string bytes, std::string_view what, const NpzLimits& limits = {});

  // Of its arrays, in the archive's order and without ".npy". Other members are passed over.
  std::vector<std::string> names() const;
  bool has(std::string_view name) const { return find(name) != nullptr; }
  // f4 and f8 come as f32, f2 as f16, i4, i8 and u1 (bool too) as they are; Fortran order is turned into rows.
  Result<Tensor> read(std::string_view name) const;
  const std::string& file_name() const { return what_; }

 private:
  struct Member {
    std::string name;
    std::uint16_t method = 0;
    std::uint32_t crc = 0;
    std::size_t begin = 0, packed = 0, unpacked = 0;
  };
  Npz(std::string bytes, std::string_view what) : bytes_(std::move(bytes)), what_(what) {}
  const Member* find(std::string_view name) const;
  std::vector<Member> directory(const NpzLimits& limits) const;
  std::string unpack(const Member& member) const;
  std::string bytes_, what_;
  std::vector<Member> members_;
};

}  // namespace tap
