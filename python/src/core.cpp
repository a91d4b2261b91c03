// tapetum._core: the C++ library (include/tapetum) for Python, as thin as it can be: values in, plain values out. What
// users see (dataclasses, PIL, iterators) is made of it in tapetum/*.py.
//
// The global interpreter lock is let go while the library works, and Ctrl-C is looked for meanwhile: KeepOn runs on the
// calling thread after every layer.
#include <chrono>
#include <cstdint>
#include <map>
#include <span>
#include <string>

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <tapetum/tapetum.h>

namespace nb = nanobind;

namespace {

using Pixels = nb::ndarray<const std::uint8_t, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;

// Asks for signals at most every 20 ms: taking the lock costs more than a layer of a small network.
tap::KeepOn signals() {
  return [last = std::chrono::steady_clock::now()]() mutable {
    const auto now = std::chrono::steady_clock::now();
    if (now - last < std::chrono::milliseconds(20)) return true;
    last = now;
    const nb::gil_scoped_acquire lock;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    return true;
  };
}

PyObject* from_code = nullptr;  // tapetum.errors._from_code

nb::object error_object(const tap::Error& error) {
  return nb::handle(from_code)(std::string(tap::name(error.code())), error.what(), error.item());
}

template <class Fn>
auto without_lock(Fn&& fn) {
  const nb::gil_scoped_release released;
  return fn();
}

tap::Dtype dtype_of(const std::string& name) {
  if (name == "auto") return tap::Dtype::automatic;
  if (name == "f32") return tap::Dtype::f32;
  if (name == "bf16") return tap::Dtype::bf16;
  if (name == "q8") return tap::Dtype::q8;
  if (name == "q4") return tap::Dtype::q4;
  throw tap::Error(tap::ErrorCode::usage, "dtype is \"" + name + "\": must be auto, f32, bf16, q8 or q4", "dtype");
}

template <class T>
T get(const nb::dict& options, const char* key, T otherwise) {
  return options.contains(key) ? nb::cast<T>(options[key]) : otherwise;
}
template <class T>
std::optional<T> get_some(const nb::dict& options, const char* key) {
  return options.contains(key) ? std::optional<T>(nb::cast<T>(options[key])) : std::nullopt;
}

// Of keyword arguments that tapetum/model.py has checked the names of.
tap::AskOptions ask_options(const nb::dict& from) {
  tap::AskOptions options;
  options.max_tokens = get<std::int64_t>(from, "max_tokens", 512);
  options.temperature = get_some<float>(from, "temperature");
  options.top_p = get_some<float>(from, "top_p");
  options.top_k = get_some<std::int64_t>(from, "top_k");
  options.min_p = get_some<float>(from, "min_p");
  options.seed = get<std::uint64_t>(from, "seed", 0);
  options.stop = get<std::vector<std::string>>(from, "stop", {});
  options.choices = get<std::vector<std::string>>(from, "choices", {});
  options.regex = get<std::string>(from, "regex", "");
  options.json_schema = get<std::string>(from, "json_schema", "");
  options.keep_on = signals();
  return options;
}

nb::dict answer_dict(const tap::Answer& answer) {
  nb::dict out;
  out["text"] = answer.text;
  out["finish_reason"] = std::string(tap::name(answer.finish));
  out["prompt_tokens"] = answer.prompt_tokens;
  out["image_tokens"] = answer.image_tokens;
  out["cached_tokens"] = answer.cached_tokens;
  out["output_tokens"] = answer.output_tokens;
  out["first_token_ms"] = answer.first_token_ms;
  out["total_ms"] = answer.total_ms;
  return out;
}

// [height, width] of 0 and 1; the array owns its copy.
nb::object mask_array(const tap::Mask& mask) {
  auto* pixels = new std::vector<std::uint8_t>(mask.pixels);
  const nb::capsule owner(pixels, [](void* p) noexcept { delete static_cast<std::vector<std::uint8_t>*>(p); });
  const std::size_t shape[2] = {static_cast<std::size_t>(mask.height), static_cast<std::size_t>(mask.width)};
  return nb::cast(nb::ndarray<nb::numpy, std::uint8_t>(pixels->data(), 2, shape, owner));
}

nb::object vector_array(const std::vector<float>& values) {
  auto* copy = new std::vector<float>(values);
  const nb::capsule owner(copy, [](void* p) noexcept { delete static_cast<std::vector<float>*>(p); });
  const std::size_t shape[1] = {copy->size()};
  return nb::cast(nb::ndarray<nb::numpy, float>(copy->data(), 1, shape, owner));
}

nb::list detection_list(const std::vector<tap::Detection>& found) {
  nb::list out;
  for (const tap::Detection& one : found) {
    nb::dict row;
    row["label"] = one.label;
    row["box"] = nb::make_tuple(one.box.x1, one.box.y1, one.box.x2, one.box.y2);
    row["score"] = one.score ? nb::cast(*one.score) : nb::none();
    row["point"] = one.point ? nb::object(nb::make_tuple(one.point->x, one.point->y)) : nb::none();
    row["mask"] = one.mask ? mask_array(*one.mask) : nb::none();
    out.append(row);
  }
  return out;
}

// [(role, [text or Image, …]), …]; tapetum/messages.py has checked the shapes.
std::vector<tap::Message> message_list(const nb::handle& from) {
  std::vector<tap::Message> all;
  for (const nb::handle given : from) {
    const std::string role = nb::cast<std::string>(given[0]);
    tap::Message& message = all.emplace_back();
    message.role = role == "system" ? tap::Role::system : role == "user" ? tap::Role::user : tap::Role::assistant;
    for (const nb::handle part : nb::object(given[1]))
      message.parts.push_back(nb::isinstance<tap::Image>(part) ? tap::Part{{}, nb::cast<tap::Image>(part)}
                                                               : tap::Part{nb::cast<std::string>(part), {}});
  }
  return all;
}

// What tapetum/results.py has of a detection, for drawing.
tap::Detection detection_of(const nb::handle& from) {
  tap::Detection one;
  one.label = nb::cast<std::string>(from.attr("label"));
  const auto [x1, y1, x2, y2] = nb::cast<std::tuple<float, float, float, float>>(from.attr("box"));
  one.box = {x1, y1, x2, y2};
  if (const nb::object point = from.attr("point"); !point.is_none()) {
    const auto [x, y] = nb::cast<std::tuple<float, float>>(point);
    one.point = tap::Point{x, y};
  }
  if (const nb::object mask = from.attr("mask"); !mask.is_none()) {
    const auto pixels = nb::cast<nb::ndarray<const std::uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>>(mask);
    one.mask = tap::Mask{static_cast<std::int64_t>(pixels.shape(1)),
                         static_cast<std::int64_t>(pixels.shape(0)),
                         {pixels.data(), pixels.data() + pixels.size()}};
  }
  return one;
}

nb::dict safety_dict(const tap::Safety& safety) {
  nb::dict out;
  out["flagged"] = safety.flagged;
  out["checked"] = safety.checked;
  nb::list scores;
  for (const tap::PolicyScore& score : safety.scores) {
    nb::dict row;
    row["policy"] = score.policy;
    row["p_violates"] = score.p_violates;
    row["threshold"] = score.threshold;
    row["violates"] = score.violates;
    scores.append(row);
  }
  out["scores"] = scores;
  return out;
}

}  // namespace

NB_MODULE(_core, m) {
  nb::set_leak_warnings(false);  // a model that lives until the interpreter ends is no leak
  // tapetum/errors.py gives each code a class of its own. Never released: the interpreter may be gone by then.
  from_code = nb::object(nb::module_::import_("tapetum.errors").attr("_from_code")).release().ptr();
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const tap::Error& error) {
      const nb::object made = error_object(error);
      PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(made.ptr())), made.ptr());
    }
  });

  m.attr("version") = std::string(tap::version());

  nb::class_<tap::Image>(m, "Image")
      .def_static("load", [](const std::string& path) { return without_lock([&] { return tap::Image::load(path); }); })
      .def_static("decode",
                  [](const nb::bytes& bytes, const std::string& name) {
                    const auto* data = static_cast<const std::byte*>(bytes.data());
                    return without_lock([&] { return tap::Image::decode(std::span(data, bytes.size()), name); });
                  })
      .def_static("fetch", [](const std::string& url) { return without_lock([&] { return tap::Image::fetch(url); }); })
      .def_static("from_pixels",
                  [](const Pixels& pixels) {
                    return tap::Image::from_rgb(static_cast<std::int64_t>(pixels.shape(1)),
                                                static_cast<std::int64_t>(pixels.shape(0)),
                                                std::span(pixels.data(), pixels.size()));
                  })
      .def_prop_ro("width", &tap::Image::width)
      .def_prop_ro("height", &tap::Image::height)
      .def("png",
           [](const tap::Image& image) {
             const std::vector<std::byte> png = without_lock([&] { return image.png(); });
             return nb::bytes(png.data(), png.size());
           })
      // [height, width, 3] uint8, read-only: the picture's own memory.
      .def("pixels", [](const nb::handle_t<tap::Image>& self) {
        const auto& image = nb::cast<const tap::Image&>(self);
        const std::size_t shape[3] = {static_cast<std::size_t>(image.height()), static_cast<std::size_t>(image.width()),
                                      3};
        return nb::cast(nb::ndarray<nb::numpy, const std::uint8_t>(image.rgb().data(), 3, shape, self));
      });

  nb::class_<tap::Guard>(m, "Guard")
      .def_static("load",
                  [](const std::string& name, const std::vector<std::string>& policies,
                     const std::vector<std::pair<std::string, std::string>>& own, double threshold,
                     const std::map<std::string, double>& thresholds, int threads) {
                    const tap::GuardOptions options{policies, own, threshold, thresholds, threads};
                    return without_lock([&] { return tap::Guard::load(name, options); });
                  })
      .def_prop_ro("judges_pictures", &tap::Guard::judges_pictures)
      .def_prop_ro("judges_texts", &tap::Guard::judges_texts)
      .def("judge_picture",
           [](tap::Guard& guard, const tap::Image& image) {
             return safety_dict(without_lock([&] { return guard.judge(image, signals()); }));
           })
      .def("judge_text",
           [](tap::Guard& guard, const std::string& text) {
             return safety_dict(without_lock([&] { return guard.judge(std::string_view(text), signals()); }));
           })
      .def("judge_answer", [](tap::Guard& guard, const std::string& question, const std::string& answer) {
        return safety_dict(without_lock([&] { return guard.judge_answer(question, answer, signals()); }));
      });

  nb::class_<tap::Stream>(m, "Stream")
      .def("next", [](tap::Stream& stream) { return without_lock([&] { return stream.next(); }); })
      .def("answer", [](const tap::Stream& stream) { return answer_dict(stream.answer()); });

  nb::class_<tap::Chat>(m, "Chat")
      .def("ask",
           [](tap::Chat& chat, const std::string& question, const std::vector<tap::Image>& images,
              const nb::dict& options) {
             const tap::AskOptions how = ask_options(options);
             return answer_dict(without_lock([&] { return chat.ask(question, images, how); }));
           })
      .def("stream",
           [](tap::Chat& chat, const std::string& question, const std::vector<tap::Image>& images,
              const nb::dict& options) {
             const tap::AskOptions how = ask_options(options);
             return without_lock([&] { return chat.stream(question, images, how); });
           })
      .def_prop_ro("turns", &tap::Chat::turns)
      .def("clear", [](tap::Chat& chat) { without_lock([&] { chat.clear(); }); });

  nb::class_<tap::Model>(m, "Model")
      .def_static("load",
                  [](const std::string& name, const std::string& dtype, int threads) {
                    const tap::LoadOptions options{dtype_of(dtype), threads, signals()};
                    return without_lock([&] { return tap::Model::load(name, options); });
                  })
      .def_prop_ro("name", &tap::Model::name)
      .def_prop_ro("context", &tap::Model::context)
      .def_prop_ro("width", &tap::Model::width)
      .def_prop_ro("can_detect", &tap::Model::can_detect)
      .def("chat",
           [](const tap::Model& model, const std::string& system, std::int64_t context,
              const std::vector<tap::Guard>& before, const std::vector<tap::Guard>& behind, const nb::list& earlier) {
             const tap::ChatOptions options{system, context, before, behind, message_list(earlier)};
             return without_lock([&] { return model.chat(options); });
           })
      .def("answer_all",  // of each an Answer's dict, or the exception that ended it
           [](const tap::Model& model, const nb::list& conversations, const nb::dict& options, std::int64_t at_once) {
             std::vector<std::vector<tap::Message>> all;
             for (const nb::handle one : conversations) all.push_back(message_list(one));
             const tap::AskOptions how = ask_options(options);
             const auto outcomes = without_lock([&] { return model.answer_all(all, how, at_once); });
             nb::list out;
             for (const tap::Outcome& one : outcomes)
               out.append(one.answer ? nb::object(answer_dict(*one.answer)) : error_object(*one.error));
             return out;
           })
      .def("detect",
           [](const tap::Model& model, const tap::Image& image, const std::string& phrase, const nb::dict& options) {
             const tap::AskOptions how = ask_options(options);
             return detection_list(without_lock([&] { return model.detect(image, phrase, how); }));
           })
      .def("segment",
           [](const tap::Model& model, const tap::Image& image, const std::string& phrase,
              const std::string& mask_weights, const nb::dict& options) {
             const tap::AskOptions how = ask_options(options);
             return detection_list(without_lock([&] { return model.segment(image, phrase, mask_weights, how); }));
           })
      .def("count",
           [](const tap::Model& model, const tap::Image& image, const std::string& phrase, const nb::dict& options) {
             const tap::AskOptions how = ask_options(options);
             const auto counts = without_lock([&] { return model.count(image, phrase, how); });
             nb::list out;
             for (const tap::Count& one : counts) {
               nb::dict row;
               row["label"] = one.label;
               row["boxes"] = one.boxes;
               row["answered"] = one.answered ? nb::cast(*one.answered) : nb::none();
               out.append(row);
             }
             return out;
           })
      .def("embed_picture",
           [](const tap::Model& model, const tap::Image& image) {
             return vector_array(without_lock([&] { return model.embed(image, signals()); }));
           })
      .def("embed_text",
           [](const tap::Model& model, const std::string& text) {
             return vector_array(without_lock([&] { return model.embed(std::string_view(text), signals()); }));
           })
      .def("embed_both", [](const tap::Model& model, const tap::Image& image, const std::string& text) {
        return vector_array(without_lock([&] { return model.embed(image, text, signals()); }));
      });

  m.def("draw", [](const tap::Image& image, const nb::list& detections) {
    std::vector<tap::Detection> found;
    for (const nb::handle one : detections) found.push_back(detection_of(one));
    return without_lock([&] { return tap::draw(image, found); });
  });
}
