// Pictures as the command line names them: files, patterns, folders, URLs, stdin, the clipboard.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/guarding.h"
#include "cli/options.h"
#include "codec/image.h"

namespace tap::cli {

struct PictureSource {
  std::string name;  // a path, a URL, "-" for stdin, "clipboard"
  bool clipboard = false;
};

struct PictureList {
  std::vector<PictureSource> sources;
  bool many = false;  // more than one, or a folder or a pattern, which may hold any number
};

// Whether a word of the command line means pictures: "-", a URL, a file, a folder, a pattern that matches something or
// that can mean nothing else ("shots/*.png"; "Is it a cat?" is no pattern).
bool names_pictures(const std::string& word);

// The pictures of `words`, and before them the clipboard's when the options ask for it. A folder gives the files in it
// that have a picture's ending, a pattern what it matches; both in natural order (a2 before a10), hidden files left
// out, folders inside a folder too. A file whose name has pattern characters wins over the pattern. Throws
// Error(not_found) naming a folder without pictures or a pattern without match, Error(usage) for stdin named twice. A
// file that is not there is kept: loading it is the error.
PictureList list_pictures(const std::vector<std::string>& words, const Options& options);

// The bytes of its file, URL or stdin, within the limits of pictures.
std::string picture_bytes(const PictureSource& source, const Options& options);
std::string shown_name(const PictureSource& source);  // for messages: "stdin", a URL shortened, else the name

// Throws Error naming the source, and what the guards refuse: nothing is decoded for the model before they have judged
// the whole file. Their verdicts are added to `verdicts`.
std::shared_ptr<const Image> load_picture(const PictureSource& source, const Options& options, Guards& guards,
                                          std::vector<Safety>& verdicts);

// Whether `a` stands before `b` where numbers count as numbers.
bool natural_less(std::string_view a, std::string_view b);

}  // namespace tap::cli
