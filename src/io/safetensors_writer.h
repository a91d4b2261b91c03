// Writes the safetensors container: the header first, from names, types and shapes, then the tensors' bytes in any
// order.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/safetensors.h"

namespace tap {

struct NewTensor {
  std::string name, dtype;
  std::vector<Dim> shape;
  std::uint64_t bytes = 0;
};

class SafetensorsWriter {
 public:
  // Creates `path`, which `shown` names in errors. Tensors of wide types come first, so that each begins at a multiple
  // of its type's size.
  SafetensorsWriter(const std::string& path, std::string shown, const std::vector<NewTensor>& tensors,
                    const SafetensorNotes& notes);
  SafetensorsWriter(SafetensorsWriter&& other) noexcept;
  SafetensorsWriter& operator=(SafetensorsWriter&&) = delete;
  ~SafetensorsWriter();

  // Bytes of tensor `index` of the constructor's list, from its own byte `offset` on. Throws Error(io).
  void write(std::size_t index, std::uint64_t offset, std::span<const std::byte> bytes);
  void finish();  // to the disk; nothing can be written after

 private:
  [[noreturn]] void refuse(int error_number) const;
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);
  int fd_ = -1;
  std::string shown_;
  std::vector<std::uint64_t> begins_;  // of each tensor, from the start of the file
};

}  // namespace tap
