// The media helper (src/helper): a process of its own that reads one file, because what decodes videos and HEIC is
// under another licence and has the worst record of all parsers.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "codec/image.h"
#include "codec/media_protocol.h"

namespace tap {

class HelperProcess {
 public:
  // Start it and hand it the file. Throw Error naming the file: not_found, io, unsupported where the helper is not
  // installed.
  static HelperProcess of_file(const std::string& path);
  static HelperProcess of_bytes(std::span<const std::byte> bytes, const std::string& name);
  // As of_bytes, by what starts a process that has the two descriptors: gives its id, a child of ours.
  using Start = std::function<pid_t(int socket, int file)>;
  static HelperProcess of_bytes(std::span<const std::byte> bytes, const std::string& name, const Start& start);
  ~HelperProcess();  // ends it
  HelperProcess(HelperProcess&&) noexcept;
  static bool installed();
  // Starts it with arguments and descriptors, for what starts helpers in another way. Throws Error(io).
  static pid_t start_program(std::vector<std::string> arguments, std::vector<std::pair<int, int>> descriptors);

  struct Got {
    media_protocol::Reply reply;   // good
    std::vector<std::byte> bytes;  // that came with it, as many as it says
  };
  // Throws Error naming the file: what the helper says of it; io when it died, gave no answer in time, or said what
  // makes no sense, more than `most` bytes among it; cancelled. `seconds`: how long one answer may take, when above 0
  // and less than usual.
  Got ask(const media_protocol::Request& request, std::uint64_t most, double seconds = 0);
  // The pixels that Ask::heif or Ask::picture gives, and for heif how many pictures there are. Throws as above.
  Image picture(media_protocol::Ask ask_for, std::int64_t index, double seconds = 0, std::int64_t* count = nullptr);

 private:
  HelperProcess(const std::string& path, const Fd& file, const Start& start);
  struct Process;
  // The reply, and the memory that came with it, not yet read. Throws as `ask`.
  std::pair<media_protocol::Reply, Fd> exchange(const media_protocol::Request& request, std::uint64_t most,
                                                double seconds);
  std::string path_;
  std::unique_ptr<Process> process_;
};

bool is_heif(std::span<const std::byte> bytes);  // HEIC or HEIF, by its brand
// A picture by its index among those of the file (0: the primary one), upright, laid on white. Throws as above.
Image heif_image(std::span<const std::byte> bytes, const std::string& name, Dim index, Dim* count = nullptr);

}  // namespace tap
