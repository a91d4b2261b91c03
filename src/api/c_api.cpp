// The C interface (include/tapetum.h): the public C++ one behind handles, its exceptions as errors.
#include <algorithm>
#include <cstring>

#include "api/c_results.h"

namespace {

using tap::ErrorCode;

tap::Error usage(const std::string& message, const std::string& item) { return {ErrorCode::usage, message, item}; }

void set(tapetum_error** to, const tap::Error& error) {
  if (to) *to = new tapetum_error{error, std::string(name(error.code()))};
}

// The exception being handled, as an error; none where not even that has memory.
void report(tapetum_error** to) noexcept {
  try {
    try {
      throw;
    } catch (const tap::Error& thrown) {
      set(to, thrown);
    } catch (const std::bad_alloc&) {
      set(to, {ErrorCode::out_of_memory, "out of memory"});
    } catch (const std::exception& thrown) {
      set(to, {ErrorCode::internal, std::string("internal error (please report it): ") + thrown.what()});
    }
  } catch (...) {
  }
}

// What fn gives, or `failed` and an error: nothing is thrown into C.
template <class T, class Fn>
T or_error(tapetum_error** error, T failed, Fn&& fn) noexcept {
  try {
    return fn();
  } catch (...) {
    report(error);
  }
  return failed;
}

template <class T>
T& need(T* pointer, const char* name) {
  if (!pointer) throw usage(std::string(name) + " is NULL", name);
  return *pointer;
}

std::string text_of(const char* text, const char* name) { return &need(text, name); }
std::string text_or_empty(const char* text) { return text ? text : ""; }

template <class T>
std::span<const T> list_of(const T* items, std::size_t count, const char* name) {
  if (count > 0) need(items, name);
  return {items, count};
}

std::vector<std::string> texts_of(const char* const* items, std::size_t count, const char* name) {
  std::vector<std::string> all;
  for (const char* item : list_of(items, count, name)) all.push_back(text_of(item, name));
  return all;
}

std::vector<tap::Image> images_of(tapetum_image* const* images, std::size_t count) {
  std::vector<tap::Image> all;
  for (tapetum_image* image : list_of(images, count, "images")) all.push_back(need(image, "images").image);
  return all;
}

std::vector<tap::Guard> guards_of(tapetum_guard* const* guards, std::size_t count, const char* name) {
  std::vector<tap::Guard> all;
  for (tapetum_guard* guard : list_of(guards, count, name)) all.push_back(need(guard, name).guard);
  return all;
}

// Options of this version from those of the caller's, which may be shorter.
template <class Options>
Options known(const Options* given, const Options& defaults) {
  if (!given) return defaults;
  if (given->size < sizeof(std::size_t) || given->size > sizeof(Options))
    throw usage("options.size is " + std::to_string(given->size) +
                    ": begin with the _INIT of a header no newer than this library, " + std::string(tap::version()),
                "options");
  Options all = defaults;
  std::memcpy(&all, given, given->size);
  return all;
}

tap::KeepOn keep_on_of(bool (*keep_on)(void*), void* user) {
  if (!keep_on) return {};
  return [keep_on, user] { return keep_on(user); };
}

tap::AskOptions ask_options(const tapetum_options* given) {
  const tapetum_options from = known(given, TAPETUM_OPTIONS_INIT);
  tap::AskOptions options;
  options.max_tokens = from.max_tokens;
  const auto set_or_own = [](double value) {
    return value < 0 ? std::nullopt : std::optional<float>(static_cast<float>(value));
  };
  options.temperature = set_or_own(from.temperature);
  options.top_p = set_or_own(from.top_p);
  options.min_p = set_or_own(from.min_p);
  if (from.top_k >= 0) options.top_k = from.top_k;
  options.seed = from.seed;
  options.stop = texts_of(from.stop, from.stop_count, "stop");
  options.choices = texts_of(from.choices, from.choice_count, "choices");
  options.regex = text_or_empty(from.regex);
  options.json_schema = text_or_empty(from.json_schema);
  options.keep_on = keep_on_of(from.keep_on, from.user);
  return options;
}

tap::Dtype dtype_of(const std::string& name) {
  constexpr std::pair<const char*, tap::Dtype> all[] = {{"auto", tap::Dtype::automatic},
                                                        {"f32", tap::Dtype::f32},
                                                        {"bf16", tap::Dtype::bf16},
                                                        {"q8", tap::Dtype::q8},
                                                        {"q4", tap::Dtype::q4}};
  for (const auto& [known_name, dtype] : all)
    if (name == known_name) return dtype;
  throw usage("dtype is \"" + name + "\": must be auto, f32, bf16, q8 or q4", "dtype");
}

}  // namespace

extern "C" {

const char* tapetum_version(void) {
  static const std::string version(tap::version());
  return version.c_str();
}

const char* tapetum_error_code(const tapetum_error* error) { return error ? error->code.c_str() : ""; }
const char* tapetum_error_message(const tapetum_error* error) { return error ? error->error.what() : ""; }
const char* tapetum_error_item(const tapetum_error* error) { return error ? error->error.item().c_str() : ""; }
void tapetum_error_free(tapetum_error* error) { delete error; }

void tapetum_on_warning(void (*sink)(const char*, void*), void* user) {
  or_error(nullptr, false, [&] {
    if (sink)
      tap::on_warning([sink, user](std::string_view line) { sink(std::string(line).c_str(), user); });
    else
      tap::on_warning({});
    return true;
  });
}

tapetum_image* tapetum_image_load(const char* path, tapetum_error** error) {
  return or_error(error, static_cast<tapetum_image*>(nullptr),
                  [&] { return new tapetum_image{tap::Image::load(text_of(path, "path"))}; });
}

tapetum_image* tapetum_image_decode(const void* bytes, size_t size, const char* name, tapetum_error** error) {
  return or_error(error, static_cast<tapetum_image*>(nullptr), [&] {
    const std::span data = list_of(static_cast<const std::byte*>(bytes), size, "bytes");
    return new tapetum_image{tap::Image::decode(data, name ? name : "picture")};
  });
}

tapetum_image* tapetum_image_fetch(const char* url, tapetum_error** error) {
  return or_error(error, static_cast<tapetum_image*>(nullptr),
                  [&] { return new tapetum_image{tap::Image::fetch(text_of(url, "url"))}; });
}

tapetum_image* tapetum_image_from_rgb(int64_t width, int64_t height, const uint8_t* rgb, size_t size,
                                      tapetum_error** error) {
  return or_error(error, static_cast<tapetum_image*>(nullptr),
                  [&] { return new tapetum_image{tap::Image::from_rgb(width, height, list_of(rgb, size, "rgb"))}; });
}

int64_t tapetum_image_width(const tapetum_image* image) { return image ? image->image.width() : 0; }
int64_t tapetum_image_height(const tapetum_image* image) { return image ? image->image.height() : 0; }
const uint8_t* tapetum_image_rgb(const tapetum_image* image) { return image ? image->image.rgb().data() : nullptr; }

bool tapetum_image_save(const tapetum_image* image, const char* path, tapetum_error** error) {
  return or_error(error, false, [&] {
    need(image, "image").image.save(text_of(path, "path"));
    return true;
  });
}

void tapetum_image_free(tapetum_image* image) { delete image; }

tapetum_model* tapetum_model_load(const char* name, const tapetum_load_options* options, tapetum_error** error) {
  return or_error(error, static_cast<tapetum_model*>(nullptr), [&] {
    const tapetum_load_options from = known(options, TAPETUM_LOAD_OPTIONS_INIT);
    const tap::LoadOptions load{from.dtype ? dtype_of(from.dtype) : tap::Dtype::automatic, from.threads,
                                keep_on_of(from.keep_on, from.user)};
    return new tapetum_model{tap::Model::load(text_of(name, "name"), load)};
  });
}

const char* tapetum_model_name(const tapetum_model* model) { return model ? model->model.name().c_str() : ""; }
int64_t tapetum_model_context(const tapetum_model* model) { return model ? model->model.context() : 0; }
int64_t tapetum_model_width(const tapetum_model* model) { return model ? model->model.width() : 0; }
bool tapetum_model_can_detect(const tapetum_model* model) { return model && model->model.can_detect(); }
void tapetum_model_free(tapetum_model* model) { delete model; }

tapetum_answer* tapetum_ask(const tapetum_model* model, tapetum_image* const* images, size_t image_count,
                            const char* question, const tapetum_options* options, tapetum_error** error) {
  return or_error(error, static_cast<tapetum_answer*>(nullptr), [&]() -> tapetum_answer* {
    const auto seen = images_of(images, image_count);
    return new tap::c::AnswerResult(
        need(model, "model").model.chat().ask(text_of(question, "question"), seen, ask_options(options)));
  });
}

tapetum_outcomes* tapetum_ask_all(const tapetum_model* model, const tapetum_question* questions, size_t count,
                                  int64_t at_once, const tapetum_options* options, tapetum_error** error) {
  return or_error(error, static_cast<tapetum_outcomes*>(nullptr), [&]() -> tapetum_outcomes* {
    std::vector<std::vector<tap::Message>> all;
    for (const tapetum_question& one : list_of(questions, count, "questions")) {
      tap::Message message;
      for (tap::Image& image : images_of(one.images, one.image_count)) message.parts.push_back({{}, std::move(image)});
      message.parts.push_back({text_of(one.question, "question"), {}});
      all.push_back({std::move(message)});
    }
    return new tap::c::OutcomesResult(need(model, "model").model.answer_all(all, ask_options(options), at_once));
  });
}

tapetum_chat* tapetum_chat_new(const tapetum_model* model, const tapetum_chat_options* options, tapetum_error** error) {
  return or_error(error, static_cast<tapetum_chat*>(nullptr), [&] {
    const tapetum_chat_options from = known(options, TAPETUM_CHAT_OPTIONS_INIT);
    tap::ChatOptions how;
    how.system = text_or_empty(from.system);
    how.context = from.context;
    how.before = guards_of(from.before, from.before_count, "before");
    how.behind = guards_of(from.behind, from.behind_count, "behind");
    return new tapetum_chat{need(model, "model").model.chat(how)};
  });
}

tapetum_answer* tapetum_chat_ask(tapetum_chat* chat, tapetum_image* const* images, size_t image_count,
                                 const char* question, const tapetum_options* options, tapetum_error** error) {
  return tapetum_chat_stream(chat, images, image_count, question, options, nullptr, nullptr, error);
}

tapetum_answer* tapetum_chat_stream(tapetum_chat* chat, tapetum_image* const* images, size_t image_count,
                                    const char* question, const tapetum_options* options,
                                    bool (*piece)(const char*, void*), void* user, tapetum_error** error) {
  return or_error(error, static_cast<tapetum_answer*>(nullptr), [&]() -> tapetum_answer* {
    const auto seen = images_of(images, image_count);
    tap::Stream stream = need(chat, "chat").chat.stream(text_of(question, "question"), seen, ask_options(options));
    for (const std::string& text : stream)
      if (piece && !piece(text.c_str(), user)) throw tap::Error(ErrorCode::cancelled, "cancelled by piece");
    return new tap::c::AnswerResult(stream.answer());
  });
}

int64_t tapetum_chat_turns(const tapetum_chat* chat) { return chat ? chat->chat.turns() : 0; }

bool tapetum_chat_clear(tapetum_chat* chat, tapetum_error** error) {
  return or_error(error, false, [&] {
    need(chat, "chat").chat.clear();
    return true;
  });
}

void tapetum_chat_free(tapetum_chat* chat) { delete chat; }

tapetum_detections* tapetum_detect(const tapetum_model* model, const tapetum_image* image, const char* phrase,
                                   const tapetum_options* options, tapetum_error** error) {
  return or_error(error, static_cast<tapetum_detections*>(nullptr), [&]() -> tapetum_detections* {
    return new tap::c::DetectionsResult(
        need(model, "model").model.detect(need(image, "image").image, text_of(phrase, "phrase"), ask_options(options)));
  });
}

tapetum_detections* tapetum_segment(const tapetum_model* model, const tapetum_image* image, const char* phrase,
                                    const char* mask_weights, const tapetum_options* options, tapetum_error** error) {
  return or_error(error, static_cast<tapetum_detections*>(nullptr), [&]() -> tapetum_detections* {
    return new tap::c::DetectionsResult(need(model, "model")
                                            .model.segment(need(image, "image").image, text_of(phrase, "phrase"),
                                                           text_or_empty(mask_weights), ask_options(options)));
  });
}

tapetum_image* tapetum_draw(const tapetum_image* image, const tapetum_detections* detections, tapetum_error** error) {
  return or_error(error, static_cast<tapetum_image*>(nullptr), [&] {
    const tap::Image& from = need(image, "image").image;
    const auto size = static_cast<std::size_t>(from.width() * from.height());
    std::vector<tap::Detection> found;
    const tapetum_detections& given = need(detections, "detections");
    for (const tapetum_detection& one : list_of(given.items, given.count, "detections")) {
      tap::Detection& to = found.emplace_back();
      to.label = text_or_empty(one.label);
      to.box = {one.x1, one.y1, one.x2, one.y2};
      if (one.is_point) to.point = tap::Point{one.x1, one.y1};
      if (one.mask) to.mask = tap::Mask{from.width(), from.height(), {one.mask, one.mask + size}};
    }
    return new tapetum_image{tap::draw(from, found)};
  });
}

tapetum_counts* tapetum_count(const tapetum_model* model, const tapetum_image* image, const char* phrase,
                              const tapetum_options* options, tapetum_error** error) {
  return or_error(error, static_cast<tapetum_counts*>(nullptr), [&]() -> tapetum_counts* {
    return new tap::c::CountsResult(
        need(model, "model").model.count(need(image, "image").image, text_of(phrase, "phrase"), ask_options(options)));
  });
}

tapetum_vector* tapetum_embed(const tapetum_model* model, const tapetum_image* image, const char* text,
                              tapetum_error** error) {
  return or_error(error, static_cast<tapetum_vector*>(nullptr), [&]() -> tapetum_vector* {
    const tap::Model& from = need(model, "model").model;
    if (!image && !text) throw usage("embed: give a picture, a text or both", "image");
    if (!image) return new tap::c::VectorResult(from.embed(std::string_view(text)));
    return new tap::c::VectorResult(text ? from.embed(image->image, text) : from.embed(image->image));
  });
}

tapetum_guard* tapetum_guard_load(const char* name, const tapetum_guard_options* options, tapetum_error** error) {
  return or_error(error, static_cast<tapetum_guard*>(nullptr), [&] {
    const tapetum_guard_options from = known(options, TAPETUM_GUARD_OPTIONS_INIT);
    tap::GuardOptions how;
    how.policies = texts_of(from.policies, from.policy_count, "policies");
    how.threshold = from.threshold;
    how.threads = from.threads;
    return new tapetum_guard{tap::Guard::load(text_of(name, "name"), how)};
  });
}

bool tapetum_guard_judges_pictures(const tapetum_guard* guard) { return guard && guard->guard.judges_pictures(); }
bool tapetum_guard_judges_texts(const tapetum_guard* guard) { return guard && guard->guard.judges_texts(); }

tapetum_safety* tapetum_guard_image(tapetum_guard* guard, const tapetum_image* image, tapetum_error** error) {
  return or_error(error, static_cast<tapetum_safety*>(nullptr), [&]() -> tapetum_safety* {
    return new tap::c::SafetyResult(need(guard, "guard").guard.judge(need(image, "image").image));
  });
}

tapetum_safety* tapetum_guard_text(tapetum_guard* guard, const char* text, tapetum_error** error) {
  return or_error(error, static_cast<tapetum_safety*>(nullptr), [&]() -> tapetum_safety* {
    return new tap::c::SafetyResult(need(guard, "guard").guard.judge(text_of(text, "text")));
  });
}

tapetum_safety* tapetum_guard_answer(tapetum_guard* guard, const char* question, const char* answer,
                                     tapetum_error** error) {
  return or_error(error, static_cast<tapetum_safety*>(nullptr), [&]() -> tapetum_safety* {
    return new tap::c::SafetyResult(
        need(guard, "guard").guard.judge_answer(text_of(question, "question"), text_of(answer, "answer")));
  });
}

void tapetum_guard_free(tapetum_guard* guard) { delete guard; }
void tapetum_answer_free(tapetum_answer* answer) { delete static_cast<tap::c::AnswerResult*>(answer); }
void tapetum_outcomes_free(tapetum_outcomes* outcomes) { delete static_cast<tap::c::OutcomesResult*>(outcomes); }
void tapetum_detections_free(tapetum_detections* found) { delete static_cast<tap::c::DetectionsResult*>(found); }
void tapetum_counts_free(tapetum_counts* counts) { delete static_cast<tap::c::CountsResult*>(counts); }
void tapetum_vector_free(tapetum_vector* vector) { delete static_cast<tap::c::VectorResult*>(vector); }
void tapetum_safety_free(tapetum_safety* safety) { delete static_cast<tap::c::SafetyResult*>(safety); }

}  // extern "C"
