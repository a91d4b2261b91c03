// Decimal numbers between bounds, digit by digit, and the patterns of "format".
#include <algorithm>
#include <array>

#include "text/grammar/regex.h"
#include "text/grammar/schema.h"

namespace tap::grammar {

namespace {

// So many significant digits tell doubles apart: a text above a bound is a number above it.
constexpr std::size_t kDigits = 15;

struct Decimal {
  bool negative = false;
  std::string whole, fraction;  // without leading, and without trailing zeros; "" and "" is 0
  bool is_zero() const { return whole.empty() && fraction.empty(); }
};

Decimal parse(std::string_view text) {
  Decimal d;
  d.negative = text.starts_with('-');
  if (d.negative) text.remove_prefix(1);
  const std::size_t point = std::min(text.find('.'), text.size());
  d.whole = text.substr(std::min(text.find_first_not_of('0'), point), std::string_view::npos);
  d.whole.resize(std::min(d.whole.size(), d.whole.find('.')));
  if (point < text.size()) d.fraction = text.substr(point + 1);
  while (d.fraction.ends_with('0')) d.fraction.pop_back();
  if (d.is_zero()) d.negative = false;
  return d;
}

std::string digits(std::size_t least, std::size_t most) { return fmt::format("[0-9]{{{},{}}}", least, most); }
std::string range(char low, char high) { return fmt::format("[{}-{}]", low, high); }

// Patterns of magnitudes: whole part of at most `most_whole` digits, at most `most_fraction` after the point.
class Magnitudes {
 public:
  Magnitudes(std::size_t most_whole, std::size_t most_fraction) : whole_(most_whole), fraction_(most_fraction) {}

  std::string any() const {
    return fmt::format("(0{})", whole_ > 0 ? "|" + first_to('1', '9', whole_ - 1) : "") + tail();
  }

  // Above `d` (or equal, where `equal`).
  std::string above(const Decimal& d, bool equal) const {
    std::vector<std::string> ways;
    const std::string& w = d.whole;
    if (w.size() < whole_) ways.push_back(fmt::format("[1-9]{}", digits(w.size(), whole_ - 1)) + tail());  // longer
    differ(w, '9', true, ways);
    const std::string same = w.empty() ? "0" : w;
    fractions(d.fraction, true, equal, same, ways);
    return join(ways);
  }
  std::string below(const Decimal& d, bool equal) const {
    std::vector<std::string> ways;
    const std::string& w = d.whole;
    if (!w.empty()) ways.push_back("0" + tail());  // shorter
    if (w.size() > 1) ways.push_back(fmt::format("[1-9]{}", digits(0, w.size() - 2)) + tail());
    differ(w, '0', false, ways);
    const std::string same = w.empty() ? "0" : w;
    fractions(d.fraction, false, equal, same, ways);
    return join(ways);
  }

 private:
  std::string tail() const { return fraction_ == 0 ? "" : fmt::format("(\\.{})?", digits(1, fraction_)); }
  static std::string first_to(char low, char high, std::size_t more) { return range(low, high) + digits(0, more); }
  static std::string join(const std::vector<std::string>& ways) {
    std::string all;
    for (const std::string& way : ways) all += (all.empty() ? "" : "|") + way;
    return all;
  }
  // The same number of digits as `w`, the first difference upwards or downwards.
  void differ(const std::string& w, char limit, bool up, std::vector<std::string>& ways) const {
    for (std::size_t i = 0; i < w.size(); ++i) {
      const char low = up ? static_cast<char>(w[i] + 1) : i == 0 ? '1' : limit;
      const char high = up ? limit : static_cast<char>(w[i] - 1);
      if (low > high) continue;
      const std::size_t left = w.size() - i - 1;
      ways.push_back(w.substr(0, i) + range(low, high) + digits(left, left) + tail());
    }
  }
  // The whole part is `same`; the fraction decides.
  void fractions(const std::string& f, bool up, bool equal, const std::string& same,
                 std::vector<std::string>& ways) const {
    const std::string point = same + "\\.";
    for (std::size_t i = 0; i < f.size() && i < fraction_; ++i) {
      const char low = up ? static_cast<char>(f[i] + 1) : '0', high = up ? '9' : static_cast<char>(f[i] - 1);
      if (low <= high) ways.push_back(point + f.substr(0, i) + range(low, high) + digits(0, fraction_ - i - 1));
      // Downwards a text may also stop before f does; stopped before its first digit it has no point.
      if (!up && i > 0) ways.push_back(point + f.substr(0, i));
    }
    if (!up && !f.empty()) ways.push_back(same);
    if (f.size() > fraction_) return;
    const std::size_t left = fraction_ - f.size();
    const std::string exact = f.empty() ? same : point + f;
    if (equal) {
      ways.push_back(exact);
      if (left > 0) ways.push_back(point + f + fmt::format("0{{1,{}}}", left));
    }
    if (up)  // more digits, not all of them zero
      for (std::size_t zeros = 0; zeros < left; ++zeros)
        ways.push_back(point + f + fmt::format("0{{{}}}[1-9]", zeros) + digits(0, left - zeros - 1));
  }
  std::size_t whole_, fraction_;
};

// Texts of integers that leave no remainder.
Dfa multiples(std::uint64_t of, Budget& budget) {
  Nfa nfa(budget);
  const State from = nfa.add(), to = nfa.add(), digits = nfa.add();
  nfa.literal(from, "-", digits);
  nfa.empty(from, digits);
  std::vector<State> remainder(of);
  for (State& state : remainder) state = nfa.add();
  for (unsigned digit = 0; digit < 10; ++digit) {
    nfa.bytes(digits, '0' + digit, '0' + digit, remainder[digit % of]);
    for (std::uint64_t r = 0; r < of; ++r)
      nfa.bytes(remainder[r], '0' + digit, '0' + digit, remainder[(r * 10 + digit) % of]);
  }
  nfa.empty(remainder[0], to);
  return determinize(nfa, from, to);
}

}  // namespace

Dfa number_range(const NumberRange& range, Budget& budget) {
  const bool low = !range.least.empty(), high = !range.most.empty();
  const Decimal least = parse(range.least), most = parse(range.most);
  // Digits before the point: what the bounds have, or nine where one side is open.
  std::size_t whole = std::max({least.whole.size(), most.whole.size(), low && high ? std::size_t{1} : std::size_t{9}});
  std::size_t fraction = 0;
  if (range.integer) {
    whole = std::min(whole, kDigits);
  } else {
    fraction = std::max({least.fraction.size(), most.fraction.size(), std::size_t{6}});
    if (whole < kDigits) fraction = std::min(fraction, kDigits - whole);
  }
  if (std::max(least.whole.size(), most.whole.size()) > kDigits ||
      (!range.integer && std::max(least.fraction.size(), most.fraction.size()) > fraction))
    fail(ErrorCode::unsupported, "{}: bounds of more than {} digits are not supported", budget.what(), kDigits);
  const Magnitudes magnitudes(whole, fraction);
  const auto compiled = [&](const std::string& pattern) {
    return compile_regex(pattern, Match::whole, Encoding::utf8, budget);
  };
  const auto bounded = [&](const Decimal* lower, bool above, const Decimal* upper, bool below) {
    Dfa dfa = compiled(magnitudes.any());
    if (lower) dfa = product(dfa, compiled(magnitudes.above(*lower, !above)), false, budget);
    if (upper) {
      // An empty pattern would match the empty text; nothing is below zero.
      const std::string pattern = magnitudes.below(*upper, !below);
      dfa = pattern.empty() ? Dfa{} : product(dfa, compiled(pattern), false, budget);
    }
    return dfa;
  };
  Nfa nfa(budget);
  const State from = nfa.add(), to = nfa.add();
  if (!(high && (most.negative || (most.is_zero() && range.below_most)))) {  // zero and above
    const Dfa dfa =
        bounded(low && !least.negative ? &least : nullptr, range.above_least, high ? &most : nullptr, range.below_most);
    if (dfa.size() > 0) splice(nfa, from, dfa, to);
  }
  if (!low || least.negative) {  // below zero
    const Decimal zero;
    const Dfa dfa = high && most.negative ? bounded(&most, range.below_most, low ? &least : nullptr, range.above_least)
                                          : bounded(&zero, true, low ? &least : nullptr, range.above_least);
    if (dfa.size() > 0) {
      const State after = nfa.add();
      nfa.literal(from, "-", after);
      splice(nfa, after, dfa, to);
    }
  }
  Dfa dfa = determinize(nfa, from, to);
  if (range.multiple_of > 1) dfa = product(dfa, multiples(range.multiple_of, budget), false, budget);
  return dfa;
}

std::string_view format_pattern(std::string_view format) {
  // Days by the length of the month; 29 February in leap years only: those that 4 divides but not 100, or 400 does.
  static const std::string date =
      "([1-9][0-9]{3}-((01|03|05|07|08|10|12)-(0[1-9]|[12][0-9]|3[01])|(04|06|09|11)-(0[1-9]|[12][0-9]|30)|"
      "02-(0[1-9]|1[0-9]|2[0-8]))|([1-9][0-9](0[48]|[2468][048]|[13579][26])|([2468][048]|[13579][26])00)-02-29)";
  static const std::string time =
      "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";
  static const std::string octet = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
  static const std::string label = "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?";
  static const std::array<std::pair<std::string_view, std::string>, 9> table = {{
      {"date", date},
      {"time", time},
      {"date-time", date + "T" + time},
      {"duration", "P([0-9]{1,6}W|[0-9]{1,6}D(T[0-9]{1,6}[HMS])?|T[0-9]{1,6}[HMS]|[0-9]{1,6}[YM])"},
      {"uuid", "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"},
      {"ipv4", octet + "(\\." + octet + "){3}"},
      {"ipv6", "[0-9a-f]{1,4}(:[0-9a-f]{1,4}){7}"},
      {"email", "[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,16}){0,3}@" + label + "(\\." + label + "){1,3}"},
      {"hostname", label + "(\\." + label + "){0,3}"},
  }};
  for (const auto& [name, pattern] : table)
    if (name == format) return pattern;
  return {};
}

}  // namespace tap::grammar
