// Media helpers for what comes from the network: each reads one file and is ended, so that what a file has done to it
// meets no other file. They are forked by one that has linked its libraries and reads no file.
#pragma once

#include <cstddef>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "media/helper_process.h"

namespace tap {

class HelperStarter {
 public:
  // Starts the one that forks, which is ready by the time of a first picture. Its helpers end with the calling thread;
  // when it is killed, those of the next one with the thread that then takes the first, so that threads that take
  // helpers should live as long as this.
  HelperStarter();
  ~HelperStarter();
  HelperStarter(const HelperStarter&) = delete;
  HelperStarter& operator=(const HelperStarter&) = delete;

  // All of these: any thread.
  // Whether helpers run here at all: false where none is installed or none gets its sandbox, which is logged once.
  bool usable();
  // A helper that has these bytes. Throws Error naming them, as HelperProcess.
  HelperProcess take(std::span<const std::byte> bytes, const std::string& name);
  // What decode_picture gives, to the bit, from a helper; in this process where none is usable. Throws Error naming it;
  // `seconds` as for HelperProcess::ask.
  Image picture(std::span<const std::byte> bytes, const std::string& name, double seconds = 0);

 private:
  struct Forker;
  pid_t start(int socket, int file);
  bool try_one();

  std::mutex forking_, trying_;
  std::unique_ptr<Forker> forker_;  // under forking_
  std::optional<bool> usable_;      // under trying_; not yet known: nothing
};

}  // namespace tap
