"""Writes src/media/font8x16.h: the printable ASCII of DejaVu Sans Mono as 8x16 bits, drawn without antialiasing.

    python tools/font8x16.py        # needs Pillow and fonts-dejavu-core
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf"
OUT = Path(__file__).resolve().parents[1] / "src/media/font8x16.h"
HEAD = """// The last resort when no font file is there: printable ASCII, 8x16 bits, one byte a row, highest bit left. Made by
// tools/font8x16.py from DejaVu Sans Mono (free licence: dejavu-fonts.github.io/License.html).
#pragma once

#include <cstdint>

namespace tap::media {

inline constexpr std::uint8_t font8x16[95][16] = {
"""


def main() -> None:
    font = ImageFont.truetype(FONT, 13)
    lines = []
    for code in range(32, 127):
        image = Image.new("1", (8, 16))
        draw = ImageDraw.Draw(image)
        draw.fontmode = "1"
        draw.text((0, 12), chr(code), font=font, fill=1, anchor="ls")
        rows = ", ".join(f"0x{b:02x}" for b in image.tobytes())
        shown = {"\\": "backslash"}.get(chr(code), chr(code))
        lines.append(f"    {{{rows}}},  // {shown}".rstrip())
    OUT.write_text(HEAD + "\n".join(lines) + "\n};\n\n}  // namespace tap::media\n")


if __name__ == "__main__":
    main()
