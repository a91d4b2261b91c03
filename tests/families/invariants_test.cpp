// What must hold for every family, unasked: families.inc says which there are, each must have a golden folder here.
#include "golden.h"

#include <cstring>
#include <fstream>
#include <map>

#include <doctest/doctest.h>

#include "autograd/tape.h"
#include "base/rng.h"

using namespace tap;

namespace {

// Calls fn(model, prompt, features) once per checkpoint, and checks that every family of families.inc was among them.
void for_each_family(auto fn) {
  std::map<std::string, int> seen;
  for (const golden::Folder& folder : golden::folders()) {
    CAPTURE(folder.name);
    const auto model = golden::load(folder);
    const golden::Case& one = folder.cases.front();
    ++seen[model->family().name];
    const auto [prompt, features] = golden::sample(one, *model);
    fn(folder, *model, prompt, features);
  }
  for (const Family& family : families()) {
    CAPTURE(family.name);
    CHECK_MESSAGE(seen[family.name] > 0, "a family without a golden folder in tests/families");
  }
}

// `row`, or the begin of the atomic span that it would cut.
Dim uncut(const Prompt& prompt, Dim row) {
  for (const Span& span : prompt.atomic)
    if (span.begin < row && row < span.end) return span.begin;
  return row;
}

std::string load_error(const std::string& folder, const LoadOptions& options = {}) {
  try {
    load_model(folder, options);
    return "loaded";
  } catch (const Error& error) {
    CHECK(error.code() != ErrorCode::internal);
    CHECK(error.message().find('\n') == std::string::npos);
    return error.message();
  }
}

std::string load_error_with(const std::string& folder, const Json& change) {
  LoadOptions options;
  options.config_change = change;
  return load_error(folder, options);
}

}  // namespace

TEST_CASE("a cache filled in chunks gives what one full forward gives") {
  for_each_family([](const golden::Folder&, const Model& model, const Prompt& prompt, const Tensor& features) {
    const Network& network = model.network();
    const Tensor x = golden::embedded(model, prompt, features);
    const Tensor full = network.forward(x, prompt.batch(0, prompt.rows()), nullptr);
    KvCache cache(network.kv_shape(), DType::f32, network.context());
    Dim begin = 0;
    for (const Dim size : {Dim{1}, Dim{7}, Dim{1}, Dim{16}, prompt.rows()}) {
      Dim end = uncut(prompt, std::min(begin + size, prompt.rows()));
      for (const Span& span : prompt.atomic)
        if (span.begin == begin && end == begin) end = span.end;
      const Tensor part = network.forward(x.rows(begin, end), prompt.batch(begin, end), &cache);
      CHECK(golden::max_abs(part, full.rows(begin, end)) < 1e-4);
      begin = end;
    }
    CHECK(cache.rows() == prompt.rows());
    const Dim middle = uncut(prompt, std::min<Dim>(20, prompt.rows() - 1));  // and again from the middle
    cache.truncate(middle);
    const Tensor part = network.forward(x.rows(middle, prompt.rows()), prompt.batch(middle, prompt.rows()), &cache);
    CHECK(golden::max_abs(part, full.rows(middle, prompt.rows())) < 1e-4);
  });
}

TEST_CASE("a ragged batch gives what its sequences give one by one") {
  for_each_family([](const golden::Folder&, const Model& model, const Prompt& prompt, const Tensor& features) {
    const Network& network = model.network();
    const Tensor x = golden::embedded(model, prompt, features);
    const std::vector<Span> cuts{
        {0, 5}, {3, prompt.rows()}, {9, 10}};  // three stretches of the rows as three sequences
    KvCache cache(network.kv_shape(), DType::f32, network.context(), 3);
    for (const bool cached : {false, true}) {
      Batch batch;
      batch.positions.resize(prompt.positions.size());
      std::vector<Tensor> rows, singles;
      for (const Span& cut : cuts) {
        const Batch one = Batch::causal(cut.rows());
        batch.sequences.push_back({batch.rows(), batch.rows() + cut.rows(), 0});
        for (auto& axis : batch.positions) axis.insert(axis.end(), one.positions[0].begin(), one.positions[0].end());
        batch.intervals.insert(batch.intervals.end(), one.intervals.begin(), one.intervals.end());
        rows.push_back(x.rows(cut.begin, cut.end));
        singles.push_back(network.forward(rows.back(), one, nullptr));
      }
      const Tensor together = network.forward(ops::concat_rows(rows), batch, cached ? &cache : nullptr);
      CHECK(golden::max_abs(together, ops::concat_rows(singles)) < 1e-4);
    }
  });
}

TEST_CASE("a model loaded again gives the same bits") {
  for_each_family([](const golden::Folder& folder, const Model& model, const Prompt& prompt, const Tensor& features) {
    const auto again = golden::load(folder);
    const auto run = [&](const Model& m) {
      return m.network().logits(
          m.network().forward(golden::embedded(m, prompt, features), prompt.batch(0, prompt.rows()), nullptr));
    };
    const Tensor a = run(model), b = run(*again);
    CHECK(std::memcmp(a.raw(), b.raw(), static_cast<std::size_t>(a.bytes())) == 0);
  });
}

TEST_CASE("bf16 and quantized weights stay near f32") {
  for_each_family([](const golden::Folder& folder, const Model& model, const Prompt& prompt, const Tensor& features) {
    const auto run = [&](const Model& m) {
      return m.network().logits(
          m.network().forward(golden::embedded(m, prompt, features), prompt.batch(0, prompt.rows()), nullptr));
    };
    const Tensor exact = run(model);
    for (const auto& [dtype, least] :
         {std::pair{Dtype::bf16, 0.9995}, std::pair{Dtype::q8, 0.998}, std::pair{Dtype::q4, 0.93}}) {
      CAPTURE(name(dtype));
      const Tensor y = run(*golden::load(folder, dtype));
      double dot = 0, xx = 0, yy = 0;
      for (Dim i = 0; i < y.elements(); ++i) {
        const double a = exact.data<float>()[i], b = y.data<float>()[i];
        dot += a * b, xx += a * a, yy += b * b;
      }
      CHECK(dot / std::sqrt(xx * yy) > least);
    }
  });
}

TEST_CASE("the tape's gradient equals a finite difference") {
  for_each_family([](const golden::Folder&, const Model& model, const Prompt& prompt, const Tensor& features) {
    const Network& network = model.network();
    const Dim rows = 12;
    const Batch batch = Batch::causal(rows);
    const Tensor start = golden::embedded(model, prompt, features).rows(0, rows).clone();
    Rng rng(3);
    const auto noise = [&](const Shape& shape) {
      Tensor t = Tensor::empty(shape);
      for (Dim i = 0; i < t.elements(); ++i) t.write<float>()[i] = static_cast<float>(rng.uniform() * 2 - 1);
      return t;
    };
    const Tensor direction = noise(start.shape()), seed = noise({rows, network.vocab()});
    const auto dot = [](const Tensor& a, const Tensor& b) {
      double sum = 0;
      for (Dim i = 0; i < a.elements(); ++i) sum += static_cast<double>(a.data<float>()[i]) * b.data<float>()[i];
      return sum;
    };
    const auto value = [&](float step) {
      return dot(network.logits(network.forward(start + ops::scale(direction, step), batch, nullptr)), seed);
    };
    const float step = 1e-2f;
    const double difference = (value(step) - value(-step)) / (2.0 * static_cast<double>(step));
    Tape tape;
    Tensor x = start.clone();
    Tape::watch(x);
    const Tensor y = network.logits(network.forward(x, batch, nullptr));
    tape.backward(y, seed);
    const double slope = dot(tape.grad(x), direction);
    CHECK(slope == doctest::Approx(difference).epsilon(0.02));
    CHECK(std::abs(slope) > 1e-3);
  });
}

TEST_CASE("cut weights are an error that names the file") {
  for (const golden::Folder& folder : golden::folders()) {
    CAPTURE(folder.name);
    const golden::Copy copy(folder.checkpoint);
    const auto file = copy.folder / "model.safetensors";
    const auto size = std::filesystem::file_size(file);
    CHECK(load_error(copy.folder) == "loaded");
    for (const auto keep : {size * 99 / 100, size / 2, std::uintmax_t{4000}, std::uintmax_t{7}, std::uintmax_t{0}}) {
      CAPTURE(keep);
      std::filesystem::resize_file(file, keep);
      CHECK(load_error(copy.folder).find("model.safetensors") != std::string::npos);
    }
    std::filesystem::remove(file);
    CHECK(load_error(copy.folder).find("model.safetensors") != std::string::npos);
  }
}

TEST_CASE("[B06] configs that cannot be are refused by file and key and value") {
  for (const golden::Folder& folder : golden::folders()) {
    CAPTURE(folder.name);
    const auto error = [&](const Json& change) { return load_error_with(folder.checkpoint, change); };
    CHECK(error({}) == "loaded");
    const Json config = Json::parse(read_file(folder.checkpoint + "/config.json", 1 << 20).value());
    const bool nested = config.contains("text_config");  // a text-only model has its keys at the top
    std::vector<std::string> parts{nested ? "text_config." : ""};
    if (config.contains("vision_config")) parts.push_back("vision_config.");
    for (const std::string& part : parts)
      for (const char* key : {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"})
        for (const Json& value :
             {Json(0), Json(-4), Json(std::uint64_t{1} << 31), Json(1e308), Json("48"), Json(2.5), Json::array({48})}) {
          const std::string dotted = part + key;
          CAPTURE(dotted);
          CAPTURE(value.dump());
          const std::string message = error({{dotted, value}});
          CHECK(message.starts_with("config.json: " + dotted));
        }
    const std::string text = parts[0], file = "config.json: ";
    const auto refuses = [&](const std::string& key, const Json& value) {
      CAPTURE(key);
      CAPTURE(value.dump());
      CHECK(error({{key, value}}).starts_with(fmt::format("config.json: {}", key)));
    };
    refuses(text + "num_key_value_heads", 5);
    refuses(text + "vocab_size", std::uint64_t{1} << 31);
    refuses(text + "rope_theta", -1);
    refuses(text + "rope_theta", "NaN");
    refuses(text + "rms_norm_eps", -1);
    refuses(text + "hidden_act", "relu");
    CHECK(error({{text + "rope_scaling", {{"rope_type", "yarn"}}}})
              .starts_with(file + text + "rope_scaling.rope_type is \"yarn\""));
    CHECK(error({{text + "num_hidden_layers", 2000000000}, {text + "layer_types", nullptr}}) ==
          file + text + "num_hidden_layers is 2000000000: the weights have no layer 1999999999");
    CHECK(error({{text + "intermediate_size", 95}}).find("shape [96, 48], config wants [95, 48]") != std::string::npos);
    const std::string wide = error({{text + "hidden_size", 2000000000}, {text + "head_dim", 16}});
    CHECK((wide.find("config wants [") != std::string::npos || wide.starts_with(file)));
    if (parts.size() == 1) continue;
    refuses("vision_config.num_attention_heads", 3);
    refuses("vision_config.patch_size", 0);
    refuses("vision_config.patch_size", 64);
    refuses("vision_config.hidden_act", "swish9");
    CHECK(error({{"vision_config.num_hidden_layers", 3}}) ==
          "config.json: vision_config.num_hidden_layers is 3: the weights have no layer 2");
  }
}

TEST_CASE("[B06] configs of SmolVLM that contradict themselves are refused by key") {
  for (const char* name : {"smolvlm", "smolvlm2"}) {
    CAPTURE(name);
    const std::string folder = golden::root + "/" + name + "/checkpoint";
    const auto error = [&](const Json& change) { return load_error_with(folder, change); };
    CHECK(error({{"text_config.num_attention_heads", 5}, {"text_config.head_dim", nullptr}}) ==
          "config.json: text_config.num_attention_heads is 5: does not divide hidden_size 48");
    CHECK(error({{"scale_factor", 9}}).starts_with("config.json: scale_factor is 9"));
    CHECK(error({{"image_token_id", 5000}}).starts_with("config.json: image_token_id is 5000"));
    CHECK(error({{"image_token_id", 40}}).starts_with("config.json: image_token_id is 40"));  // an ordinary token
    const std::string wide = error({{"text_config.hidden_size", 2000000000}, {"text_config.head_dim", 16}});
    CHECK(wide.find("embed_tokens.weight: shape [463, 48], config wants [463, 2000000000]") != std::string::npos);
  }
}

TEST_CASE("[B06] a config with NaN in it is refused before anything is loaded") {
  const golden::Copy copy(golden::root + "/smolvlm/checkpoint");
  std::ofstream(copy.folder / "config.json")
      << R"({"architectures": ["Idefics3ForConditionalGeneration"], "text_config": {"rope_theta": NaN}})";
  CHECK(load_error(copy.folder).starts_with("config.json"));
}

TEST_CASE("a config changed by dotted keys is the one that runs") {
  LoadOptions options;
  options.dtype = Dtype::f32;
  options.config_change = {{"text_config.num_hidden_layers", 1}, {"text_config.max_position_embeddings", 99}};
  const auto model = load_model(golden::root + "/smolvlm/checkpoint", options);
  CHECK(model->network().kv_shape().layers == 1);
  CHECK(model->context() == 99);
}

TEST_CASE("text-only models and unknown architectures are named with what is supported") {
  const std::string folder = golden::root + "/smolvlm/checkpoint";
  const std::string text_only =
      load_error_with(folder, {{"architectures", {"LlamaForCausalLM"}}, {"vision_config", nullptr}});
  CHECK(text_only.starts_with("config.json: architectures is \"LlamaForCausalLM\": a text-only model"));
  CHECK(text_only.find("SmolVLMForConditionalGeneration") != std::string::npos);
  CHECK(load_error_with(folder, {{"architectures", {"NovelForConditionalGeneration"}}})
            .starts_with("config.json: architectures is \"NovelForConditionalGeneration\""));
  CHECK(load_error_with(folder, {{"architectures", nullptr}}).starts_with("config.json: architectures"));
  CHECK(load_error("/nonexistent/model").find("/nonexistent/model") != std::string::npos);
}
