// What keeps a decoder that a file has taken over from doing anything but answer.
#pragma once

namespace tap::helper {

// From here on: no new file, socket, process or program; memory, files and time limited; ends with its parent. False
// when the kernel does not give it.
bool enter_sandbox();

}  // namespace tap::helper
