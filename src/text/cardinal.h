// English numerals.
#pragma once

#include <string>

#include "base/dim.h"

namespace tap {

// As the package num2words has it: "twenty-one", "one hundred and five"; from a thousand on in digits.
std::string cardinal(Dim n);

}  // namespace tap
