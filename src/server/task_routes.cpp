#include "server/task_routes.h"

#include <bit>
#include <limits>

#include <openssl/evp.h>

#include "server/chat_reply.h"
#include "server/json_fields.h"
#include "tasks/detect.h"
#include "tasks/embed.h"
#include "tasks/results_json.h"

namespace tap::server {

namespace {

constexpr std::string_view json_type = "application/json";
constexpr std::size_t most_inputs = 256;

void respond(HttpExchange& exchange, const Json& json) { exchange.respond(200, json_type, to_json_line(json)); }

void only_known(const Json& body, std::initializer_list<std::string_view> keys) {
  for (const auto& [key, value] : body.items())
    if (std::ranges::find(keys, std::string_view(key)) == keys.end())
      throw Error(ErrorCode::bad_input, fmt::format("unknown field {}", shown(key)), key.substr(0, 60));
}

// Questions about one picture, one after the other.
struct Finding : std::enable_shared_from_this<Finding> {
  std::shared_ptr<HttpExchange> exchange;
  std::shared_ptr<Engine> engine;
  std::shared_ptr<const DetectTask> task;
  std::shared_ptr<const Image> image;
  GenerateOptions generate;
  std::string model, system, owner;
  Asker asker;
  std::shared_ptr<void> place;  // all of its questions are answered before the server ends
  std::vector<Answer> answers;

  void next() {
    Job job{BatchRequest{engine->model().prepare(task->conversation(answers.size(), image, system)), generate, owner}};
    job.asker = asker;
    job.on_end = [self = shared_from_this()](BatchGenerator::Finished finished) { self->got(std::move(finished)); };
    cancel_when_gone(*exchange, engine->submit(std::move(job)));
  }
  void got(BatchGenerator::Finished finished) {
    if (finished.error) return respond_error(*exchange, *finished.error);
    answer_errors(*exchange, [&] {
      answers.push_back(std::move(finished.answer));
      if (answers.size() < task->questions()) return next();
      respond(*exchange, result());
    });
  }
  Json result() const {
    const Detections found = task->result(image->width, image->height, answers);
    Json json = {{"object", "detections"},
                 {"model", engine->model().name()},
                 {"width", image->width},
                 {"height", image->height}};
    json.update(detections_json(found));
    json["usage"] = {{"prompt_tokens", found.timings.prompt_tokens},
                     {"completion_tokens", found.timings.output_tokens}};
    return json;
  }
};

struct Input {
  std::string text;
  std::shared_ptr<const Image> image;
};

Input input_at(const Json& value, const std::string& at, const MediaReader& media) {
  if (value.is_string()) return {value.get<std::string>(), nullptr};
  const JsonFields part(value, at);
  const std::string& type = part.need_word("type", {"text", "image_url"});
  if (type == "text") return {part.need_text("text"), nullptr};
  const Json& url = part.need("image_url");
  const std::string& text =
      url.is_string() ? url.get_ref<const std::string&>() : JsonFields(url, at + ".image_url").need_text("url");
  return {{}, media.picture(text, at)};
}

std::vector<Input> inputs_of(const Asked& asked, const Json& body) {
  const Json& value = JsonFields(body, "").need("input");
  if (!value.is_array()) return {input_at(value, "input", asked.media)};
  if (value.empty()) refuse("input", value, "a text, a picture or a list of them");
  if (value.size() > most_inputs)
    throw Error(ErrorCode::limit, fmt::format("input has {} entries, the limit is {}", value.size(), most_inputs),
                "input");
  std::vector<Input> inputs;
  for (std::size_t i = 0; i < value.size(); ++i)
    inputs.push_back(input_at(value[i], fmt::format("input[{}]", i), asked.media));
  return inputs;
}

// Runs `work` on the engine's thread and answers with what it gives.
void compute(const Asked& asked, std::function<Json()> work) {
  const auto result = std::make_shared<Json>();
  Job job;
  job.work = [work = std::move(work), result] { *result = work(); };
  job.on_end = [exchange = asked.exchange, result](const BatchGenerator::Finished& finished) {
    finished.error ? respond_error(*exchange, *finished.error) : respond(*exchange, *result);
  };
  job.asker = asked.asker;
  cancel_when_gone(*asked.exchange, asked.engine->submit(std::move(job)));
}

// Little-endian floats, as OpenAI's client asks for them.
std::string base64_of(const std::vector<float>& values) {
  static_assert(std::endian::native == std::endian::little);
  const std::size_t bytes = values.size() * sizeof(float);
  std::string text(4 * ((bytes + 2) / 3) + 1, '\0');  // EVP_EncodeBlock ends it with a zero
  const auto* data = reinterpret_cast<const unsigned char*>(values.data());
  text.resize(static_cast<std::size_t>(
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), data, static_cast<int>(bytes))));
  return text;
}

Conversation shown_of(const std::vector<Input>& inputs) {
  Conversation shown;
  for (const Input& input : inputs) input.image ? shown.user("", {input.image}) : shown.user(input.text);
  return shown;
}

}  // namespace

void detect(const Asked& asked, const Json& json) {
  only_known(json, {"model", "image", "prompt", "task", "system", "max_tokens", "temperature", "seed"});
  const JsonFields body(json, "");
  const std::string* word = body.word("task", {"detect", "segment", "count", "point"});
  DetectOptions how;
  how.usual = !word || *word == "detect" ? Want::Kind::detect
              : *word == "segment"       ? Want::Kind::segment
              : *word == "count"         ? Want::Kind::count
                                         : Want::Kind::point;
  const auto finding = std::make_shared<Finding>();
  finding->exchange = asked.exchange;
  finding->engine = asked.engine;
  finding->generate = asked.generate;
  finding->model = asked.model;
  finding->owner = asked.owner;
  finding->asker = asked.asker;
  finding->place = asked.place;
  if (const auto tokens = body.whole("max_tokens", 1, std::numeric_limits<std::int32_t>::max()))
    finding->generate.max_tokens = *tokens;
  if (const auto temperature = body.number("temperature", 0, 100))
    finding->generate.sampling.temperature = static_cast<float>(*temperature);
  if (const auto seed = body.whole("seed", INT64_MIN, INT64_MAX))
    finding->generate.sampling.seed = static_cast<std::uint64_t>(*seed);
  if (const std::string* system = body.text("system")) finding->system = *system;
  finding->task = std::make_shared<const DetectTask>(asked.engine->model(), body.need_text("prompt"), how);
  const Json& image = body.need("image");
  finding->image = asked.media.picture(
      image.is_string() ? image.get_ref<const std::string&>() : JsonFields(image, "image").need_text("url"), "image");
  Conversation shown;
  shown.user_about({finding->image, nullptr}, body.need_text("prompt"));
  after_judging(asked, shown, [finding] { finding->next(); });
}

void moderate(const Asked& asked, const Json& body) {
  only_known(body, {"model", "input"});
  const auto own = asked.engine->shared_model();
  Guards& guards = asked.post.guards;
  if (!own->safety_head() && guards.empty())
    throw Error(ErrorCode::unsupported, "this server has no guard: start it with --guard, or with a model that is one");
  auto inputs = std::make_shared<std::vector<Input>>(inputs_of(asked, body));
  compute(asked, [inputs, own, &guards] {
    std::optional<Guard> itself;
    if (own->safety_head()) itself.emplace(own, GuardOptions{});
    std::string judged_by;
    Json results = Json::array();
    for (const Input& input : *inputs) {
      Guard& guard = itself ? *itself : guards.first_of(input.image != nullptr);
      judged_by = guard.name();
      results.push_back(safety_json(input.image ? guard.judge_picture(input.image) : guard.judge_text(input.text)));
    }
    return Json{{"id", "modr-" + random_id()}, {"model", judged_by}, {"results", std::move(results)}};
  });
}

void embed(const Asked& asked, const Json& body) {
  only_known(body, {"model", "input", "encoding_format", "user"});
  const std::string* format = JsonFields(body, "").word("encoding_format", {"float", "base64"});
  const bool packed = format && *format == "base64";
  auto inputs = std::make_shared<std::vector<Input>>(inputs_of(asked, body));
  auto work = [inputs, packed, engine = asked.engine.get(), name = asked.model] {
    Session session(engine->model(), {.context = engine->context(), .features = nullptr});
    Json data = Json::array();
    Dim tokens = 0;
    for (std::size_t i = 0; i < inputs->size(); ++i) {
      const Input& input = (*inputs)[i];
      std::vector<float> vector;
      if (input.image) {
        vector = embed_picture(session, *input.image);
      } else {
        const PreparedPrompt prompt = bare_prompt(engine->model(), input.text);
        tokens += prompt.prompt.rows();
        vector = embed_prompt(session, prompt);
      }
      data.push_back(
          {{"object", "embedding"}, {"index", i}, {"embedding", packed ? Json(base64_of(vector)) : Json(vector)}});
    }
    return Json{{"object", "list"},
                {"model", name},
                {"data", std::move(data)},
                {"usage", {{"prompt_tokens", tokens}, {"total_tokens", tokens}}}};
  };
  after_judging(asked, shown_of(*inputs), [asked, work = std::move(work)] { compute(asked, work); });
}

void tokenize(const Asked& asked, const Json& json) {
  only_known(json, {"model", "messages", "prompt", "tools", "tool_choice", "mm_processor_kwargs", "media_io_kwargs"});
  const Model& model = asked.engine->model();
  Json reply;
  const JsonFields body(json, "");
  if (const std::string* text = body.text("prompt")) {
    if (body.find("messages")) refuse("messages", "stands beside prompt: give one of them");
    (void)clip_wish_of_body(json);
    const std::vector<TokenId> ids = bare_prompt(model, *text).prompt.ids;
    reply = {{"count", ids.size()}, {"tokens", ids}};
  } else {
    const ChatRequest request = parse_chat_request(json, asked.generate, model.tokenizer().size());
    const PreparedPrompt prompt = model.prepare(asked.media.conversation(request, model));
    Json pictures = Json::array();
    for (const ImagePlan& plan : prompt.plans)
      pictures.push_back({{"width", plan.source.width},
                          {"height", plan.source.height},
                          {"tiles", plan.tiles()},
                          {"tokens", plan.tokens}});
    reply = {{"count", prompt.prompt.rows()}, {"tokens", prompt.prompt.ids}, {"pictures", std::move(pictures)}};
  }
  reply["max_model_len"] = asked.engine->context();
  respond(*asked.exchange, reply);
}

}  // namespace tap::server
