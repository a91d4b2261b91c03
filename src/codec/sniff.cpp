#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>

#include "codec/format.h"

namespace tap::codec {

namespace {

struct Magic {
  std::size_t at;
  std::string_view bytes, kind;
  bool picture;
};

using namespace std::string_view_literals;

constexpr std::array magics{
    Magic{4, "ftyphei"sv, "HEIC", true},
    Magic{4, "ftyphev"sv, "HEIC", true},
    Magic{4, "ftypmif1"sv, "HEIF", true},
    Magic{0, "\0\0\1\0"sv, "ICO", true},
    Magic{0, "\xff\x0a"sv, "JPEG XL", true},
    Magic{0, "\0\0\0\x0cJXL "sv, "JPEG XL", true},
    Magic{0, "\0\0\0\x0cjP  "sv, "JPEG 2000", true},
    Magic{0, "\xff\x4f\xff\x51"sv, "JPEG 2000", true},
    Magic{0, "8BPS"sv, "PSD", true},
    Magic{0, "qoif"sv, "QOI", true},
    Magic{4, "ftyp"sv, "a video", false},
    Magic{0, "\x1a\x45\xdf\xa3"sv, "a video", false},
    Magic{8, "AVI "sv, "a video", false},
    Magic{8, "WAVE"sv, "sound", false},
    Magic{0, "ID3"sv, "sound", false},
    Magic{0, "OggS"sv, "sound", false},
    Magic{0, "fLaC"sv, "sound", false},
    Magic{0, "%PDF"sv, "PDF", false},
    Magic{0, "%!PS"sv, "PostScript", false},
    Magic{0, "PK\3\4"sv, "a ZIP archive", false},
    Magic{0, "\x1f\x8b"sv, "gzip data", false},
    Magic{0, "\x28\xb5\x2f\xfd"sv, "Zstandard data", false},
    Magic{0,
          "\x7f"
          "ELF"sv,
          "a program", false},
    Magic{0, "GGUF"sv, "GGUF", false},
};

}  // namespace

std::string_view sniff_other(std::span<const std::byte> bytes, bool& is_picture) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), std::min<std::size_t>(bytes.size(), 1024));
  is_picture = false;
  for (const Magic& magic : magics)
    if (text.size() >= magic.at + magic.bytes.size() && text.substr(magic.at, magic.bytes.size()) == magic.bytes) {
      is_picture = magic.picture;
      return magic.kind;
    }
  if (text.find('\0') != std::string_view::npos) return {};
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (lower.find("<svg") != std::string::npos) return is_picture = true, "SVG";
  if (lower.find("<html") != std::string::npos || lower.find("<!doctype html") != std::string::npos ||
      lower.find("<head") != std::string::npos || lower.find("<body") != std::string::npos)
    return "HTML";
  if (lower.find("<?xml") != std::string::npos) return "XML";
  if (lower.starts_with("version https://git-lfs")) return "a Git LFS pointer (the file itself was not fetched)";
  const auto printable = [](unsigned char c) { return c >= 0x20 || c == '\n' || c == '\r' || c == '\t' || c == '\f'; };
  if (std::all_of(text.begin(), text.end(), printable)) {
    if (const std::size_t first = lower.find_first_not_of(" \t\r\n");
        first != std::string::npos && (lower[first] == '{' || lower[first] == '['))
      return "JSON";
    return "text";
  }
  return {};
}

}  // namespace tap::codec
