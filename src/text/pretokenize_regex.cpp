#include "text/pretokenize_regex.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <new>

#include <time.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "text/tokenizer_unicode.h"

namespace tap {

namespace {

constexpr std::size_t kPatternBytes = 16 << 10;
constexpr std::uint32_t kHeapKib = 32 << 10;
constexpr std::size_t kWindowBytes = 64;  // start positions tried by one call
constexpr std::size_t kSeenBytes = 2048;  // text shown to the first try
constexpr std::uint32_t kFewSteps = 1'000,
                        kMostSteps = 100'000'000;  // match steps per start position: first and last try
constexpr std::uint64_t kBudget = 400'000'000;     // steps and bytes of all further tries of one find_all
// PCRE2 does not count the bytes that one step walks over; this catches what the counters do not see.
constexpr double kCpuSeconds = 5, kCpuSecondsPerByte = 2e-6;

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeMatchContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
struct FreeCompileContext {
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
};

// What Oniguruma and PCRE2 read differently; nullptr when nothing does.
const char* foreign_syntax(std::string_view pattern) {
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    const char next = i + 1 < pattern.size() ? pattern[i + 1] : '\0';
    if (c == '\\') {
      if (next == 'h' || next == 'H') return "\\h (a hexadecimal digit there)";
      ++i;
    } else if (in_class) {
      if (c == '&' && next == '&') return "class intersection (&&)";
      if (c == '[' && next != ':') return "a class within a class";
      if (c == '[') {
        const std::size_t close = pattern.find(":]", i);
        if (close == std::string_view::npos) return "an unclosed [:class:]";
        i = close + 1;
      } else if (c == ']') {
        in_class = false;
      }
    } else if (c == '[') {
      in_class = true;
      if (next == '^') ++i;
      if (i + 1 < pattern.size() && pattern[i + 1] == ']') ++i;  // a literal ]
    } else if (c == '(' && next == '?') {
      for (std::size_t j = i + 2;
           j < pattern.size() && (std::isalpha(static_cast<unsigned char>(pattern[j])) || pattern[j] == '-'); ++j)
        if (pattern[j] == 'm') return "the option (?m)";
    }
  }
  return nullptr;
}

// Oniguruma writes \uHHHH where PCRE2 writes \x{HHHH}.
std::string translated(std::string_view pattern) {
  std::string out;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '\\' || i + 1 == pattern.size()) {
      out += pattern[i];
    } else if (pattern[i + 1] == 'u' && i + 5 < pattern.size()) {
      out.append("\\x{").append(pattern, i + 2, 4) += '}';
      i += 5;
    } else {
      out.append(pattern, i, 2);
      ++i;
    }
  }
  return out;
}

std::string compile_message(int code) {
  std::array<unsigned char, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct TokenRegex::Code {
  pcre2_code* code = nullptr;
  std::string where;
  ~Code() { pcre2_code_free(code); }
};

Result<TokenRegex> TokenRegex::compile(std::string_view pattern, std::string_view where) {
  if (pattern.size() > kPatternBytes)
    return make_error(ErrorCode::limit, "{}: a regular expression of {} bytes, the limit is {}", where, pattern.size(),
                      kPatternBytes);
  if (const char* foreign = foreign_syntax(pattern))
    return make_error(ErrorCode::unsupported, "{}: the regular expression uses {}, which is not supported", where,
                      foreign);
  const std::unique_ptr<pcre2_compile_context, FreeCompileContext> context(pcre2_compile_context_create(nullptr));
  if (!context) throw std::bad_alloc();
  pcre2_set_parens_nest_limit(context.get(), 64);
  int error = 0;
  std::size_t offset = 0;
  auto code = std::make_shared<Code>();
  code->where = where;
  // Ruby's ^ and $ always stand at lines; \C could split a character.
  constexpr std::uint32_t options =
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_USE_OFFSET_LIMIT;
  const std::string ours = translated(pattern);
  code->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(ours.data()), ours.size(), options, &error, &offset, context.get());
  if (!code->code)
    return make_error(ErrorCode::bad_file, "{}: bad regular expression at offset {}: {}", where, offset,
                      compile_message(error));
  pcre2_jit_compile(
      code->code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);  // without JIT (a hardened kernel) the interpreter runs
  TokenRegex regex;
  regex.code_ = std::move(code);
  return regex;
}

void TokenRegex::find_all(std::string_view text, std::vector<TextRange>& matches) const {
  matches.clear();
  const std::unique_ptr<pcre2_match_data, FreeMatchData> data(
      pcre2_match_data_create_from_pattern(code_->code, nullptr));
  const std::unique_ptr<pcre2_match_context, FreeMatchContext> context(pcre2_match_context_create(nullptr));
  if (!data || !context) throw std::bad_alloc();
  pcre2_set_heap_limit(context.get(), kHeapKib);
  const auto boundary = [&](std::size_t at) {  // the character start at or before `at`
    if (at >= text.size()) return text.size();
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
    return at;
  };
  const auto call = [&](std::size_t at, std::size_t last_start, std::size_t seen, std::uint32_t steps) {
    pcre2_set_offset_limit(context.get(), last_start);
    pcre2_set_match_limit(context.get(), steps);
    const std::uint32_t options = PCRE2_NO_UTF_CHECK | (seen < text.size() ? PCRE2_PARTIAL_HARD : 0u);
    return pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), seen, at, options, data.get(),
                       context.get());
  };
  std::uint64_t spent = 0;
  const double cpu_limit = kCpuSeconds + kCpuSecondsPerByte * static_cast<double>(text.size()),
               cpu_start = thread_seconds();
  std::size_t at = 0;
  for (std::uint64_t calls = 1; at <= text.size(); ++calls) {
    std::size_t last_start = boundary(at + kWindowBytes), seen = boundary(at + kSeenBytes);
    std::uint32_t steps = kFewSteps;
    int rc = call(at, last_start, seen, steps);
    // More steps, or more text where a match reached the end of what it saw: for one start position only, and on the
    // bill.
    while ((rc == PCRE2_ERROR_MATCHLIMIT && steps < kMostSteps) || rc == PCRE2_ERROR_PARTIAL) {
      if (rc == PCRE2_ERROR_PARTIAL && last_start == at) seen = boundary(seen + (seen - at));
      if (rc == PCRE2_ERROR_MATCHLIMIT && last_start == at) steps *= 10;
      last_start = at;
      spent += steps + (seen - at);
      if (spent > kBudget) break;
      rc = call(at, last_start, seen, steps);
    }
    if (calls % 64 == 0 && thread_seconds() - cpu_start > cpu_limit) spent = kBudget + 1;
    if (spent > kBudget)
      fail(ErrorCode::limit, "{}: the regular expression backtracks too much at byte {} of {} (over {} million steps)",
           code_->where, at, text.size(), kBudget / 1'000'000);
    if (rc == PCRE2_ERROR_NOMATCH) {
      if (last_start == text.size()) break;
      at = last_start + uni::decode(text, last_start).length;
      continue;
    }
    if (rc < 0)
      fail(ErrorCode::limit,
           "{}: the regular expression gave up at byte {} of {}: {} (limit {} match steps per position)", code_->where,
           at, text.size(), compile_message(rc), kMostSteps);
    const std::size_t* span = pcre2_get_ovector_pointer(data.get());
    const std::size_t begin = span[0], end = span[1];
    if (begin > end || begin < at)
      fail(ErrorCode::unsupported, "{}: the regular expression moves a match's start (\\K in a lookaround)",
           code_->where);
    if (begin < end || matches.empty() || matches.back().end != begin) matches.push_back({begin, end});
    if (end > begin) at = end;
    else if (end >= text.size()) break;
    else at = end + uni::decode(text, end).length;
  }
}

}  // namespace tap
