// Reads "height width 0110…" (row-major) a line; writes the compressed runs, the area and the bounds.
#include <iostream>
#include <string>

#include "media/rle.h"

int main() {
  tap::Dim height = 0, width = 0;
  std::string bits;
  while (std::cin >> height >> width >> bits) {
    std::vector<std::uint8_t> mask;
    for (const char bit : bits) mask.push_back(bit == '1');
    const tap::MaskRuns runs = tap::runs_of(mask, height, width);
    const tap::PixelBox box = tap::bounds_of(runs);
    std::cout << tap::compressed(runs) << " " << runs.area() << " " << box.x1 << " " << box.y1 << " " << box.x2 - box.x1
              << " " << box.y2 - box.y1 << "\n";
  }
}
