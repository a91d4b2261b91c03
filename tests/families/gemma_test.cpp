// What Gemma has that other families have not: windows, blocks of rows that see each other, crops, two namings of its
// weights, members without pictures.
#include "golden.h"

#include <cstring>
#include <fstream>

#include <doctest/doctest.h>

#include "runtime/batch_generator.h"

using namespace tap;
using golden::picture;
using golden::Run;
using golden::run;
using golden::tokens;

namespace {

const std::string folder = golden::root + "/gemma3/checkpoint";

std::unique_ptr<Model> model_of(const Json& change = {}, const Json& processor = {}) {
  return load_model(folder,
                    {.dtype = Dtype::f32, .config_change = change, .processor_options = processor, .weights = true});
}

double worst(const Run& a, const Run& b) {
  if (a.ids != b.ids) return INFINITY;
  double most = 0;
  for (std::size_t i = 0; i < a.logits.size(); ++i) most = std::max(most, golden::max_abs(a.logits[i], b.logits[i]));
  return most;
}

// `rows` rows of ordinary tokens with a block of picture rows every 50.
Prompt long_prompt(const Model& model, Dim rows) {
  std::vector<TokenId> ids;
  for (Dim i = 0; i < rows; ++i)
    ids.push_back(i % 50 >= 40 && i % 50 < 44 ? 590 : static_cast<TokenId>(20 + i * 7 % 500));
  return model.processor().from_ids(ids);
}

// The checkpoint with its tensors renamed.
void rename(const std::filesystem::path& file, const std::function<std::string(std::string)>& name) {
  const std::string bytes = read_file(file.string(), 1 << 24).value();
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  const Json stored = Json::parse(bytes.substr(8, length));
  Json header = Json::object();
  for (const auto& [key, value] : stored.items()) header[key == "__metadata__" ? key : name(key)] = value;
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  length = text.size();
  std::uint64_t before = 0;
  std::memcpy(&before, bytes.data(), 8);
  std::ofstream out(file, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&length), 8);
  out << text << bytes.substr(8 + before);
}

}  // namespace

TEST_CASE("a windowed cache gives what one full forward gives over many windows") {
  const auto model = model_of();
  const Network& network = model->network();
  const Prompt prompt = long_prompt(*model, 300);
  const Tensor x = network.embed(prompt.ids);
  const Tensor full = network.forward(x, prompt.batch(0, prompt.rows()), nullptr);
  for (const Dim spare : {1, 7, 512})
    for (const Dim chunk : {1, 5, 64}) {
      CAPTURE(spare);
      CAPTURE(chunk);
      KvShape shape = network.kv_shape();
      REQUIRE(shape.windows == std::vector<Dim>{12, 12, 0, 12});
      shape.spare = spare;
      KvCache cache(shape, DType::f32, prompt.rows());
      for (Dim begin = 0; begin < prompt.rows();) {
        Dim end = std::min(begin + chunk, prompt.rows());
        for (const Span& span : prompt.atomic)
          if (span.begin < end && end < span.end) end = span.begin > begin ? span.begin : span.end;
        const Tensor part = network.forward(x.rows(begin, end), prompt.batch(begin, end), &cache);
        CHECK(golden::max_abs(part, full.rows(begin, end)) < 1e-4);
        begin = end;
      }
      if (spare == 512) continue;
      CHECK(cache.truncate(20) == 0);
    }
}

TEST_CASE("a session whose windows have moved on reuses rows while they are held and else reads again") {
  const auto model = model_of();
  const auto image = picture(40, 30);
  std::string story;
  for (int i = 0; i < 700; ++i) story += fmt::format("line {} ", i % 97);
  const auto talk = [&](const std::string& end) { return Conversation().user("Look. " + story + end, {image}); };
  REQUIRE(model->prepare(talk("?")).prompt.rows() > 2000);
  Session session(*model);
  run(session, talk("Why?"), 4);
  const Run near = run(session, talk("How?"), 4);  // differs at its end: the windows still hold what is before
  CHECK(near.timings.cached_tokens > 1500);
  Session fresh(*model);
  CHECK(worst(near, run(fresh, talk("How?"), 4)) < 1e-4);
  const Conversation other =
      Conversation().user("Look. line 0 line 1 and that is all.", {image});  // differs far before
  const Run far = run(session, other, 4);
  CHECK(far.timings.cached_tokens == 0);
  Session again(*model);
  CHECK(worst(far, run(again, other, 4)) < 1e-4);
  CHECK(session.pictures_encoded() == 1);
}

TEST_CASE("a batch of long and short windowed prompts answers as each alone, with q8 weights to the bit") {
  for (const auto& [dtype, tolerance] : {std::pair{Dtype::f32, 2e-4}, std::pair{Dtype::q8, 0.0}}) {
    LoadOptions options;
    options.dtype = dtype;
    const auto model = load_model(folder, options);
    const auto image = picture(40, 30);
    std::vector<Conversation> talks;
    for (const int words : {3, 700, 40, 320}) {
      std::string text;
      for (int i = 0; i < words; ++i) text += fmt::format("w{} ", i % 13);
      talks.push_back(Conversation().user(text, {image}));
    }
    BatchGenerator batch(*model, {.sequences = 3, .context = 0, .rows_per_step = 600, .features = nullptr});
    std::vector<Run> runs(talks.size());
    std::size_t next = 0;
    while (next < talks.size() || !batch.idle()) {
      for (; next < talks.size() && batch.has_room(); ++next) CHECK(batch.add(talks[next], tokens(40)) == next);
      for (const auto& event : batch.step().events) {
        runs[event.id].ids.push_back(event.token.id);
        runs[event.id].logits.push_back(event.logits);
      }
    }
    for (std::size_t i = 0; i < talks.size(); ++i) {
      CAPTURE(i);
      Session session(*model);
      CHECK(worst(runs[i], run(session, talks[i], 40)) <= tolerance);
    }
  }
}

TEST_CASE("a picture's rows see each other and rows before it do not see it") {
  const auto model = model_of();
  const Prompt prompt = model->processor().from_ids(std::vector<TokenId>{2, 20, 590, 590, 590, 21, 590, 22});
  CHECK(prompt.intervals == std::vector<Interval>{{0, 1}, {0, 2}, {0, 5}, {0, 5}, {0, 5}, {0, 6}, {0, 7}, {0, 8}});
  REQUIRE(prompt.atomic.size() == 2);
  CHECK(prompt.atomic[0].begin == 2);
  CHECK(prompt.atomic[0].end == 5);
  CHECK(prompt.slots == std::vector<Dim>{2, 3, 4, 6});
}

TEST_CASE("pan and scan cuts long pictures into two to four crops and leaves others whole") {
  const auto model = model_of({}, {{"do_pan_and_scan", true}, {"pan_and_scan_min_crop_size", 30}});
  const auto crops = [&](Dim width, Dim height) { return model->processor().plan(width, height).crops; };
  CHECK(crops(100, 100).empty());
  CHECK(crops(119, 100).empty());
  CHECK(crops(120, 100) == std::vector<RectPx>{{0, 0, 60, 100}, {60, 0, 60, 100}});
  CHECK(crops(100, 249) == std::vector<RectPx>{{0, 0, 100, 125}, {0, 125, 100, 124}});
  CHECK(crops(1000, 100).size() == 4);
  CHECK(crops(100, 29).empty());  // a crop's shorter edge would be under 30
  CHECK(model->processor().plan(120, 100).tokens == 12);
  const auto off = model_of();
  CHECK(off->processor().plan(1000, 100).crops.empty());
  CHECK(off->processor().plan(1000, 100).tokens == 4);
}

TEST_CASE("a picture with crops is looked at through a session as its golden was") {
  const auto model = model_of({}, {{"do_pan_and_scan", true}, {"pan_and_scan_min_crop_size", 30}});
  Session session(*model);
  const Run result = run(session, Conversation().user("What?", {picture(160, 60)}), 2);
  CHECK(result.timings.image_tokens == 16);
  CHECK(session.pictures_encoded() == 1);
}

TEST_CASE("both namings of the weights load as the same model") {
  const auto plain = model_of();
  const Prompt prompt = long_prompt(*plain, 30);
  const auto logits = [&](const Model& model) {
    const Network& network = model.network();
    return network.logits(network.forward(network.embed(prompt.ids), prompt.batch(0, prompt.rows()), nullptr));
  };
  const golden::Copy copy(folder);
  rename(copy.folder / "model.safetensors", [](std::string name) {
    const auto replace = [&](const std::string& from, const std::string& to) {
      if (name.starts_with(from)) name = to + name.substr(from.size());
    };
    replace("language_model.model.", "model.language_model.");
    replace("vision_tower.vision_model.", "model.vision_tower.");
    replace("multi_modal_projector.", "model.multi_modal_projector.");
    return name;
  });
  LoadOptions options;
  options.dtype = Dtype::f32;
  const auto renamed = load_model(copy.folder.string(), options);
  CHECK(golden::max_abs(logits(*plain), logits(*renamed)) == 0);
  const Tensor pixels = Tensor::zeros({1, 3, 56, 56});
  CHECK(golden::max_abs(plain->network().see(pixels, {}), renamed->network().see(pixels, {})) == 0);
}

TEST_CASE("[B06] configs of Gemma that contradict themselves are refused by key") {
  const auto error = [&](const Json& change) {
    try {
      model_of(change);
      return std::string("loaded");
    } catch (const Error& e) {
      return e.message();
    }
  };
  const auto refuses = [&](const std::string& key, const Json& value) {
    CAPTURE(key);
    CAPTURE(value.dump());
    CHECK(error({{key, value}}).starts_with("config.json: " + key));
  };
  refuses("mm_tokens_per_image", 3);
  refuses("mm_tokens_per_image", 9);
  refuses("image_token_index", 5000);
  refuses("image_token_index", 40);
  refuses("boi_token_index", 40);
  refuses("text_config.head_dim", 15);
  refuses("text_config.query_pre_attn_scalar", 0);
  refuses("text_config.sliding_window", 0);
  refuses("text_config.attn_logit_softcapping", -1);
  refuses("text_config.layer_types", {"full_attention"});
  refuses("text_config.layer_types", {"a", "b", "c", "d"});
  refuses("text_config.hidden_activation", "relu");
  refuses("text_config.use_bidirectional_attention", true);
  refuses("text_config.tie_word_embeddings", false);
  refuses("text_config.rope_local_base_freq", -1);
  // The same layers by their names, and rope as newer files write it.
  CHECK(error({{"text_config.layer_types",
                {"sliding_attention", "sliding_attention", "full_attention", "sliding_attention"}},
               {"text_config.rope_scaling", nullptr},
               {"text_config.rope_theta", nullptr},
               {"text_config.rope_local_base_freq", nullptr},
               {"text_config.rope_parameters",
                {{"full_attention", {{"rope_type", "linear"}, {"factor", 8}, {"rope_theta", 1e6}}},
                 {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 1e4}}}}}}) == "loaded");
}

TEST_CASE("a classifier says which two tokens answer and brings its policies, other checkpoints say nothing") {
  const auto head = [](const char* name, const Json& change = {}) {
    LoadOptions options;
    options.weights = false;
    options.config_change = change;
    return load_model(golden::root + "/" + name + "/checkpoint", options)->safety_head();
  };
  const auto shield = head("shieldgemma2");
  REQUIRE(shield);
  CHECK(shield->yes == 307);
  CHECK(shield->no == 91);
  REQUIRE(shield->policies.size() == 3);
  CHECK(shield->policies[0].name == "dangerous");
  CHECK(shield->policies[2].text.starts_with("No Violence/Gore content: The image shall not contain"));
  CHECK(head("shieldgemma1"));
  CHECK(head("shieldgemma1")->policies.size() == 4);
  CHECK(!head("gemma3"));
  CHECK(!head("gemma3_text"));
  CHECK(!head("smolvlm"));
  CHECK_THROWS_AS(head("shieldgemma2", {{"yes_token_index", 5000}}), Error);
}

TEST_CASE("a classifier's prompts share all rows before the policy and pictures get no crops") {
  const auto model = load_model(
      golden::root + "/shieldgemma2/checkpoint",
      {.dtype = Dtype::f32, .config_change = {}, .processor_options = {{"do_pan_and_scan", true}}, .weights = true});
  CHECK(model->processor().plan(1000, 100).crops.empty());
  const auto image = picture(100, 60);
  Session session(*model);
  const auto head = model->safety_head();
  run(session, Conversation().user(head->policies[0].text, {image}), 1);
  const Run second = run(session, Conversation().user(head->policies[1].text, {image}), 1);
  CHECK(second.timings.cached_tokens > 80);
  CHECK(session.pictures_encoded() == 1);
}

TEST_CASE("a picture given to a model that reads text only is one error") {
  for (const char* name : {"gemma3_text", "shieldgemma1"}) {
    CAPTURE(name);
    const auto model = load_model(golden::root + "/" + name + "/checkpoint");
    try {
      model->prepare(Conversation().user("What is it?", {picture(20, 20)}));
      FAIL("no error");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::unsupported);
      CHECK(error.message() == "this model reads text only: it takes no pictures");
    }
    Session session(*model);
    CHECK(run(session, Conversation().user("Who are you?"), 3).ids.size() == 3);
  }
}
