// What was said before: a conversation that is not a Chat's own.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <tapetum/image.h>

namespace tap {
namespace v1 [[gnu::visibility("default")]] {

enum class Role { system, user, assistant };

// Words, or a picture when `image` is set.
struct Part {
  std::string text = {};
  std::optional<Image> image = {};
};

struct Message {
  Role role = Role::user;
  std::vector<Part> parts = {};  // in the order in which the model reads them
};

}  // namespace gnu::visibility("default")
}  // namespace tap
