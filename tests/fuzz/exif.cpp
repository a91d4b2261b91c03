// The orientation out of an EXIF block.
#include "codec/exif.h"
#include "fuzz.h"

namespace {

using namespace tap;

void run(fuzz::Bytes bytes) {
  const int orientation = exif_orientation(bytes);
  fuzz::require(orientation >= 1 && orientation <= 8, "an orientation is 1 to 8");
}

const fuzz::FuzzTarget target("exif", run);

}  // namespace
