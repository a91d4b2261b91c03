#include "io/safetensors_writer.h"

#include <algorithm>
#include <cerrno>
#include <numeric>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "io/json.h"

namespace tap {

SafetensorsWriter::SafetensorsWriter(const std::string& path, std::string shown, const std::vector<NewTensor>& tensors,
                                     const SafetensorNotes& notes)
    : shown_(std::move(shown)) {
  const auto width = [&](std::size_t i) {
    const std::string& dtype = tensors[i].dtype;
    return dtype.ends_with("64") ? 8 : dtype.ends_with("32") ? 4 : dtype.ends_with("16") ? 2 : 1;
  };
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return width(a) > width(b); });

  Json header = Json::object();
  for (const auto& [key, value] : notes) header["__metadata__"][key] = value;
  begins_.resize(tensors.size());
  std::uint64_t end = 0;
  for (const std::size_t i : order) {
    const NewTensor& tensor = tensors[i];
    begins_[i] = end;
    end += tensor.bytes;
    header[tensor.name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begins_[i], end}}};
  }
  std::string text = to_json_line(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string start;
  for (int i = 0; i < 8; ++i) start += static_cast<char>((static_cast<std::uint64_t>(text.size()) >> (8 * i)) & 0xff);
  start += text;
  for (std::uint64_t& begin : begins_) begin += start.size();

  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ < 0) refuse(errno);
  try {
    write_at(0, std::as_bytes(std::span(start)));
  } catch (...) {  // no destructor runs
    ::close(fd_);
    throw;
  }
}

SafetensorsWriter::SafetensorsWriter(SafetensorsWriter&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), shown_(std::move(other.shown_)), begins_(std::move(other.begins_)) {}

SafetensorsWriter::~SafetensorsWriter() {
  if (fd_ >= 0) ::close(fd_);
}

void SafetensorsWriter::refuse(int error_number) const {
  throw Error(ErrorCode::io, fmt::format("{}: cannot write: {}", shown_, reason_of(error_number)), shown_);
}

// Not pwrite: a device that is full says so to both, and write is what the tests of faults make fail.
void SafetensorsWriter::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (::lseek(fd_, static_cast<off_t>(offset), SEEK_SET) < 0) refuse(errno);
  if (write_all(fd_, bytes) < bytes.size()) refuse(errno);
}

void SafetensorsWriter::write(std::size_t index, std::uint64_t offset, std::span<const std::byte> bytes) {
  write_at(begins_.at(index) + offset, bytes);
}

void SafetensorsWriter::finish() {
  if (::fsync(fd_) != 0 && errno != EINVAL) refuse(errno);
  if (::close(std::exchange(fd_, -1)) != 0) refuse(errno);
}

}  // namespace tap
