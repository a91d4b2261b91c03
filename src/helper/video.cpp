#include "helper/video.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

#include <unistd.h>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libswscale/swscale.h>
}

#include "codec/exif.h"

namespace tap::helper {

namespace {

using media_protocol::Status;

constexpr int buffer_bytes = 1 << 16, most_streams = 64;
// Playlists and scripts (hls, concat, …) name other files: no demuxer that opens anything else.
constexpr const char* formats = "mov,matroska,webm,avi,ogg,mpegts,mpeg,flv";
// JPEG 2000 and the hundreds of decoders of dead formats are where the holes were.
constexpr std::array codecs{AV_CODEC_ID_H264,       AV_CODEC_ID_HEVC,      AV_CODEC_ID_VP8,   AV_CODEC_ID_VP9,
                            AV_CODEC_ID_AV1,        AV_CODEC_ID_MPEG4,     AV_CODEC_ID_MJPEG, AV_CODEC_ID_MPEG1VIDEO,
                            AV_CODEC_ID_MPEG2VIDEO, AV_CODEC_ID_MSMPEG4V3, AV_CODEC_ID_H263,  AV_CODEC_ID_THEORA,
                            AV_CODEC_ID_RAWVIDEO,   AV_CODEC_ID_FFV1,      AV_CODEC_ID_PNG,   AV_CODEC_ID_FLV1,
                            AV_CODEC_ID_PRORES,     AV_CODEC_ID_DNXHD};

[[noreturn]] void refuse(Status status, std::string why) { throw Refusal{status, std::move(why)}; }

std::string reason(int code) {
  std::array<char, AV_ERROR_MAX_STRING_SIZE> text{};
  av_strerror(code, text.data(), text.size());
  return text.data();
}

struct Source {
  int fd;
  std::int64_t at = 0, size = 0;
};

int read_some(void* opaque, std::uint8_t* to, int bytes) {
  Source& source = *static_cast<Source*>(opaque);
  const ssize_t got = ::pread(source.fd, to, static_cast<std::size_t>(bytes), source.at);
  if (got <= 0) return AVERROR_EOF;
  source.at += got;
  return static_cast<int>(got);
}

std::int64_t seek_to(void* opaque, std::int64_t offset, int whence) {
  Source& source = *static_cast<Source*>(opaque);
  if (whence == AVSEEK_SIZE) return source.size;
  const std::int64_t base = whence == SEEK_CUR ? source.at : whence == SEEK_END ? source.size : 0;
  if (base + offset < 0) return AVERROR(EINVAL);
  return source.at = base + offset;
}

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* value) const {
    Free(&value);
  }
};

// Degrees clockwise that the file wants a picture turned by, as EXIF orientation.
int orientation_of(const AVStream& stream) {
  std::size_t size = 0;
  const std::uint8_t* matrix = av_stream_get_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, &size);
  if (!matrix || size < 9 * sizeof(std::int32_t)) return 1;
  const double turned = av_display_rotation_get(reinterpret_cast<const std::int32_t*>(matrix));
  if (!std::isfinite(turned)) return 1;
  switch (((static_cast<int>(std::lround(-turned / 90)) % 4) + 4) % 4) {
    case 1: return 6;
    case 2: return 3;
    case 3: return 8;
    default: return 1;
  }
}

}  // namespace

struct Video::Parts {
  Source source{};
  std::unique_ptr<AVIOContext, Freed<avio_context_free>> io;
  std::unique_ptr<AVFormatContext, Freed<avformat_close_input>> format;
  std::unique_ptr<AVCodecContext, Freed<avcodec_free_context>> decoder;
  std::unique_ptr<AVPacket, Freed<av_packet_free>> packet{av_packet_alloc()};
  std::unique_ptr<AVFrame, Freed<av_frame_free>> frame{av_frame_alloc()};
  std::unique_ptr<SwsContext, decltype(&sws_freeContext)> scaler{nullptr, sws_freeContext};
  AVStream* stream = nullptr;
  int orientation = 1, width = 0, height = 0;  // as coded
  bool draining = false;
  ~Parts() {
    format.reset();
    if (io) av_freep(&io->buffer);
  }
};

Video::Video(int fd) : parts_(std::make_unique<Parts>()) {
  Parts& p = *parts_;
  p.source = {fd, 0, ::lseek(fd, 0, SEEK_END)};
  if (p.source.size <= 0) refuse(Status::bad_file, "is empty, or cannot be read from anywhere");
  auto* buffer = static_cast<unsigned char*>(av_malloc(buffer_bytes));
  p.io.reset(avio_alloc_context(buffer, buffer_bytes, 0, &p.source, read_some, nullptr, seek_to));
  AVFormatContext* format = avformat_alloc_context();
  if (!p.io || !format || !p.packet || !p.frame) throw std::bad_alloc();
  format->pb = p.io.get();
  format->flags |= AVFMT_FLAG_CUSTOM_IO;
  format->max_streams = most_streams;
  format->format_whitelist = av_strdup(formats);
  format->protocol_whitelist = av_strdup("");
  if (const int code = avformat_open_input(&format, "", nullptr, nullptr); code < 0)  // frees it on failure
    refuse(Status::bad_file, code == AVERROR_INVALIDDATA || code == AVERROR_STREAM_NOT_FOUND || code == AVERROR(EINVAL)
                                 ? "is no video of a known container (MP4, MOV, MKV, WebM, AVI, Ogg, MPEG)"
                                 : reason(code));
  p.format.reset(format);
  if (const int code = avformat_find_stream_info(format, nullptr); code < 0)
    refuse(Status::bad_file, "has no streams that can be read: " + reason(code));
  for (unsigned i = 0; i < format->nb_streams; ++i) {
    AVStream* stream = format->streams[i];
    const bool shows = stream->codecpar->codec_type == AVMEDIA_TYPE_VIDEO &&
                       !(stream->disposition & (AV_DISPOSITION_ATTACHED_PIC | AV_DISPOSITION_TIMED_THUMBNAILS));
    if (shows && !p.stream)
      p.stream = stream;
    else
      stream->discard = AVDISCARD_ALL;
  }
  if (!p.stream) refuse(Status::bad_file, "has no video stream");
  const AVCodecParameters& coded = *p.stream->codecpar;
  if (std::ranges::find(codecs, coded.codec_id) == codecs.end())
    refuse(Status::unsupported, std::string("is coded as ") + avcodec_get_name(coded.codec_id) +
                                    ", which is not decoded here (H.264, HEVC, VP8, VP9, AV1, MPEG and others are)");
  if (coded.width < 1 || coded.height < 1 || coded.width > media_protocol::most_edge ||
      coded.height > media_protocol::most_edge ||
      std::int64_t{coded.width} * coded.height > media_protocol::most_pixels)
    refuse(Status::limit, "frames of " + std::to_string(coded.width) + "x" + std::to_string(coded.height) +
                              " pixels; the limit is " + std::to_string(media_protocol::most_pixels));
  const AVCodec* codec = avcodec_find_decoder(coded.codec_id);
  if (!codec) refuse(Status::unsupported, std::string("has no decoder for ") + avcodec_get_name(coded.codec_id));
  p.decoder.reset(avcodec_alloc_context3(codec));
  if (!p.decoder) throw std::bad_alloc();
  if (avcodec_parameters_to_context(p.decoder.get(), &coded) < 0)
    refuse(Status::bad_file, "has a damaged video stream");
  p.decoder->thread_count = 1;
  p.decoder->max_pixels = media_protocol::most_pixels;
  p.decoder->pkt_timebase = p.stream->time_base;
  if (const int code = avcodec_open2(p.decoder.get(), codec, nullptr); code < 0)
    refuse(Status::bad_file, "its video stream cannot be decoded: " + reason(code));
  p.width = coded.width;
  p.height = coded.height;
  p.orientation = orientation_of(*p.stream);
  scan();
}

Video::~Video() = default;

std::int64_t Video::width() const { return parts_->orientation >= 5 ? parts_->height : parts_->width; }
std::int64_t Video::height() const { return parts_->orientation >= 5 ? parts_->width : parts_->height; }
std::string Video::codec() const { return avcodec_get_name(parts_->decoder->codec_id); }

// Reads all packets once, without decoding: the times that the file itself gives, whatever its header says of a rate.
void Video::scan() {
  Parts& p = *parts_;
  while (av_read_frame(p.format.get(), p.packet.get()) >= 0) {
    const AVPacket& packet = *p.packet;
    if (packet.stream_index == p.stream->index && !(packet.flags & AV_PKT_FLAG_DISCARD)) {
      std::int64_t pts = packet.pts != AV_NOPTS_VALUE ? packet.pts : packet.dts;
      if (pts == AV_NOPTS_VALUE) pts = pts_.empty() ? 0 : pts_.back() + 1;
      if (static_cast<std::int64_t>(pts_.size()) == media_protocol::most_frames)
        refuse(Status::limit, "more than " + std::to_string(media_protocol::most_frames) + " frames");
      pts_.push_back(pts);
      if (packet.flags & AV_PKT_FLAG_KEY) keys_.push_back(pts);
    }
    av_packet_unref(p.packet.get());
  }
  if (pts_.empty()) refuse(Status::bad_file, "has no frames");
  std::ranges::sort(pts_);
  std::ranges::sort(keys_);
  const double unit = av_q2d(p.stream->time_base);
  for (const std::int64_t pts : pts_) seconds_.push_back(static_cast<double>(pts - pts_.front()) * unit);
  seek(pts_.front());
}

void Video::seek(std::int64_t pts) {
  Parts& p = *parts_;
  if (av_seek_frame(p.format.get(), p.stream->index, pts, AVSEEK_FLAG_BACKWARD) < 0 &&
      av_seek_frame(p.format.get(), p.stream->index, pts_.front(), AVSEEK_FLAG_BACKWARD) < 0)
    av_seek_frame(p.format.get(), -1, 0, AVSEEK_FLAG_BYTE);
  avcodec_flush_buffers(p.decoder.get());
  p.draining = false;
  at_ = INT64_MIN;
}

void Video::rewind() {
  Parts& p = *parts_;
  if (p.format->iformat->flags & AVFMT_NO_BYTE_SEEK || av_seek_frame(p.format.get(), -1, 0, AVSEEK_FLAG_BYTE) < 0)
    av_seek_frame(p.format.get(), p.stream->index, pts_.front(), AVSEEK_FLAG_BACKWARD);
  avcodec_flush_buffers(p.decoder.get());
  p.draining = false;
  at_ = INT64_MIN;
}

bool Video::next() {
  Parts& p = *parts_;
  for (;;) {
    const int got = avcodec_receive_frame(p.decoder.get(), p.frame.get());
    if (got == 0) {
      if (p.frame->width < 1 || p.frame->height < 1) continue;
      const std::int64_t pts = p.frame->best_effort_timestamp;
      at_ = pts != AV_NOPTS_VALUE ? pts : at_ == INT64_MIN ? pts_.front() : at_ + 1;
      return true;
    }
    if (got == AVERROR_EOF) return false;
    if (got != AVERROR(EAGAIN)) ++broken_;
    if (p.draining) {
      if (got != AVERROR(EAGAIN)) continue;
      return false;
    }
    const int read = av_read_frame(p.format.get(), p.packet.get());
    if (read < 0) {
      p.draining = true;
      avcodec_send_packet(p.decoder.get(), nullptr);
      continue;
    }
    if (p.packet->stream_index == p.stream->index && avcodec_send_packet(p.decoder.get(), p.packet.get()) < 0)
      ++broken_;
    av_packet_unref(p.packet.get());
  }
}

Image Video::picture() const {
  const Parts& p = *parts_;
  const AVFrame& frame = *p.frame;
  // Kept from frame to frame: it is made anew where the frames' size or format changes.
  parts_->scaler.reset(sws_getCachedContext(
      parts_->scaler.release(), frame.width, frame.height, static_cast<AVPixelFormat>(frame.format), p.width, p.height,
      AV_PIX_FMT_RGB24, SWS_BICUBIC | SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND, nullptr, nullptr, nullptr));
  SwsContext* scaler = p.scaler.get();
  if (!scaler) refuse(Status::unsupported, "has frames of a pixel format that is not converted here");
  // What is not said is BT.601 for small pictures and BT.709 for large ones, as players take it.
  const int space = frame.colorspace == AVCOL_SPC_UNSPECIFIED  ? (p.height >= 720 ? SWS_CS_ITU709 : SWS_CS_ITU601)
                    : frame.colorspace == AVCOL_SPC_BT709      ? SWS_CS_ITU709
                    : frame.colorspace == AVCOL_SPC_BT2020_NCL ? SWS_CS_BT2020
                                                               : SWS_CS_ITU601;
  sws_setColorspaceDetails(scaler, sws_getCoefficients(space), frame.color_range == AVCOL_RANGE_JPEG,
                           sws_getCoefficients(SWS_CS_DEFAULT), 1, 0, 1 << 16, 1 << 16);
  Image image(p.width, p.height);
  // The scaler writes whole vectors: rows of their own, wide enough.
  const int stride = (p.width * 3 + 63) / 64 * 64 + 64;
  std::vector<std::uint8_t> rows(static_cast<std::size_t>(stride) * static_cast<std::size_t>(p.height) + 64);
  std::uint8_t* planes[4] = {rows.data(), nullptr, nullptr, nullptr};
  const int strides[4] = {stride, 0, 0, 0};
  if (sws_scale(scaler, frame.data, frame.linesize, 0, frame.height, planes, strides) < 1)
    refuse(Status::bad_file, "has a frame that cannot be converted");
  for (int y = 0; y < p.height; ++y)
    std::copy_n(rows.data() + static_cast<std::size_t>(stride) * static_cast<std::size_t>(y),
                static_cast<std::size_t>(p.width) * 3, image.row(y));
  return p.orientation == 1 ? std::move(image) : apply_orientation(std::move(image), p.orientation);
}

Image Video::frame(std::int64_t& index) {
  const std::int64_t wanted = pts_[static_cast<std::size_t>(index)];
  // On from here, unless it lies behind, or a key frame stands between here and there.
  const auto key = std::ranges::upper_bound(keys_, wanted);
  const bool nearer = key != keys_.begin() && *(key - 1) > at_ && at_ != INT64_MIN;
  if (at_ != INT64_MIN && (wanted <= at_ || nearer)) seek(wanted);
  bool from_start = false;
  while (!(at_ != INT64_MIN && at_ >= wanted)) {
    const bool fresh = at_ == INT64_MIN;
    const bool got = next();
    if (got && !(fresh && at_ > wanted && !from_start)) continue;
    if (!got && at_ != INT64_MIN) refuse(Status::bad_file, "ends before that frame");
    if (std::exchange(from_start, true)) {
      if (got) continue;
      refuse(Status::bad_file, "has no frame that can be decoded from there on");
    }
    rewind();  // the seek led past it, or nowhere
  }
  index = std::ranges::lower_bound(pts_, at_) - pts_.begin();
  index = std::min<std::int64_t>(index, static_cast<std::int64_t>(pts_.size()) - 1);
  return picture();
}

}  // namespace tap::helper
