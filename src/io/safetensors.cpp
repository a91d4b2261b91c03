#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

#include <fmt/format.h>
#include <simdjson.h>

namespace tap {

namespace {

struct DtypeRow {
  std::string_view name;
  unsigned bits;
  std::optional<DType> tensor;
};

constexpr std::array<DtypeRow, 20> dtypes{
    {{"F32", 32, DType::f32}, {"BF16", 16, DType::bf16}, {"F16", 16, DType::f16}, {"I32", 32, DType::i32},
     {"I64", 64, DType::i64}, {"U8", 8, DType::u8},      {"BOOL", 8, DType::u8},  {"I8", 8, {}},
     {"I16", 16, {}},         {"U16", 16, {}},           {"U32", 32, {}},         {"U64", 64, {}},
     {"F64", 64, {}},         {"C64", 64, {}},           {"F8_E4M3", 8, {}},      {"F8_E5M2", 8, {}},
     {"F8_E8M0", 8, {}},      {"F6_E2M3", 6, {}},        {"F6_E3M2", 6, {}},      {"F4", 4, {}}}};

const DtypeRow* find_dtype(std::string_view name) {
  const auto row = std::find_if(dtypes.begin(), dtypes.end(), [&](const DtypeRow& r) { return r.name == name; });
  return row == dtypes.end() ? nullptr : &*row;
}

std::string_view last_part(std::string_view path) {
  const auto slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

// Names come from the file: cut, and anything but plain ASCII replaced, so that a message stays one short line.
std::string shown(std::string_view name) {
  std::string text;
  for (const char c : name.substr(0, 120)) text += c >= ' ' && c <= '~' ? c : '?';
  return name.size() > 120 ? text + "…" : text;
}

// Reads the header in one pass. A generic JSON tree of 64 MiB would cost ten times that; here a tensor costs one entry.
class HeaderReader {
 public:
  HeaderReader(std::string_view text, std::string_view what) : text_(text), what_(what) {}

  std::vector<SafetensorEntry> read() {
    std::vector<SafetensorEntry> entries;
    bool metadata = false;
    expect('{', "an object");
    if (!closes('}')) {
      do {
        std::string name = string();
        expect(':', "\":\"");
        if (name == "__metadata__") {
          if (std::exchange(metadata, true)) refuse(ErrorCode::bad_file, "__metadata__ stands twice");
          read_metadata();
          continue;
        }
        if (entries.size() == max_safetensors_tensors)
          refuse(ErrorCode::limit, fmt::format("more than {} tensors, the limit", max_safetensors_tensors));
        entries.push_back(entry(std::move(name)));
      } while (another('}'));
    }
    skip_space();
    if (at_ != text_.size()) unexpected("the end of the header");
    return entries;
  }

  const SafetensorNotes& notes() const { return notes_; }

 private:
  [[noreturn]] void refuse(ErrorCode code, std::string_view problem) const {
    throw Error(code, fmt::format("{}: {}", what_, problem), std::string(what_));
  }
  [[noreturn]] void unexpected(std::string_view wanted) const {
    refuse(ErrorCode::bad_file, at_ >= text_.size() ? fmt::format("the header ends where {} should stand", wanted)
                                                    : fmt::format("header byte {}: want {}", at_, wanted));
  }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
      ++at_;
  }
  void expect(char c, std::string_view wanted) {
    if (!closes(c)) unexpected(wanted);
  }
  bool closes(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool another(char close) {  // after an item: a comma, or the end of the list
    if (closes(',')) return true;
    if (!closes(close)) unexpected(close == '}' ? "\",\" or \"}\"" : "\",\" or \"]\"");
    return false;
  }

  unsigned hex4() {
    unsigned value = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = at_ < text_.size() ? text_[at_] : ' ';
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) unexpected("four hexadecimal digits");
      value = value * 16 + static_cast<unsigned>(digit);
    }
    return value;
  }

  void escape(std::string& out) {  // at_ stands behind the backslash
    static constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    if (at_ >= text_.size()) unexpected("an escape");
    const char c = text_[at_++];
    if (const auto i = letters.find(c); i != std::string_view::npos) {
      out += meanings[i];
      return;
    }
    if (c != 'u') unexpected("a JSON escape");
    unsigned code = hex4();
    if (code >= 0xD800 && code < 0xE000) {
      if (code >= 0xDC00 || !text_.substr(at_).starts_with("\\u")) unexpected("the second half of a surrogate pair");
      at_ += 2;
      const unsigned low = hex4();
      if (low < 0xDC00 || low > 0xDFFF) unexpected("the second half of a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    const auto put = [&](unsigned byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
    if (code < 0x80) {
      put(code);
    } else if (code < 0x800) {
      put(0xC0 | (code >> 6)), put(0x80 | (code & 63));
    } else if (code < 0x10000) {
      put(0xE0 | (code >> 12)), put(0x80 | ((code >> 6) & 63)), put(0x80 | (code & 63));
    } else {
      put(0xF0 | (code >> 18)), put(0x80 | ((code >> 12) & 63)), put(0x80 | ((code >> 6) & 63)),
          put(0x80 | (code & 63));
    }
  }

  std::string string() {
    expect('"', "a string");
    std::string value;
    for (;;) {
      std::size_t end = at_;
      while (end < text_.size() && text_[end] != '"' && text_[end] != '\\' &&
             static_cast<unsigned char>(text_[end]) >= 0x20)
        ++end;
      value.append(text_, at_, end - at_);
      at_ = end;
      if (at_ >= text_.size() || (text_[at_] != '"' && text_[at_] != '\\')) unexpected("the end of a string");
      if (text_[at_++] == '"') return value;
      escape(value);
    }
  }

  std::uint64_t integer(std::string_view tensor, std::string_view key) {
    skip_space();
    const std::size_t start = at_;
    std::uint64_t value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      if (__builtin_mul_overflow(value, std::uint64_t{10}, &value) ||
          __builtin_add_overflow(value, static_cast<std::uint64_t>(text_[at_] - '0'), &value) ||
          value > static_cast<std::uint64_t>(std::numeric_limits<Dim>::max()))
        refuse(ErrorCode::limit, fmt::format("{}: {} holds a number over 2^63-1", shown(tensor), key));
    }
    const bool more = at_ < text_.size() && (text_[at_] == '.' || text_[at_] == 'e' || text_[at_] == 'E');
    if (at_ == start || more || (text_[start] == '0' && at_ - start > 1))
      refuse(ErrorCode::bad_file,
             fmt::format("{}: {} wants non-negative integers (header byte {})", shown(tensor), key, at_));
    return value;
  }

  SafetensorEntry entry(std::string name) {
    SafetensorEntry e;
    e.name = std::move(name);
    bool dtype = false, shape = false, offsets = false;
    expect('{', "the description of a tensor");
    do {
      const std::string key = string();
      bool* const seen = key == "dtype" ? &dtype : key == "shape" ? &shape : key == "data_offsets" ? &offsets : nullptr;
      if (!seen) refuse(ErrorCode::bad_file, fmt::format("{}: unknown key \"{}\"", shown(e.name), shown(key)));
      if (std::exchange(*seen, true))
        refuse(ErrorCode::bad_file, fmt::format("{}: {} stands twice", shown(e.name), key));
      expect(':', "\":\"");
      if (seen == &dtype) {
        e.dtype = string();
      } else if (seen == &shape) {
        expect('[', "an array");
        if (closes(']')) continue;
        do {
          if (e.shape.size() == max_safetensors_rank)
            refuse(ErrorCode::limit,
                   fmt::format("{}: more than {} axes, the limit", shown(e.name), max_safetensors_rank));
          e.shape.push_back(static_cast<Dim>(integer(e.name, key)));
        } while (another(']'));
      } else {
        expect('[', "an array");
        e.begin = integer(e.name, key);
        expect(',', "two offsets");
        e.end = integer(e.name, key);
        expect(']', "two offsets");
      }
    } while (another('}'));
    if (!dtype || !shape || !offsets)
      refuse(ErrorCode::bad_file, fmt::format("{}: {} is missing", shown(e.name),
                                              !dtype   ? "dtype"
                                              : !shape ? "shape"
                                                       : "data_offsets"));
    check_size(e);
    return e;
  }

  // dtype x shape = bytes.
  void check_size(const SafetensorEntry& e) const {
    const DtypeRow* const dtype = find_dtype(e.dtype);
    if (!dtype)
      refuse(ErrorCode::unsupported, fmt::format("{}: dtype \"{}\" is not known", shown(e.name), shown(e.dtype)));
    std::optional<Dim> bits = dtype->bits;
    bool empty = false;
    for (const Dim d : e.shape) {
      empty = empty || d == 0;
      if (bits && d != 0) bits = checked_mul(*bits, d);
    }
    if (!bits)
      refuse(ErrorCode::bad_file, fmt::format("{}: shape [{}] overflows", shown(e.name), fmt::join(e.shape, ", ")));
    const std::uint64_t wanted = empty ? 0 : (static_cast<std::uint64_t>(*bits) + 7) / 8;
    if (e.end < e.begin || e.end - e.begin != wanted)
      refuse(ErrorCode::bad_file,
             fmt::format("{}: {} of shape [{}] takes {} bytes, data_offsets [{}, {}] say otherwise", shown(e.name),
                         e.dtype, fmt::join(e.shape, ", "), wanted, e.begin, e.end));
  }

  void read_metadata() {
    expect('{', "an object of strings");
    if (closes('}')) return;
    do {
      std::string key = string();
      expect(':', "\":\"");
      std::string value = string();
      if (!key.starts_with("tapetum.")) continue;
      if (notes_.size() == max_safetensors_notes)
        refuse(ErrorCode::limit, fmt::format("more than {} notes of tapetum, the limit", max_safetensors_notes));
      notes_.emplace_back(std::move(key), std::move(value));
    } while (another('}'));
  }

  std::string_view text_, what_;
  std::size_t at_ = 0;
  SafetensorNotes notes_;
};

std::vector<std::uint32_t> order_by_name(const std::vector<SafetensorEntry>& entries) {
  std::vector<std::uint32_t> order(entries.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](std::uint32_t a, std::uint32_t b) { return entries[a].name < entries[b].name; });
  return order;
}

// Offsets must cover the data exactly: no overlap, no hole, nothing left.
void check_layout(const std::vector<SafetensorEntry>& entries, std::uint64_t data_bytes, std::string_view what) {
  const auto refuse = [&](const std::string& problem) {
    throw Error(ErrorCode::bad_file, fmt::format("{}: {}", what, problem), std::string(what));
  };
  std::uint64_t end = 0;
  for (const SafetensorEntry& e : entries) {
    if (e.begin < end)
      refuse(fmt::format("{}: its bytes from {} overlap the tensor before it, which ends at {}", shown(e.name), e.begin,
                         end));
    if (e.begin > end) refuse(fmt::format("{}: a hole of {} bytes before it", shown(e.name), e.begin - end));
    end = e.end;
  }
  if (end > data_bytes)
    refuse(
        fmt::format("{} bytes are missing: the header describes {} bytes of tensors, {} are there; get the file again",
                    end - data_bytes, end, data_bytes));
  if (end < data_bytes) refuse(fmt::format("{} bytes after the last tensor belong to none", data_bytes - end));
}

// Why a file that is no safetensors file might carry the name; empty when it does not look familiar.
std::string_view foreign_format(std::string_view start) {
  if (start.starts_with("PK\x03\x04"))
    return "is a ZIP archive (a PyTorch pickle?), not safetensors; pickles are never read: convert it with "
           "safetensors' save_file, or get the "
           "safetensors revision of the model";
  if (start.size() >= 2 && start[0] == '\x80' && start[1] >= 2 && start[1] <= 5)
    return "is a Python pickle, not safetensors; pickles are never read: convert it with safetensors' save_file, or "
           "get the safetensors "
           "revision of the model";
  if (start.starts_with("GGUF")) return "is a GGUF file, not safetensors";
  if (start.starts_with("version https://git-lfs"))
    return "is a Git LFS pointer, not the file itself: run `git lfs pull`, or download the model again";
  if (start.starts_with("<") || start.starts_with("{\"error"))
    return "is a web page or an error message, not safetensors; get the file again";
  return {};
}

}  // namespace

std::optional<DType> tensor_dtype(std::string_view dtype) {
  const DtypeRow* const row = find_dtype(dtype);
  return row ? row->tensor : std::nullopt;
}

Result<std::vector<SafetensorEntry>> parse_safetensors_header(std::string_view header, std::uint64_t data_bytes,
                                                              std::string_view what, SafetensorNotes* notes) {
  if (header.size() > max_safetensors_header_bytes)
    return Error(
        ErrorCode::limit,
        fmt::format("{}: a header of {} bytes, the limit is {}", what, header.size(), max_safetensors_header_bytes),
        std::string(what));
  try {
    HeaderReader reader(header, what);
    auto entries = reader.read();
    if (notes) *notes = reader.notes();
    if (!simdjson::validate_utf8(header.data(), header.size()))
      return Error(ErrorCode::bad_file, fmt::format("{}: the header is not valid UTF-8", what), std::string(what));
    std::sort(entries.begin(), entries.end(), [](const SafetensorEntry& a, const SafetensorEntry& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end != b.end ? a.end < b.end : a.name < b.name;
    });
    const auto order = order_by_name(entries);
    for (std::size_t i = 1; i < order.size(); ++i)
      if (entries[order[i]].name == entries[order[i - 1]].name)
        return Error(ErrorCode::bad_file, fmt::format("{}: {} stands twice", what, shown(entries[order[i]].name)),
                     std::string(what));
    check_layout(entries, data_bytes, what);
    return entries;
  } catch (const Error& error) {
    return error;
  }
}

Safetensors::Safetensors(File file, std::vector<SafetensorEntry> entries, SafetensorNotes notes)
    : file_(std::move(file)),
      entries_(std::move(entries)),
      notes_(std::move(notes)),
      by_name_(order_by_name(entries_)) {}

Result<Safetensors> Safetensors::open(const std::string& path) {
  auto file = File::open(path);
  if (!file.ok()) return file.error();
  const std::string what(last_part(path));
  const auto refuse = [&](const std::string& problem) {
    return Error(ErrorCode::bad_file, fmt::format("{}: {}", what, problem), what);
  };
  try {
    std::array<std::byte, 32> start{};
    const std::size_t known = static_cast<std::size_t>(std::min<std::uint64_t>(start.size(), file->size()));
    file->read_at(0, std::span(start).first(known));
    const std::string_view sniffed(reinterpret_cast<const char*>(start.data()), known);
    std::uint64_t header_bytes = 0;
    for (std::size_t i = std::min<std::size_t>(known, 8); i-- > 0;)
      header_bytes = (header_bytes << 8) | std::to_integer<std::uint64_t>(start[i]);
    const bool plausible = known > 8 && header_bytes <= max_safetensors_header_bytes &&
                           header_bytes <= file->size() - 8 && sniffed[8] == '{';
    if (!plausible) {
      if (const auto other = foreign_format(sniffed); !other.empty()) return refuse(std::string(other));
      if (known < 8)
        return refuse(fmt::format("{} bytes, too short for a safetensors file; get the file again", known));
      if (header_bytes > max_safetensors_header_bytes)
        return Error(
            ErrorCode::limit,
            fmt::format("{}: a header of {} bytes, the limit is {}", what, header_bytes, max_safetensors_header_bytes),
            what);
      if (header_bytes > file->size() - 8)
        return refuse(fmt::format("{} bytes of the header are missing: {} wanted, {} are there; get the file again",
                                  header_bytes - (file->size() - 8), header_bytes, file->size() - 8));
      return refuse("the header does not start with \"{\": not a safetensors file");
    }
    std::string header(static_cast<std::size_t>(header_bytes), '\0');
    file->read_at(8, std::as_writable_bytes(std::span(header)));
    SafetensorNotes notes;
    auto entries = parse_safetensors_header(header, file->size() - 8 - header_bytes, what, &notes);
    if (!entries.ok()) return entries.error();
    for (SafetensorEntry& e : *entries)
      e.begin += 8 + header_bytes, e.end += 8 + header_bytes;  // inside the file: checked above
    return Safetensors(std::move(*file), std::move(*entries), std::move(notes));
  } catch (const Error& error) {
    return error;
  }
}

std::string_view Safetensors::file_name() const { return last_part(file_.path()); }

const SafetensorEntry* Safetensors::find(std::string_view name) const {
  const auto at = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                   [&](std::uint32_t i, std::string_view wanted) { return entries_[i].name < wanted; });
  return at != by_name_.end() && entries_[*at].name == name ? &entries_[*at] : nullptr;
}

std::string_view Safetensors::note(std::string_view key) const {
  const auto at = std::ranges::find(notes_, key, [](const auto& note) -> std::string_view { return note.first; });
  return at == notes_.end() ? std::string_view() : at->second;
}

void Safetensors::read_bytes(const SafetensorEntry& entry, std::uint64_t offset, std::span<std::byte> out) const {
  const std::uint64_t bytes = entry.end - entry.begin;
  TAP_ASSERT(offset <= bytes && out.size() <= bytes - offset);
  file_.read_at(entry.begin + offset, out);
}

Tensor Safetensors::read(std::string_view name) const {
  const SafetensorEntry* const entry = find(name);
  if (!entry) fail(ErrorCode::bad_file, "{}: tensor {} is missing", file_name(), name);
  const auto type = tensor_dtype(entry->dtype);
  if (!type) fail(ErrorCode::unsupported, "{}: {}: dtype {} cannot be read", file_name(), shown(name), entry->dtype);
  if (entry->shape.size() > static_cast<std::size_t>(Shape::max_rank))
    fail(ErrorCode::limit, "{}: {}: {} axes, the limit is {}", file_name(), shown(name), entry->shape.size(),
         Shape::max_rank);
  Tensor tensor = Tensor::empty(Shape(entry->shape), *type);
  read_bytes(*entry, 0, std::span(tensor.raw_write(), static_cast<std::size_t>(tensor.bytes())));
  return tensor;
}

Tensor Safetensors::read_rows(const SafetensorEntry& entry, Dim begin, Dim end) const {
  const auto type = tensor_dtype(entry.dtype);
  if (!type)
    fail(ErrorCode::unsupported, "{}: {}: dtype {} cannot be read", file_name(), shown(entry.name), entry.dtype);
  if (entry.shape.empty() || entry.shape.size() > static_cast<std::size_t>(Shape::max_rank) || begin < 0 ||
      end < begin || end > entry.shape[0])
    fail(ErrorCode::bad_input, "{}: {}: rows {} to {} of shape [{}]", file_name(), shown(entry.name), begin, end,
         fmt::join(entry.shape, ", "));
  std::vector<Dim> dims = entry.shape;
  dims[0] = end - begin;
  Tensor tensor = Tensor::empty(Shape(dims), *type);
  const std::uint64_t row_bytes =
      entry.shape[0] ? (entry.end - entry.begin) / static_cast<std::uint64_t>(entry.shape[0]) : 0;
  read_bytes(entry, row_bytes * static_cast<std::uint64_t>(begin),
             std::span(tensor.raw_write(), static_cast<std::size_t>(tensor.bytes())));
  return tensor;
}

}  // namespace tap
