#include "cli/answer_form.h"

#include <algorithm>
#include <cmath>

#include "base/file.h"

namespace tap::cli {

namespace {

constexpr std::size_t kSchemaBytes = 16 << 20;

GrammarPtr wanted(Result<GrammarPtr> made, std::string_view flag) {
  if (!made) throw Error(ErrorCode::usage, "--" + made.error().message(), std::string(flag));
  return *std::move(made);
}

// The tokens of `text` as the model would write them: what a user typed never becomes a special token. None when the
// tokenizer's own rules change the text.
std::vector<TokenId> canonical(const Tokenizer& tokenizer, const std::string& text, const std::string& or_else) {
  const TextSpan span{text, false};
  std::vector<TokenId> ids = tokenizer.encode(std::span(&span, 1));
  std::string bytes;
  for (const TokenId id : ids) bytes += tokenizer.bytes_of(id);
  if (bytes != text && bytes != or_else) ids.clear();
  return ids;
}

double log_sum(const std::vector<double>& logs) {
  const double top = *std::max_element(logs.begin(), logs.end());
  double sum = 0;
  for (const double one : logs) sum += std::exp(one - top);
  return top + std::log(sum);
}

}  // namespace

std::vector<std::string> split_choices(std::string_view text) {
  std::vector<std::string> choices(1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == ',' || text[i + 1] == '\\'))
      choices.back() += text[++i];
    else if (text[i] == ',')
      choices.emplace_back();
    else
      choices.back() += text[i];
  }
  for (auto one = choices.begin(); one != choices.end(); ++one) {
    if (one->empty()) throw Error(ErrorCode::usage, "--choices: one of them is empty; write a comma as \\,", "choices");
    if (std::find(choices.begin(), one, *one) != one)
      throw Error(ErrorCode::usage, fmt::format("--choices: {} stands there twice", *one), "choices");
  }
  return choices;
}

GrammarPtr grammar_of(const Options& options) {
  const int given =
      !options.choices.empty() + !options.regex.empty() + !options.schema.empty() + !options.grammar.empty();
  if (given > 1)
    throw Error(ErrorCode::usage, "--choices, --regex, --schema and --grammar exclude each other; give one of them",
                "choices");
  if (!options.choices.empty()) return wanted(Grammar::from_choices(split_choices(options.choices)), "choices");
  if (!options.regex.empty()) return wanted(Grammar::from_regex(options.regex), "regex");
  if (!options.grammar.empty())
    return Grammar::from_gbnf(read_file(options.grammar, kSchemaBytes).value(), options.grammar).value();
  if (options.schema.empty()) return nullptr;
  const std::string text = read_file(options.schema, kSchemaBytes).value();
  return Grammar::from_schema(text, options.schema).value();
}

void add_logprobs(Json& json, const Answer& answer, const Tokenizer& tokenizer) {
  Json tokens = Json::array();
  double sum = 0;
  for (std::size_t i = 0; i < answer.tokens.size(); ++i) {
    const std::string bytes = tokenizer.bytes_of(answer.tokens[i]);
    Json list = Json::array();
    for (const char c : bytes) list.push_back(static_cast<unsigned char>(c));
    sum += static_cast<double>(answer.logprobs[i]);
    tokens.push_back(
        {{"token", bytes}, {"id", answer.tokens[i]}, {"logprob", answer.logprobs[i]}, {"bytes", std::move(list)}});
  }
  json["logprobs"] = std::move(tokens);
  json["logprob"] = sum;
}

Json score_choices(Session& session, const PreparedPrompt& prepared, std::span<const std::string> choices) {
  const Tokenizer& tokenizer = session.model().tokenizer();
  std::vector<double> logs;
  for (const std::string& choice : choices) {
    const std::string spaced = " " + choice;
    std::vector<std::vector<TokenId>> forms;
    for (const std::string& form : {choice, spaced}) {
      std::vector<TokenId> ids = canonical(tokenizer, form, form == choice ? spaced : form);
      if (!ids.empty() && std::find(forms.begin(), forms.end(), ids) == forms.end()) forms.push_back(std::move(ids));
    }
    if (forms.empty())
      fail(ErrorCode::unsupported, "--logprobs: the model's tokenizer cannot write the choice \"{}\" as it is", choice);
    std::vector<double> ways;
    for (const auto& ids : forms) ways.push_back(session.log_probability(prepared, ids));
    logs.push_back(log_sum(ways));
  }
  const double all = log_sum(logs);
  Json scores = Json::object();
  for (std::size_t i = 0; i < choices.size(); ++i)
    scores[choices[i]] = {{"logprob", logs[i]}, {"probability", std::exp(logs[i] - all)}};
  return scores;
}

}  // namespace tap::cli
