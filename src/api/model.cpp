#include "api/internal.h"

#include <cmath>

namespace tap::v1 {

namespace {

constexpr int most_threads = 4096;

tap::Dtype dtype_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::automatic: return tap::Dtype::automatic;
    case Dtype::f32: return tap::Dtype::f32;
    case Dtype::bf16: return tap::Dtype::bf16;
    case Dtype::q8: return tap::Dtype::q8;
    case Dtype::q4: return tap::Dtype::q4;
  }
  throw Error(ErrorCode::usage, "no such dtype", "dtype");
}

}  // namespace

Model Model::load(const std::string& name, const LoadOptions& options) {
  tap::LoadOptions load;
  load.dtype = dtype_of(options.dtype);
  if (options.threads < 0 || options.threads > most_threads)
    throw Error(ErrorCode::usage,
                fmt::format("threads is {}, must be from 0 (automatic) to {}", options.threads, most_threads),
                "threads");
  return api::guarded([&] {
    const auto engine = std::make_shared<api::Engine>(options.threads);
    api::with_engine(*engine, options.keep_on, [&] {
      engine->model = load_model(model_folder(name), load);
      const TokenId any = 0;
      engine->width = engine->model->network().embed({&any, 1}).dim(1);
    });
    return api::Access::model(engine);
  });
}

const std::string& Model::name() const noexcept { return engine_->model->name(); }
std::int64_t Model::context() const noexcept { return engine_->model->context(); }
std::int64_t Model::width() const noexcept { return engine_->width; }
bool Model::can_detect() const noexcept { return engine_->model->grounding().has_value(); }

Chat Model::chat(const ChatOptions& options) const {
  if (options.context < 0)
    throw Error(ErrorCode::usage, fmt::format("context is {}, must be at least 0 (the model's)", options.context),
                "context");
  return api::with_engine(*engine_, {}, [&] {
    auto talk = std::make_shared<api::Talk>();
    talk->engine = engine_;
    talk->before = options.before;
    talk->behind = options.behind;
    for (const Guard& guard : options.behind) (void)AnswerFilter({api::Access::judge(guard).guard.get()}, {}, {});
    talk->session = std::make_unique<Session>(*engine_->model, SessionOptions{options.context, engine_->features});
    if (!options.system.empty()) talk->conversation.system(options.system);
    std::ranges::move(api::inner_messages(options.earlier), std::back_inserter(talk->conversation.messages));
    talk->first_turn = talk->conversation.messages.size();
    return api::Access::chat(std::move(talk));
  });
}

Answer Model::ask(const Image& image, std::string_view question, const AskOptions& options) const {
  return chat().ask(question, {image}, options);
}

namespace {

Detections found_in(api::Engine& engine, const Image& image, std::string_view phrase, const DetectOptions& how,
                    const AskOptions& options) {
  Session session(*engine.model, {0, engine.features});
  const DetectTask task(*engine.model, phrase, how);
  return tap::detect(session, task, api::Access::picture(image), api::generate_options(options, engine));
}

std::vector<Detection> public_detections(const Detections& found) {
  std::vector<Detection> all;
  for (const tap::Detection& d : found.objects) {
    Detection& one = all.emplace_back(Detection{d.label, {d.box.x1, d.box.y1, d.box.x2, d.box.y2}, d.score});
    if (d.point) one.point = Point{d.point->x, d.point->y};
    if (d.mask) one.mask = Mask{d.mask->width, d.mask->height, pixels_of(*d.mask)};
  }
  return all;
}

}  // namespace

std::vector<Detection> Model::detect(const Image& image, std::string_view phrase, const AskOptions& options) const {
  return api::with_engine(*engine_, options.keep_on,
                          [&] { return public_detections(found_in(*engine_, image, phrase, {}, options)); });
}

std::vector<Detection> Model::segment(const Image& image, std::string_view phrase, const std::string& mask_weights,
                                      const AskOptions& options) const {
  return api::with_engine(*engine_, options.keep_on, [&] {
    DetectOptions how;
    how.usual = Want::Kind::segment;
    how.mask_weights = mask_weights;
    return public_detections(found_in(*engine_, image, phrase, how, options));
  });
}

std::vector<Count> Model::count(const Image& image, std::string_view phrase, const AskOptions& options) const {
  return api::with_engine(*engine_, options.keep_on, [&] {
    DetectOptions how;
    how.usual = Want::Kind::count;
    std::vector<Count> all;
    for (const tap::Count& count : found_in(*engine_, image, phrase, how, options).counts)
      all.push_back({count.label, count.boxes, count.answered});
    return all;
  });
}

std::vector<float> Model::embed(const Image& image, const KeepOn& keep_on) const {
  return api::with_engine(*engine_, keep_on, [&] {
    Session session(*engine_->model, {0, engine_->features});
    return embed_picture(session, *api::Access::picture(image));
  });
}

std::vector<float> Model::embed(std::string_view text, const KeepOn& keep_on) const {
  return api::with_engine(*engine_, keep_on, [&] {
    if (text.empty()) fail(tap::ErrorCode::bad_input, "embed: the text is empty");
    Session session(*engine_->model, {0, engine_->features});
    return embed_prompt(session, bare_prompt(*engine_->model, text));
  });
}

std::vector<float> Model::embed(const Image& image, std::string_view text, const KeepOn& keep_on) const {
  return api::with_engine(*engine_, keep_on, [&] {
    if (text.empty()) fail(tap::ErrorCode::bad_input, "embed: the text is empty");
    Session session(*engine_->model, {0, engine_->features});
    const Conversation conversation = Conversation().user(std::string(text), {api::Access::picture(image)});
    return embed_prompt(session, engine_->model->prepare(conversation));
  });
}

double cosine(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size())
    throw Error(ErrorCode::usage, fmt::format("cosine of vectors of {} and {} numbers", a.size(), b.size()));
  double product = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    product += double{a[i]} * b[i];
    aa += double{a[i]} * a[i];
    bb += double{b[i]} * b[i];
  }
  return aa > 0 && bb > 0 ? std::clamp(product / (std::sqrt(aa) * std::sqrt(bb)), -1.0, 1.0) : 0;
}

}  // namespace tap::v1
