// The conversations behind answers of /v1/responses, for "previous_response_id": in memory, the newest ones, each for
// the API key that it was asked with.
#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace tap::server {

class ResponseStore {
 public:
  static constexpr std::size_t usual_bytes = std::size_t{128} << 20, usual_count = 1000;
  explicit ResponseStore(std::size_t most_bytes = usual_bytes, std::size_t most_count = usual_count)
      : most_bytes_(most_bytes), most_count_(most_count) {}

  // Drops the oldest where it passes a limit; what alone passes it is not kept.
  void put(const std::string& id, const std::string& owner, std::string conversation);
  // Nothing: unknown, dropped, or another owner's.
  std::optional<std::string> find(const std::string& id, const std::string& owner) const;

 private:
  struct Entry {
    std::string owner, conversation;
    std::list<std::string>::iterator age;
  };
  std::size_t most_bytes_, most_count_, bytes_ = 0;
  mutable std::mutex mutex_;     // of what follows and of bytes_
  std::list<std::string> ages_;  // oldest first
  std::map<std::string, Entry> entries_;
};

}  // namespace tap::server
