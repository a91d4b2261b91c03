// JPEG through libjpeg-turbo with its defaults (accurate integer DCT, fancy upsampling), as Pillow uses it.
#include <cstdio>  // before jpeglib.h, which wants FILE
#include <csetjmp>
#include <cstring>

#include <jerror.h>
#include <jpeglib.h>

#include "base/log.h"
#include "codec/exif.h"
#include "codec/format.h"
#include "codec/pixels.h"

namespace tap::codec {

namespace {

constexpr int marker_sos = 0xDA, marker_eoi = 0xD9, marker_app1 = 0xE1;

bool is_frame(int marker) {  // SOF0..SOF15 without DHT, JPG and DAC
  return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
}

// Everything that lives across setjmp: plain values only, so that longjmp skips no destructor.
struct JpegJob {
  jpeg_error_mgr errors;  // first: libjpeg hands back a pointer to it
  jpeg_progress_mgr progress;
  std::jmp_buf on_error;
  const unsigned char* data;
  std::size_t size;
  long max_work_bytes;
  int max_scans;
  bool limit_hit, out_of_memory, damaged;
  std::uint32_t width, height;
  int channels;
  std::uint8_t* pixels;   // RGB, the result
  std::uint8_t* scratch;  // one row of up to four channels
  char message[JMSG_LENGTH_MAX];
};

JpegJob* job_of(j_common_ptr info) { return reinterpret_cast<JpegJob*>(info->err); }

[[noreturn]] void give_up(JpegJob* job, const char* message) {
  std::snprintf(job->message, sizeof job->message, "%s", message);
  std::longjmp(job->on_error, 1);
}

void on_error_exit(j_common_ptr info) {
  JpegJob* job = job_of(info);
  job->out_of_memory = job->errors.msg_code == JERR_NO_BACKING_STORE || job->errors.msg_code == JERR_OUT_OF_MEMORY;
  job->limit_hit = job->out_of_memory;
  (*job->errors.format_message)(info, job->message);
  std::longjmp(job->on_error, 1);
}

void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;
  JpegJob* job = job_of(info);
  if (job->errors.msg_code == JWRN_JPEG_EOF) give_up(job, "the file ends before the picture does");
  job->damaged = true;  // Pillow and browsers show what is there
}

void on_output(j_common_ptr) {}

void on_progress(j_common_ptr info) {
  JpegJob* job = job_of(info);
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= job->max_scans) return;
  job->limit_hit = true;
  std::snprintf(job->message, sizeof job->message, "more than %d scans, the limit for this size", job->max_scans);
  std::longjmp(job->on_error, 1);
}

void to_rgb(const JpegJob& job, int channels, std::uint8_t* rgb) {
  const std::uint8_t* from = job.scratch;
  if (channels == 1)
    for (std::uint32_t x = 0; x < job.width; ++x, rgb += 3) rgb[0] = rgb[1] = rgb[2] = from[x];
  else
    for (std::uint32_t x = 0; x < job.width; ++x, from += 4, rgb += 3)
      for (int c = 0; c < 3; ++c)  // inverted, as all CMYK JPEGs are taken to be (Adobe)
        rgb[c] = channel_of_cmyk(255u - from[c], 255u - from[3]);
}

void read_rows(j_decompress_ptr info, JpegJob* job) {
  jpeg_mem_src(info, job->data, static_cast<unsigned long>(job->size));
  jpeg_read_header(info, TRUE);
  if (info->image_width != job->width || info->image_height != job->height || info->num_components != job->channels)
    give_up(job, "two headers disagree");
  info->out_color_space = info->num_components == 1 ? JCS_GRAYSCALE : info->num_components == 4 ? JCS_CMYK : JCS_RGB;
  jpeg_start_decompress(info);
  const std::size_t row_bytes = std::size_t{job->width} * 3;
  while (info->output_scanline < info->output_height) {
    std::uint8_t* rgb = job->pixels + info->output_scanline * row_bytes;
    JSAMPROW row = info->num_components == 3 ? rgb : job->scratch;
    if (jpeg_read_scanlines(info, &row, 1) != 1) give_up(job, "the file ends before the picture does");
    if (info->num_components != 3) to_rgb(*job, info->num_components, rgb);
  }
  jpeg_finish_decompress(info);
}

bool run(JpegJob* job) noexcept {
  jpeg_decompress_struct info;
  std::memset(&info, 0, sizeof info);
  info.err = jpeg_std_error(&job->errors);
  job->errors.error_exit = on_error_exit;
  job->errors.emit_message = on_message;
  job->errors.output_message = on_output;
  job->progress.progress_monitor = on_progress;
  if (setjmp(job->on_error) != 0) {
    jpeg_destroy_decompress(&info);
    return false;
  }
  jpeg_create_decompress(&info);
  info.progress = &job->progress;
  info.mem->max_memory_to_use = job->max_work_bytes;
  read_rows(&info, job);
  jpeg_destroy_decompress(&info);
  return true;
}

}  // namespace

Result<Header> jpeg_header(std::span<const std::byte> bytes, std::string_view what, const DecodeOptions&) {
  const auto bad = [&](std::string_view reason) {
    return Error(ErrorCode::bad_file, fmt::format("{}: JPEG: {}", what, reason), std::string(what));
  };
  const auto byte = [&](std::size_t at) { return std::to_integer<int>(bytes[at]); };
  Header header;
  header.info.format = ImageFormat::jpeg;
  bool has_frame = false, has_exif = false;
  for (std::size_t at = 2;;) {
    while (at < bytes.size() && byte(at) != 0xFF) ++at;  // libjpeg skips what stands between segments, too
    while (at < bytes.size() && byte(at) == 0xFF) ++at;
    if (at >= bytes.size()) return bad("the file ends inside the header");
    const int marker = byte(at++);
    if (marker == marker_sos || marker == marker_eoi) break;
    if (marker <= 0x01 || (marker >= 0xD0 && marker <= 0xD8)) continue;  // these have no length
    if (bytes.size() - at < 2) return bad("the file ends inside the header");
    const std::size_t length = static_cast<std::size_t>(byte(at) << 8 | byte(at + 1));
    if (length < 2) return bad("a segment shorter than its own length field");
    if (length > bytes.size() - at) return bad("the file ends inside the header");
    const std::span<const std::byte> body = bytes.subspan(at + 2, length - 2);
    if (is_frame(marker) && !has_frame) {
      if (body.size() < 6) return bad("the frame header is too short");
      has_frame = true;
      const auto at_body = [&](std::size_t i) { return std::to_integer<int>(body[i]); };
      header.info.height = at_body(1) << 8 | at_body(2);
      header.info.width = at_body(3) << 8 | at_body(4);
      header.channels = at_body(5);
      // A Huffman-coded scan spends at least one bit on the DC of each 8x8 block. Arithmetic coding can spend less; 64
      // times less is more than pictures of any content need.
      const double pixels_per_byte = marker < 0xC9 ? 512 : 512 * 64;
      header.least_bytes =
          static_cast<double>(header.info.width) * static_cast<double>(header.info.height) / pixels_per_byte;
    } else if (marker == marker_app1 && !has_exif && body.size() > 6 && std::memcmp(body.data(), "Exif\0\0", 6) == 0) {
      has_exif = true;
      header.info.orientation = exif_orientation(body.subspan(6));
    }
    at += length;
  }
  if (!has_frame) return bad("no frame header before the pixels");
  if (header.channels != 1 && header.channels != 3 && header.channels != 4)
    return Error(ErrorCode::unsupported,
                 fmt::format("{}: JPEG: {} channels; 1, 3 or 4 can be read", what, header.channels), std::string(what));
  return header;
}

Result<Image> decode_jpeg(std::span<const std::byte> bytes, std::string_view what, const Header& header,
                          const DecodeOptions& options) {
  Image image(header.info.width, header.info.height);
  std::vector<std::uint8_t> scratch(header.channels == 3 ? 0 : static_cast<std::size_t>(image.width * header.channels));
  JpegJob job{};
  job.data = reinterpret_cast<const unsigned char*>(bytes.data());
  job.size = bytes.size();
  job.max_work_bytes =
      static_cast<long>(options.limits.max_memory_bytes - image.pixels.size());  // checked with the header
  job.max_scans = allowed_scans(image.width * image.height, options.limits);
  job.width = static_cast<std::uint32_t>(image.width);
  job.height = static_cast<std::uint32_t>(image.height);
  job.channels = header.channels;
  job.pixels = image.pixels.data();
  job.scratch = scratch.data();
  if (!run(&job))
    return Error(job.limit_hit ? ErrorCode::limit : ErrorCode::bad_file,
                 job.out_of_memory ? fmt::format("{}: decoding needs more than the limit of {} bytes", what,
                                                 options.limits.max_memory_bytes)
                                   : fmt::format("{}: JPEG: {}", what, job.message),
                 std::string(what));
  if (job.damaged) log::warn("{}: JPEG: damaged data, some pixels may be wrong", what);
  return image;
}

}  // namespace tap::codec
