#include "text/normalize.h"

#include <algorithm>
#include <array>

#include <utf8proc.h>

#include "text/tokenizer_unicode.h"

namespace tap {

namespace {

using Kind = NormalizeStep::Kind;

// Collects the output of one step together with the trust of what it was made from.
class Output {
 public:
  explicit Output(const TracedText& in) : in_(in), uniform_(in.runs.size() <= 1) {
    text_.reserve(in.text.size() + in.text.size() / 8 + 16);
  }

  // Input bytes [begin, end) unchanged.
  void keep(std::size_t begin, std::size_t end) {
    if (uniform_) {
      text_.append(in_.text, begin, end - begin);
      return;
    }
    while (begin < end) {
      const TrustRun& run = run_at(begin);
      const std::size_t stop = std::min(end, run.end);
      put(std::string_view(in_.text).substr(begin, stop - begin), run.trusted);
      begin = stop;
    }
  }
  // `content` in place of input bytes [begin, end): trusted when all of them are. An insertion is the file's own text.
  void replace(std::size_t begin, std::size_t end, std::string_view content) {
    if (uniform_) {
      text_.append(content);
      return;
    }
    bool trusted = true;
    for (std::size_t at = begin; at < end && trusted; at = run_at(at).end) trusted = run_at(at).trusted;
    put(content, trusted);
  }
  void finish(TracedText& out) {
    if (uniform_) runs_.assign(in_.runs.empty() ? 0 : 1, {text_.size(), !in_.runs.empty() && in_.runs[0].trusted});
    out = {std::move(text_), std::move(runs_)};
  }

 private:
  const TrustRun& run_at(std::size_t at) {
    if (at < last_at_) run_ = 0;
    last_at_ = at;
    while (in_.runs[run_].end <= at) ++run_;
    return in_.runs[run_];
  }
  void put(std::string_view content, bool trusted) {
    if (content.empty()) return;
    text_.append(content);
    if (!runs_.empty() && runs_.back().trusted == trusted) runs_.back().end = text_.size();
    else runs_.push_back({text_.size(), trusted});
  }
  const TracedText& in_;
  bool uniform_;
  std::string text_;
  std::vector<TrustRun> runs_;
  std::size_t run_ = 0, last_at_ = 0;
};

// utf8proc's own decomposition sorts marks by exchanging neighbours (quadratic for 100 000 marks in a row); here each
// run of marks is sorted at once.
void normal_form(Kind kind, std::string_view segment, std::vector<utf8proc_int32_t>& codes, std::string& out) {
  const bool compatible = kind == Kind::nfkc || kind == Kind::nfkd;
  const bool compose = kind == Kind::nfc || kind == Kind::nfkc;
  const auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | (compatible ? UTF8PROC_COMPAT : 0) | UTF8PROC_DECOMPOSE);
  codes.clear();
  for (std::size_t at = 0; at < segment.size();) {
    const auto [code, length] = uni::decode(segment, at);
    std::array<utf8proc_int32_t, 32> parts{};  // the longest decomposition has 18 codes
    int boundary = 0;
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code), parts.data(),
                                               static_cast<utf8proc_ssize_t>(parts.size()), options, &boundary);
    if (count < 0 || count > static_cast<utf8proc_ssize_t>(parts.size()))
      codes.push_back(static_cast<utf8proc_int32_t>(code));
    else codes.insert(codes.end(), parts.begin(), parts.begin() + count);
    at += length;
  }
  const auto combining = [](utf8proc_int32_t code) {
    return code < 0x300 ? 0 : utf8proc_get_property(code)->combining_class;
  };
  for (auto first = codes.begin(); first != codes.end();) {
    if (combining(*first) == 0) {
      ++first;
      continue;
    }
    const auto last = std::find_if(first, codes.end(), [&](utf8proc_int32_t code) { return combining(code) == 0; });
    std::stable_sort(first, last, [&](utf8proc_int32_t a, utf8proc_int32_t b) { return combining(a) < combining(b); });
    first = last;
  }
  auto count = static_cast<utf8proc_ssize_t>(codes.size());
  if (compose)
    count = utf8proc_normalize_utf32(codes.data(), count, static_cast<utf8proc_option_t>(options | UTF8PROC_COMPOSE));
  for (utf8proc_ssize_t i = 0; i < count; ++i)
    uni::append(out, static_cast<char32_t>(codes[static_cast<std::size_t>(i)]));
}

bool is_ascii(char c) { return static_cast<unsigned char>(c) < 0x80; }

// Nothing composes or reorders across the start of an ASCII character, so runs of ASCII stay and the rest goes piece by
// piece.
void run_form(Kind kind, const std::string& text, Output& out) {
  std::vector<utf8proc_int32_t> codes;
  std::string made;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t ascii_end = at;
    while (ascii_end < text.size() && is_ascii(text[ascii_end])) ++ascii_end;
    if (ascii_end == text.size()) return out.keep(at, ascii_end);
    if (ascii_end > at) --ascii_end;  // the last one may take a mark
    out.keep(at, ascii_end);
    std::size_t end = ascii_end + 1;
    while (end < text.size() && !is_ascii(text[end])) ++end;
    made.clear();
    const std::string_view segment = std::string_view(text).substr(ascii_end, end - ascii_end);
    normal_form(kind, segment, codes, made);
    if (made == segment) out.keep(ascii_end, end);
    else out.replace(ascii_end, end, made);
    at = end;
  }
}

void run_lowercase(const std::string& text, Output& out) {
  std::string made;
  for (std::size_t at = 0; at < text.size();) {
    const auto [code, length] = uni::decode(text, at);
    const auto lower = static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code)));
    made.clear();
    if (code == 0x130) made = "i\xCC\x87";  // the one character whose lower case has two (SpecialCasing.txt)
    else uni::append(made, lower);
    if (lower == code && code != 0x130) out.keep(at, at + length);
    else out.replace(at, at + length, made);
    at += length;
  }
}

void run_strip(const NormalizeStep& step, const std::string& text, Output& out) {
  std::size_t begin = 0, end = text.size();
  const auto is_space = [&](std::size_t at) { return (uni::classes(uni::decode(text, at).code) & uni::space) != 0; };
  while (step.left && begin < end && is_space(begin)) begin += uni::decode(text, begin).length;
  while (step.right && end > begin) {
    const std::size_t last = uni::previous(text, end);
    if (!is_space(last)) break;
    end = last;
  }
  out.keep(begin, end);
}

void run_strip_accents(const std::string& text, Output& out) {
  for (std::size_t at = 0; at < text.size();) {
    const auto [code, length] = uni::decode(text, at);
    if (!(uni::classes(code) & uni::mark)) out.keep(at, at + length);
    at += length;
  }
}

void run_replace(const NormalizeStep& step, const std::string& text, Output& out) {
  std::vector<TextRange> matches;
  if (step.kind == Kind::replace_regex) {
    step.regex->find_all(text, matches);
  } else {
    for (std::size_t at = 0; !step.pattern.empty() && (at = text.find(step.pattern, at)) != std::string::npos;
         at += step.pattern.size())
      matches.push_back({at, at + step.pattern.size()});
  }
  std::size_t done = 0;
  for (const TextRange& match : matches) {
    out.keep(done, match.begin);
    out.replace(match.begin, match.end, step.content);
    done = match.end;
  }
  out.keep(done, text.size());
}

}  // namespace

void normalize(const std::vector<NormalizeStep>& steps, TracedText& traced) {
  for (const NormalizeStep& step : steps) {
    Output out(traced);
    const std::string& text = traced.text;
    switch (step.kind) {
      case Kind::nfc:
      case Kind::nfd:
      case Kind::nfkc:
      case Kind::nfkd: run_form(step.kind, text, out); break;
      case Kind::replace_text:
      case Kind::replace_regex: run_replace(step, text, out); break;
      case Kind::prepend:
        if (!text.empty()) out.replace(0, 0, step.content);
        out.keep(0, text.size());
        break;
      case Kind::lowercase: run_lowercase(text, out); break;
      case Kind::strip: run_strip(step, text, out); break;
      case Kind::strip_accents: run_strip_accents(text, out); break;
    }
    TracedText next;
    out.finish(next);
    traced = std::move(next);
  }
}

std::string normalize(const std::vector<NormalizeStep>& steps, std::string_view text) {
  TracedText traced{std::string(text), {{text.size(), false}}};
  normalize(steps, traced);
  return std::move(traced.text);
}

}  // namespace tap
