#include "cli/pictures.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>

#include <glob.h>

#include "base/file.h"
#include "base/log.h"
#include "cli/clipboard.h"
#include "codec/decode.h"
#include "io/url.h"
#include "media/helper_process.h"
#include "media/picture_bytes.h"

namespace tap::cli {

namespace {

namespace fs = std::filesystem;

DecodeOptions decode_options(const Options& options) {
  DecodeOptions decode;
  if (options.background == "none") decode.background.reset();
  decode.frame = options.frame;
  return decode;
}

std::string bytes_of_url(const std::string& url, std::size_t max_bytes, const Options& options) {
  FetchOptions fetching;
  fetching.max_bytes = max_bytes;
  fetching.allow_private = options.allow_private;
  return picture_url_bytes(url, fetching);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool has_picture_ending(std::string_view name) {
  constexpr std::array<std::string_view, 17> endings{".heic", ".heif", ".png",  ".jpg",  ".jpeg", ".jpe",
                                                     ".jfif", ".gif",  ".webp", ".avif", ".bmp",  ".ppm",
                                                     ".pgm",  ".pbm",  ".pnm",  ".tif",  ".tiff"};
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return false;
  std::string ending(name.substr(dot));
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::find(endings.begin(), endings.end(), ending) != endings.end();
}

std::vector<std::string> matches_of(const std::string& pattern) {
  glob_t found{};
  const int failed = ::glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found);
  std::vector<std::string> paths;
  if (failed == 0) paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  ::globfree(&found);
  std::sort(paths.begin(), paths.end(), natural_less);
  return paths;
}

// A word that can be nothing but a pattern for pictures, whether or not it matches any.
bool is_plain_pattern(std::string_view word) {
  if (word.find_first_of(" \t\n") != std::string_view::npos) return false;
  if (has_picture_ending(word)) return word.find_first_of("*?[") != std::string_view::npos;
  return word.find_first_of("*[") != std::string_view::npos && word.find('/') != std::string_view::npos;
}

void add_folder(const std::string& folder, PictureList& list) {
  std::vector<std::string> paths;
  std::error_code failed;
  for (fs::directory_iterator at(folder, failed), end; !failed && at != end; at.increment(failed)) {
    const std::string name = at->path().filename().string();
    std::error_code unreadable;
    if (!name.starts_with('.') && has_picture_ending(name) && !at->is_directory(unreadable))
      paths.push_back((fs::path(folder) / name).string());
  }
  if (failed) throw Error(ErrorCode::io, fmt::format("{}: cannot list it: {}", folder, failed.message()), folder);
  if (paths.empty())
    throw Error(ErrorCode::not_found,
                fmt::format("{}: the folder holds no pictures (looked for .png, .jpg, .webp, … in it, not in folders "
                            "inside it)",
                            folder),
                folder);
  std::sort(paths.begin(), paths.end(), natural_less);
  for (std::string& path : paths) list.sources.push_back({std::move(path), false});
  list.many = true;
}

}  // namespace

bool natural_less(std::string_view a, std::string_view b) {
  std::size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (!is_digit(a[i]) || !is_digit(b[j])) {
      if (a[i] != b[j]) return static_cast<unsigned char>(a[i]) < static_cast<unsigned char>(b[j]);
      ++i, ++j;
      continue;
    }
    const auto number = [](std::string_view text, std::size_t& at) {
      while (at < text.size() && text[at] == '0') ++at;
      const std::size_t begin = at;
      while (at < text.size() && is_digit(text[at])) ++at;
      return text.substr(begin, at - begin);
    };
    const std::string_view left = number(a, i), right = number(b, j);
    if (left.size() != right.size()) return left.size() < right.size();
    if (left != right) return left < right;
  }
  if (i < a.size() || j < b.size()) return j < b.size();
  return a < b;  // "01" and "1"
}

bool names_pictures(const std::string& word) {
  if (word == "-" || is_url(word) || file_exists(word) || is_plain_pattern(word)) return true;
  return word.find_first_of("*?[") != std::string::npos && !matches_of(word).empty();
}

PictureList list_pictures(const std::vector<std::string>& words, const Options& options) {
  PictureList list;
  if (options.clipboard) list.sources.push_back({"clipboard", true});
  bool from_stdin = false;
  const auto add = [&](const std::string& path) {
    if (is_directory(path)) return add_folder(path, list);
    list.sources.push_back({path, false});
  };
  for (const std::string& word : words) {
    if (word == "-" && std::exchange(from_stdin, true)) fail(ErrorCode::usage, "stdin (-) can be read only once");
    if (word == "-" || is_url(word) || file_exists(word) || word.find_first_of("*?[") == std::string::npos) {
      add(word);
      continue;
    }
    const std::vector<std::string> paths = matches_of(word);
    if (paths.empty()) throw Error(ErrorCode::not_found, fmt::format("{}: no file matches this pattern", word), word);
    for (const std::string& path : paths) add(path);
    list.many = true;
  }
  list.many = list.many || list.sources.size() > 1;
  return list;
}

std::string picture_bytes(const PictureSource& source, const Options& options) {
  const std::size_t limit = ImageLimits{}.max_file_bytes;
  if (source.clipboard) return clipboard_picture(limit).value();
  return is_url(source.name) ? bytes_of_url(source.name, limit, options) : read_file(source.name, limit).value();
}

std::string shown_name(const PictureSource& source) {
  if (source.clipboard) return source.name;
  return source.name == "-" ? "stdin" : is_url(source.name) ? shortened_url(source.name) : source.name;
}

std::shared_ptr<const Image> load_picture(const PictureSource& source, const Options& options, Guards& guards,
                                          std::vector<Safety>& verdicts) {
  const std::string bytes = picture_bytes(source, options);
  const auto file = std::as_bytes(std::span(bytes));
  if (is_heif(file)) {
    Dim count = 0;
    auto image = std::make_shared<const Image>(heif_image(file, shown_name(source), options.frame, &count));
    if (guards.judges_pictures()) {
      const auto frame = [&](Dim i) {
        return i == options.frame ? image : std::make_shared<const Image>(heif_image(file, shown_name(source), i));
      };
      const std::vector<Safety> judged = guards.judge_frames(count, frame, shown_name(source));
      verdicts.insert(verdicts.end(), judged.begin(), judged.end());
    }
    return image;
  }
  std::vector<Safety> judged = guards.judge_picture(file, shown_name(source));
  verdicts.insert(verdicts.end(), judged.begin(), judged.end());
  return std::make_shared<const Image>(decode_image(file, shown_name(source), decode_options(options)).value());
}

}  // namespace tap::cli
