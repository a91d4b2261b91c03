// Sizes for people.
#pragma once

#include <string>

namespace tap {

std::string human_bytes(double bytes);  // "1.2 GB": powers of 1000

}  // namespace tap
