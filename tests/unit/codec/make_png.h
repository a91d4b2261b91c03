// PNG files put together by hand, so that tests can make ones that no encoder writes.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include <zlib.h>

namespace tap::test {

inline std::string big_endian(std::uint32_t value) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift & 0xFF));
  return out;
}

inline std::string png_chunk(const std::string& type, const std::string& body) {
  const std::string checked = type + body;
  const auto crc = crc32(0, reinterpret_cast<const Bytef*>(checked.data()), static_cast<uInt>(checked.size()));
  return big_endian(static_cast<std::uint32_t>(body.size())) + checked + big_endian(static_cast<std::uint32_t>(crc));
}

inline std::string png_start(std::uint32_t width, std::uint32_t height, int depth, int color, int interlace = 0) {
  std::string header = big_endian(width) + big_endian(height);
  for (const int v : {depth, color, 0, 0, interlace}) header.push_back(static_cast<char>(v));
  return "\x89PNG\r\n\x1a\n" + png_chunk("IHDR", header);
}

inline std::string deflated(const std::string& raw, int level = 6) {
  std::string out(compressBound(raw.size()), '\0');
  uLongf size = out.size();
  compress2(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(raw.data()), raw.size(), level);
  out.resize(size);
  return out;
}

inline std::string png_end() { return png_chunk("IEND", ""); }

// A black 8-bit RGB PNG of any size in little time: one compressed block of zeros, repeated at byte boundaries.
inline std::string black_png(std::uint32_t width, std::uint32_t height) {
  constexpr std::size_t block = std::size_t{1} << 20;
  const std::uint64_t total = (1 + std::uint64_t{width} * 3) * height;
  const auto piece = [](std::size_t bytes) {
    z_stream stream{};
    deflateInit2(&stream, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY);
    std::string zeros(bytes, '\0'), out(bytes + 64, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(zeros.data());
    stream.avail_in = static_cast<uInt>(bytes);
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    deflate(&stream, Z_FULL_FLUSH);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    return out;
  };
  std::string body = "\x78\xda";
  const std::string repeated = piece(block);
  for (std::uint64_t i = 0; i < total / block; ++i) body += repeated;
  if (total % block) body += piece(static_cast<std::size_t>(total % block));
  body += std::string("\x03\x00", 2);  // the last block, empty
  // Adler-32 of n zeros: a = 1, b = n mod 65521.
  body += big_endian(static_cast<std::uint32_t>(total % 65521) << 16 | 1);
  return png_start(width, height, 8, 2) + png_chunk("IDAT", body) + png_end();
}

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace tap::test
