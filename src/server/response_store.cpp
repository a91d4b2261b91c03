#include "server/response_store.h"

#include <utility>

namespace tap::server {

void ResponseStore::put(const std::string& id, const std::string& owner, std::string conversation) {
  const std::lock_guard lock(mutex_);
  if (conversation.size() > most_bytes_ || entries_.contains(id)) return;
  const std::size_t bytes = conversation.size();
  std::list<std::string> age{id};
  entries_.emplace(id, Entry{owner, std::move(conversation), age.begin()});
  ages_.splice(ages_.end(), age);
  bytes_ += bytes;
  while (bytes_ > most_bytes_ || entries_.size() > most_count_) {
    const auto oldest = entries_.find(ages_.front());
    bytes_ -= oldest->second.conversation.size();
    entries_.erase(oldest);
    ages_.pop_front();
  }
}

std::optional<std::string> ResponseStore::find(const std::string& id, const std::string& owner) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.owner != owner) return std::nullopt;
  return found->second.conversation;
}

}  // namespace tap::server
