// Helpers by forking: they begin with their libraries linked, which takes a new program 50 ms.
#pragma once

namespace tap::helper {

// Forks a helper for each message of the program. Returns in the helpers only, with their descriptors in place; ends
// this process when the program is gone.
void fork_helpers();

}  // namespace tap::helper
