// tapetum batch REQUESTS.jsonl|-
#include <filesystem>
#include <limits>
#include <unordered_map>

#include "base/log.h"
#include "cli/answer_form.h"
#include "cli/asking.h"
#include "cli/commands.h"
#include "cli/detect.h"
#include "cli/line_reader.h"
#include "cli/output.h"
#include "cli/request.h"
#include "cli/results_file.h"
#include "io/url.h"
#include "runtime/constraint_cache.h"
#include "tasks/results_json.h"

namespace tap::cli {

namespace {

constexpr std::size_t request_pixel_bytes = std::size_t{1} << 30;  // of one request's pictures together

// The pictures of one request, each file read once.
class RequestPictures {
 public:
  RequestPictures(const std::string& folder, const Options& options, Guards& guards, std::vector<Safety>& verdicts)
      : folder_(folder), options_(options), guards_(guards), verdicts_(verdicts) {}
  std::shared_ptr<const Image> operator()(const std::string& name) {
    auto& image = images_[name];
    if (image) return image;
    const std::string source = is_url(name) ? name : (std::filesystem::path(folder_) / name).string();
    image = load_picture({source, false}, options_, guards_, verdicts_);
    bytes_ += image->pixels.size();
    if (bytes_ > request_pixel_bytes)
      throw Error(ErrorCode::limit,
                  fmt::format("the pictures of one request hold more than {} bytes of pixels", request_pixel_bytes),
                  "images");
    return image;
  }

 private:
  const std::string& folder_;
  const Options& options_;
  Guards& guards_;
  std::vector<Safety>& verdicts_;
  std::unordered_map<std::string, std::shared_ptr<const Image>> images_;
  std::size_t bytes_ = 0;
};

struct Context {
  const Options& options;
  const Model& model;
  const GenerateOptions& generate;
  std::shared_ptr<FeatureCache> features;
  std::string folder;  // of the requests' file: where its pictures' paths begin
  Guards& guards;
};

class RequestItems final : public ItemSource {
 public:
  RequestItems(const Context& context, LineReader& lines, const ResultsFile& results)
      : context_(context), lines_(lines), results_(results) {}

  // Ids of items that failed before they had a report.
  Json id_of(std::size_t index) {
    const auto at = ids_.find(index);
    return at == ids_.end() ? Json(nullptr) : at->second;
  }
  void forget(std::size_t index) { ids_.erase(index); }
  const std::string& foreign() const { return foreign_; }  // the request whose result in the file has another id

  Next next(Item& item, bool wait) override {
    std::string text;
    for (;;) {
      const LineReader::Got got = lines_.next(text, wait);
      if (got == LineReader::Got::later) return Next::later;
      if (got == LineReader::Got::end) return Next::end;
      if (got == LineReader::Got::line && text.find_first_not_of(" \t\r") == std::string::npos) continue;
      item.index = next_index_++;
      item.name = fmt::format("{}:{}", lines_.name(), lines_.number());
      if (make(got, text, item)) return Next::item;
      if (!foreign_.empty()) return Next::end;
    }
  }

 private:
  // False: the results have it already.
  bool make(LineReader::Got got, const std::string& text, Item& item) {
    if (got == LineReader::Got::too_long)
      throw Error(ErrorCode::limit, fmt::format("{}: the line is longer than {} bytes", item.name, request_limit_bytes),
                  item.name);
    const Json line = parse_json(text, item.name, {.bytes = request_limit_bytes}).value();
    const Json id = request_id(line);
    if (!id.is_null()) ids_[item.index] = id;
    switch (results_.has(item.index, id)) {
      case ResultsFile::Has::no: break;
      case ResultsFile::Has::yes: return forget(item.index), false;
      case ResultsFile::Has::foreign: foreign_ = item.name; return false;
    }
    with_frame(item.name, [&] { fill(parse_request(line, context_.generate).value(), item); });
    return true;
  }

  void fill(const Request& request, Item& item) {
    const Stopwatch watch;
    const Options& options = context_.options;
    RequestPictures pictures(context_.folder, options, context_.guards, item.verdicts);
    const std::string& system = request.system.empty() ? options.system : request.system;
    item.generate = request.generate;
    if (request.form.is_object()) item.generate.constraint = forms_(context_.model, request.form);
    Json head = Json::object();
    if (!request.id.is_null()) head["id"] = request.id;
    head["index"] = item.index;
    if (request.task == Request::Task::find) {
      const auto image = pictures(request.image);
      item.generate.constraint = nullptr;  // places have a form of their own
      DetectOptions how = detect_options(options, request.usual);
      how.masks = masks_;
      const auto task = std::make_shared<const DetectTask>(context_.model, request.thing, std::move(how));
      masks_ = task->masks() ? task->masks() : masks_;
      ask_where(*task, image, system, item);
      item.report = [head, task, width = image->width, height = image->height](std::span<const Answer> answers) {
        Json json = head;
        json.update({{"width", width}, {"height", height}});
        json.update(detections_json(task->result(width, height, answers)));
        json.update(
            {{"finish_reason", name(answers.back().finish_reason)}, {"tokens", tokens_json(answers.back().timings)}});
        return Outcome{std::move(json), {}};
      };
    } else {
      if (!system.empty() && request.messages.front().role != "system") item.conversation.system(system);
      for (const NamedMessage& message : request.messages) {
        Message& to = item.conversation.messages.emplace_back(Message{message.role, {}});
        for (const NamedPart& part : message.parts)
          to.parts.push_back(part.image.empty() ? Part{part.text} : Part{{}, pictures(part.image)});
      }
      const std::vector<std::string> choices =
          options.logprobs ? choices_of(request, options) : std::vector<std::string>();
      if (!choices.empty() && !scorer_)
        scorer_ = std::make_shared<Session>(context_.model,
                                            SessionOptions{.context = options.context, .features = context_.features});
      // The pictures are kept for a second time only where choices will be scored.
      item.report = [head, &model = context_.model, logprobs = options.logprobs, choices, scorer = scorer_,
                     asked = choices.empty() ? Conversation() : item.conversation](std::span<const Answer> answers) {
        const Answer& answer = answers.front();
        Json json = head;
        json.update({{"text", answer.text},
                     {"finish_reason", name(answer.finish_reason)},
                     {"tokens", tokens_json(answer.timings)}});
        if (logprobs) add_logprobs(json, answer, model.tokenizer());
        if (!choices.empty()) json["choices"] = score_choices(*scorer, model.prepare(asked), choices);
        return Outcome{std::move(json), {}};
      };
    }
    item.decode_ms = watch.ms();
  }

  static std::vector<std::string> choices_of(const Request& request, const Options& options) {
    if (request.form.is_null())
      return options.choices.empty() ? std::vector<std::string>() : split_choices(options.choices);
    return request.form.value("choices", Json::array()).get<std::vector<std::string>>();
  }

  const Context& context_;
  LineReader& lines_;
  const ResultsFile& results_;
  ConstraintCache forms_;
  std::shared_ptr<Session> scorer_;
  std::shared_ptr<const MaskCodec> masks_;  // of requests for masks, read once
  std::size_t next_index_ = 0;
  std::string foreign_;
  std::unordered_map<std::size_t, Json> ids_;  // of the items on their way
};

class ResultsOutput final : public ItemOutput {
 public:
  ResultsOutput(ResultsFile& file, RequestItems& items) : file_(file), items_(items) {}
  void done(const Item& item, Outcome outcome) override {
    items_.forget(item.index);
    file_.write(outcome.json);
  }
  void failed(const Item& item, const Error& error) override {
    Json line = Json::object();
    if (const Json id = items_.id_of(item.index); !id.is_null()) line["id"] = id;
    items_.forget(item.index);
    line["index"] = item.index;
    line.update(error_json(item, error));
    file_.write(line);
  }

 private:
  ResultsFile& file_;
  RequestItems& items_;
};

}  // namespace

int run_batch(const Options& options) {
  if (options.words.size() != 1)
    fail(ErrorCode::usage, "batch takes one file of requests (- for stdin), got {} words", options.words.size());
  const std::string& path = options.words[0];
  if (options.resume && options.output.empty())
    fail(ErrorCode::usage, "--resume needs -o FILE, the results to go on with");
  std::error_code failed;
  if (!options.output.empty() && path != "-" && std::filesystem::equivalent(path, options.output, failed))
    fail(ErrorCode::usage, "-o {}: is the file of requests itself", options.output);
  const Stopwatch total;
  LineReader lines(path, request_limit_bytes);
  ResultsFile results(options.output, options.resume);
  const GrammarPtr grammar = grammar_of(options);
  const auto [model, sequences] = load_model_for(options, {}, std::numeric_limits<Dim>::max());
  const GenerateOptions generate = generate_options(options, *model, grammar);
  const std::string folder = path == "-" ? "." : std::filesystem::path(path).parent_path().string();
  const auto features = std::make_shared<FeatureCache>();
  Guards guards(options);
  const Context context{options, *model, generate, features, folder.empty() ? "." : folder, guards};
  RequestItems items(context, lines, results);
  ResultsOutput output(results, items);
  Progress progress("requests", 0, Progress::Unit::items, options.quiet, results.kept());
  const ItemCounts counts = run_items(*model, {options, sequences, total, guards, features}, items, output, progress);
  results.sync();
  if (!items.foreign().empty())
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: the result of {} in it has another id: the file belongs to other requests",
                            options.output, items.foreign()),
                options.output);
  log::info("{} requests answered, {} failed, {} were refused, {} were there already", counts.done, counts.failed,
            counts.refused, results.kept());
  if (counts.exit_code() != 0)
    log::warn("{} of {} requests failed or were refused: the \"error\" of their lines says why",
              counts.failed + counts.refused, counts.done + counts.failed + counts.refused);
  return counts.exit_code();
}

}  // namespace tap::cli
