#include "io/npz.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <zlib.h>

#include "base/file.h"

namespace tap {

namespace {

constexpr std::size_t end_record_bytes = 22, longest_comment = 65535, directory_entry_bytes = 46,
                      local_header_bytes = 30;
constexpr std::uint32_t end_signature = 0x06054b50, directory_signature = 0x02014b50, local_signature = 0x04034b50;
constexpr std::uint32_t in_extra_field = 0xffffffff;  // ZIP64: the number stands in the extra field
constexpr std::size_t longest_npy_header = 64 << 10;
constexpr std::uint16_t stored = 0, deflated = 8, encrypted_flag = 1;

std::string shown(std::string_view name) {
  std::string text;
  for (const char c : name.substr(0, 120)) text += c >= ' ' && c <= '~' ? c : '?';
  return name.size() > 120 ? text + "…" : text;
}

std::string_view last_part(std::string_view path) {
  const auto slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

// Little-endian numbers at a place that was checked.
template <class T>
T number_at(std::string_view bytes, std::size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

[[noreturn]] void refuse(ErrorCode code, std::string_view what, const std::string& problem) {
  throw Error(code, fmt::format("{}: {}", what, problem), std::string(what));
}

struct NpyHeader {
  std::string type;  // "<f4"
  bool fortran = false;
  std::vector<Dim> shape;
  std::size_t data_begin = 0;
};

// The header's Python dict literal, of which numpy writes one form only: strings, True, False, a tuple of whole
// numbers.
class HeaderReader {
 public:
  HeaderReader(std::string_view text, std::string_view what) : text_(text), what_(what) {}

  NpyHeader read() {
    NpyHeader header;
    bool type = false, order = false, shape = false;
    expect('{');
    while (!next('}')) {
      const std::string key = string();
      bool* const seen = key == "descr" ? &type : key == "fortran_order" ? &order : key == "shape" ? &shape : nullptr;
      if (!seen) wrong(fmt::format("unknown key \"{}\"", shown(key)));
      if (std::exchange(*seen, true)) wrong(fmt::format("{} stands twice", key));
      expect(':');
      if (seen == &type)
        header.type = string("a plain type such as '<f4'");
      else if (seen == &order)
        header.fortran = boolean();
      else
        header.shape = tuple();
      if (!next(',')) {
        expect('}');
        break;
      }
    }
    if (!type || !order || !shape)
      wrong(fmt::format("{} is missing", !type ? "descr" : !order ? "fortran_order" : "shape"));
    skip_space();
    if (at_ != text_.size()) wrong("something follows the header's \"}\"");
    return header;
  }

 private:
  [[noreturn]] void wrong(const std::string& problem) const { refuse(ErrorCode::bad_file, what_, problem); }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool next(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!next(c)) wrong(fmt::format("header byte {}: want \"{}\"", at_, c));
  }
  std::string string(std::string_view wanted = "a string") {
    skip_space();
    const char quote = at_ < text_.size() ? text_[at_] : ' ';
    const std::size_t end = quote == '\'' || quote == '"' ? text_.find(quote, at_ + 1) : std::string_view::npos;
    if (end == std::string_view::npos) wrong(fmt::format("header byte {}: want {}", at_, wanted));
    std::string value(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return value;
  }
  bool boolean() {
    skip_space();
    for (const std::string_view word : {"True", "False"})
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return word == "True";
      }
    wrong(fmt::format("header byte {}: want True or False", at_));
  }
  std::vector<Dim> tuple() {
    std::vector<Dim> dims;
    expect('(');
    while (!next(')')) {
      skip_space();
      const std::size_t begin = at_;
      std::optional<Dim> value = 0;
      for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
        if (value) value = checked_mul(*value, 10);
        if (value) value = checked_add(*value, text_[at_] - '0');
      }
      if (begin == at_) wrong(fmt::format("header byte {}: want a size", at_));
      if (!value) wrong("a size over 2^63-1");
      if (dims.size() == static_cast<std::size_t>(Shape::max_rank))
        refuse(ErrorCode::limit, what_, fmt::format("more than {} axes, the limit", Shape::max_rank));
      dims.push_back(*value);
      if (!next(',')) {
        expect(')');
        break;
      }
    }
    return dims;
  }

  std::string_view text_, what_;
  std::size_t at_ = 0;
};

NpyHeader npy_header(std::string_view bytes, std::string_view what) {
  constexpr std::string_view magic = "\x93NUMPY";
  if (!bytes.starts_with(magic) || bytes.size() < 12) refuse(ErrorCode::bad_file, what, "no .npy array");
  const int version = bytes[6];
  if ((version != 1 && version != 2) || bytes[7] != 0)
    refuse(ErrorCode::unsupported, what, fmt::format(".npy version {}.{}: 1.0 and 2.0 are read", version, +bytes[7]));
  const std::size_t begin = version == 1 ? 10 : 12;
  const std::size_t length = version == 1 ? number_at<std::uint16_t>(bytes, 8) : number_at<std::uint32_t>(bytes, 8);
  if (length > longest_npy_header)
    refuse(ErrorCode::limit, what, fmt::format("a header of {} bytes, the limit is {}", length, longest_npy_header));
  if (length > bytes.size() - begin)
    refuse(ErrorCode::bad_file, what,
           fmt::format("the header ends after {} bytes of {}", bytes.size() - begin, length));
  NpyHeader header = HeaderReader(bytes.substr(begin, length), what).read();
  header.data_begin = begin + length;
  return header;
}

struct TypeRow {
  std::string_view name;
  Dim bytes;
  DType tensor;
};
constexpr std::array<TypeRow, 7> types{{{"<f4", 4, DType::f32},
                                        {"<f8", 8, DType::f32},
                                        {"<f2", 2, DType::f16},
                                        {"<i4", 4, DType::i32},
                                        {"<i8", 8, DType::i64},
                                        {"|u1", 1, DType::u8},
                                        {"|b1", 1, DType::u8}}};

// From the first axis fastest to the last axis fastest.
std::string rows_of(std::string_view data, const std::vector<Dim>& shape, std::size_t size) {
  std::string out(data.size(), '\0');
  std::vector<Dim> index(shape.size(), 0);
  for (std::size_t to = 0; to < data.size(); to += size) {
    Dim from = 0;
    for (std::size_t axis = shape.size(); axis-- > 0;) from = from * shape[axis] + index[axis];
    std::memcpy(out.data() + to, data.data() + static_cast<std::size_t>(from) * size, size);
    for (std::size_t axis = shape.size(); axis-- > 0 && ++index[axis] == shape[axis];) index[axis] = 0;
  }
  return out;
}

Tensor tensor_of(std::string_view bytes, std::string_view what) {
  const NpyHeader header = npy_header(bytes, what);
  const auto type = std::ranges::find(types, header.type, &TypeRow::name);
  if (type == types.end())
    refuse(ErrorCode::unsupported, what,
           header.type.find('O') != std::string::npos
               ? "an array of Python objects is a pickle, which is never read"
               : fmt::format("type \"{}\": <f2, <f4, <f8, <i4, <i8, |u1 and |b1 are read", shown(header.type)));
  std::optional<Dim> wanted = type->bytes;
  bool empty = false;
  for (const Dim d : header.shape) {
    empty = empty || d == 0;
    if (wanted && d != 0) wanted = checked_mul(*wanted, d);
  }
  std::string_view data = bytes.substr(header.data_begin);
  if (!wanted || data.size() != static_cast<std::size_t>(empty ? 0 : *wanted))
    refuse(
        ErrorCode::bad_file, what,
        fmt::format("{} of shape [{}], but {} bytes of data", header.type, fmt::join(header.shape, ", "), data.size()));
  std::string turned;
  if (header.fortran && header.shape.size() > 1)
    data = turned = rows_of(data, header.shape, static_cast<std::size_t>(type->bytes));
  Tensor tensor = Tensor::empty(Shape(header.shape), type->tensor);
  if (type->name != "<f8") {
    if (!data.empty()) std::memcpy(tensor.raw_write(), data.data(), data.size());
    return tensor;
  }
  for (Dim i = 0; i < tensor.elements(); ++i)
    tensor.write<float>()[i] = static_cast<float>(number_at<double>(data, static_cast<std::size_t>(i) * 8));
  return tensor;
}

// Sizes and place of a directory entry, which stand in its ZIP64 extra field where the entry says so.
struct Numbers {
  std::uint64_t unpacked, packed, begin;
};
Numbers numbers_of(std::string_view entry, std::string_view extra, std::string_view what) {
  Numbers numbers{number_at<std::uint32_t>(entry, 24), number_at<std::uint32_t>(entry, 20),
                  number_at<std::uint32_t>(entry, 42)};
  std::string_view field;
  while (extra.size() >= 4) {
    const std::size_t length = number_at<std::uint16_t>(extra, 2);
    if (length > extra.size() - 4) break;
    if (number_at<std::uint16_t>(extra, 0) == 1) field = extra.substr(4, length);
    extra.remove_prefix(4 + length);
  }
  for (std::uint64_t* number : {&numbers.unpacked, &numbers.packed, &numbers.begin}) {
    if (*number != in_extra_field) continue;
    if (field.size() < 8) refuse(ErrorCode::bad_file, what, "its ZIP64 sizes are missing");
    *number = number_at<std::uint64_t>(field, 0);
    field.remove_prefix(8);
  }
  return numbers;
}

}  // namespace

Result<Npz> Npz::open(const std::string& path, const NpzLimits& limits) {
  auto bytes = read_file(path, limits.file_bytes);
  if (!bytes) return bytes.error();
  return parse(*std::move(bytes), last_part(path), limits);
}

Result<Npz> Npz::parse(std::string bytes, std::string_view what, const NpzLimits& limits) {
  try {
    if (bytes.size() > limits.file_bytes)
      refuse(ErrorCode::limit, what, fmt::format("{} bytes, the limit is {}", bytes.size(), limits.file_bytes));
    Npz npz(std::move(bytes), what);
    npz.members_ = npz.directory(limits);
    return npz;
  } catch (const Error& error) {
    return error;
  }
}

std::vector<Npz::Member> Npz::directory(const NpzLimits& limits) const {
  const std::string_view bytes = bytes_;
  const auto bad = [&](const std::string& problem) { refuse(ErrorCode::bad_file, what_, problem); };
  if (bytes.size() < end_record_bytes || number_at<std::uint32_t>(bytes, 0) == 0 || !bytes.starts_with("PK"))
    bad("not a ZIP archive, so no .npz file");
  std::size_t end = bytes.size() - end_record_bytes;
  const std::size_t earliest = end > longest_comment ? end - longest_comment : 0;
  while (number_at<std::uint32_t>(bytes, end) != end_signature ||
         number_at<std::uint16_t>(bytes, end + 20) != bytes.size() - end - end_record_bytes)
    if (end-- == earliest) bad("the archive's directory is missing: cut short? get the file again");
  const std::size_t count = number_at<std::uint16_t>(bytes, end + 10);
  const std::size_t size = number_at<std::uint32_t>(bytes, end + 12), begin = number_at<std::uint32_t>(bytes, end + 16);
  if (count == 0xffff || size == in_extra_field || begin == in_extra_field)
    refuse(ErrorCode::unsupported, what_, "a ZIP64 directory is not read; save it again with numpy.savez");
  if (count > limits.members)
    refuse(ErrorCode::limit, what_, fmt::format("{} members, the limit is {}", count, limits.members));
  if (begin > end || size > end - begin) bad("the directory's place lies outside the file");

  std::vector<Member> members;
  std::size_t unpacked = 0, at = begin;
  for (std::size_t i = 0; i < count; ++i) {
    if (begin + size - at < directory_entry_bytes || number_at<std::uint32_t>(bytes, at) != directory_signature)
      bad(fmt::format("entry {} of the directory is damaged", i));
    const std::string_view entry = bytes.substr(at, directory_entry_bytes);
    const std::size_t name_bytes = number_at<std::uint16_t>(entry, 28), extra = number_at<std::uint16_t>(entry, 30),
                      rest = extra + number_at<std::uint16_t>(entry, 32);
    if (begin + size - at - directory_entry_bytes < name_bytes + rest)
      bad(fmt::format("entry {} of the directory is damaged", i));
    std::string name(bytes.substr(at + directory_entry_bytes, name_bytes));
    const std::string what = fmt::format("{}: {}", what_, shown(name));
    const Numbers numbers = numbers_of(entry, bytes.substr(at + directory_entry_bytes + name_bytes, extra), what);
    at += directory_entry_bytes + name_bytes + rest;
    if (!name.ends_with(".npy")) continue;
    name.resize(name.size() - 4);
    Member member{std::move(name), number_at<std::uint16_t>(entry, 10), number_at<std::uint32_t>(entry, 16), 0, 0, 0};
    if (number_at<std::uint16_t>(entry, 8) & encrypted_flag) refuse(ErrorCode::unsupported, what, "is encrypted");
    if (member.method != stored && member.method != deflated)
      refuse(ErrorCode::unsupported, what,
             fmt::format("ZIP method {}: 0 (stored) and 8 (deflated) are read", member.method));
    if (numbers.begin > begin || begin - numbers.begin < local_header_bytes ||
        number_at<std::uint32_t>(bytes, static_cast<std::size_t>(numbers.begin)) != local_signature)
      refuse(ErrorCode::bad_file, what, "its header is not where the directory says");
    const auto local = static_cast<std::size_t>(numbers.begin);
    const std::size_t skipped =
        local_header_bytes + number_at<std::uint16_t>(bytes, local + 26) + number_at<std::uint16_t>(bytes, local + 28);
    if (skipped > begin - local || numbers.packed > begin - local - skipped)
      refuse(ErrorCode::bad_file, what, "its bytes run past the archive's directory");
    if (numbers.unpacked > limits.unpacked_bytes - unpacked)
      refuse(ErrorCode::limit, what,
             fmt::format("unpacked, the arrays hold more than {} bytes, the limit", limits.unpacked_bytes));
    member.begin = local + skipped;
    member.packed = static_cast<std::size_t>(numbers.packed);
    member.unpacked = static_cast<std::size_t>(numbers.unpacked);
    if (member.method == stored && member.packed != member.unpacked)
      refuse(ErrorCode::bad_file, what, "is stored in another number of bytes than it has");
    unpacked += member.unpacked;
    if (std::ranges::find(members, member.name, &Member::name) != members.end())
      refuse(ErrorCode::bad_file, what, "stands twice");
    members.push_back(std::move(member));
  }
  return members;
}

std::vector<std::string> Npz::names() const {
  std::vector<std::string> names;
  for (const Member& member : members_) names.push_back(member.name);
  return names;
}

const Npz::Member* Npz::find(std::string_view name) const {
  const auto at = std::ranges::find(members_, name, &Member::name);
  return at == members_.end() ? nullptr : &*at;
}

// Grows with what comes out, so that a small file that claims much costs little.
std::string Npz::unpack(const Member& member) const {
  const std::string what = fmt::format("{}: {}", what_, shown(member.name));
  const std::string_view packed = std::string_view(bytes_).substr(member.begin, member.packed);
  std::string out;
  if (member.method == stored) {
    out = packed;
  } else {
    z_stream stream{};
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) fail(ErrorCode::out_of_memory, "{}: zlib cannot start", what);
    const struct End {
      z_stream* stream;
      ~End() { inflateEnd(stream); }
    } end{&stream};
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
    stream.avail_in = static_cast<uInt>(packed.size());  // under 2^32: the file's limit
    std::array<char, 1 << 16> piece;
    for (int state = Z_OK; state != Z_STREAM_END;) {
      stream.next_out = reinterpret_cast<Bytef*>(piece.data());
      stream.avail_out = static_cast<uInt>(piece.size());
      state = inflate(&stream, Z_NO_FLUSH);
      const std::size_t got = piece.size() - stream.avail_out;
      if ((state != Z_OK && state != Z_STREAM_END) || got > member.unpacked - out.size() || (state == Z_OK && got == 0))
        refuse(ErrorCode::bad_file, what, "its compressed bytes are damaged; get the file again");
      out.append(piece.data(), got);
    }
  }
  if (out.size() != member.unpacked || crc32_z(0, reinterpret_cast<const Bytef*>(out.data()), out.size()) != member.crc)
    refuse(ErrorCode::bad_file, what, "its bytes do not match their checksum; get the file again");
  return out;
}

Result<Tensor> Npz::read(std::string_view name) const {
  const Member* const member = find(name);
  if (!member) return make_error(ErrorCode::bad_file, "{}: array {} is missing", what_, shown(name));
  try {
    return tensor_of(unpack(*member), fmt::format("{}: {}", what_, shown(name)));
  } catch (const Error& error) {
    return error;
  }
}

}  // namespace tap
