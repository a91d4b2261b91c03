// tools/random_checkpoint writes what the readers read.
#include <cmath>
#include <cstdlib>

#include <sys/wait.h>

#include <doctest/doctest.h>

#include "base/file.h"
#include "io/config_reader.h"
#include "io/hub.h"
#include "io/weights.h"
#include "support/temp_folder.h"

using namespace tap;
using test::TempFolder;

namespace {

int run_tool(const std::string& arguments) {
  const std::string command =
      "/usr/bin/python3 '" TAPETUM_SOURCE_DIR "/tools/random_checkpoint' " + arguments + " >/dev/null 2>&1";
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::string bytes_of_file(const std::string& path) { return read_file(path, std::size_t{64} << 20).value(); }

constexpr const char* tiny = R"({"model_type": "idefics3", "image_token_id": 461, "scale_factor": 2,
  "text_config": {"vocab_size": 463, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 16},
  "vision_config": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 32, "patch_size": 8}})";

}  // namespace

TEST_CASE("a random checkpoint is complete and the same for the same seed") {
  const TempFolder folder;
  folder.write("tiny.json", tiny);
  REQUIRE(run_tool((folder / "tiny.json") + " " + (folder / "a")) == 0);
  REQUIRE(run_tool((folder / "tiny.json") + " " + (folder / "b")) == 0);
  REQUIRE(run_tool((folder / "tiny.json") + " " + (folder / "c") + " --seed 1") == 0);
  CHECK(missing_files(folder / "a").empty());
  CHECK(bytes_of_file(folder / "a/model.safetensors") == bytes_of_file(folder / "b/model.safetensors"));
  CHECK(bytes_of_file(folder / "a/model.safetensors") != bytes_of_file(folder / "c/model.safetensors"));
  CHECK(ConfigReader::load(folder / "a/config.json").value().positive("scale_factor") == 2);

  const Weights w = Weights::open(folder / "a");
  CHECK(w.entries().size() == 59);
  const Tensor key = (w / "model.text_model.layers" / 1 / "self_attn.k_proj").tensor("weight", {16, 48});
  double squares = 0;
  for (const float value : key.values<float>()) {
    CHECK(std::abs(value) < 0.0625f);
    squares += value * value;
  }
  CHECK(std::sqrt(squares / 768) == doctest::Approx(0.017).epsilon(0.2));
  CHECK((w / "model.text_model.norm").tensor("weight", {48}).data<float>()[47] == 1.0f);
}

TEST_CASE("a random checkpoint in shards has the same tensors and refuses a folder in use") {
  const TempFolder folder;
  folder.write("tiny.json", tiny);
  REQUIRE(run_tool((folder / "tiny.json") + " " + (folder / "a") + " --shard-size 60KB") == 0);
  CHECK(missing_files(folder / "a").empty());
  CHECK(Weights::open(folder / "a").entries().size() == 59);
  CHECK(Weights::open(folder / "a").has("lm_head.weight"));
  CHECK(run_tool((folder / "tiny.json") + " " + (folder / "a")) == 1);
  CHECK(run_tool("no-such-shape " + (folder / "x")) == 1);
  CHECK_FALSE(file_exists(folder / "x"));
}

TEST_CASE("random checkpoints of Gemma have the names and files of published ones") {
  const std::string text = R"("hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16)";
  const std::string vision = R"("vision_config": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
    "num_attention_heads": 2, "image_size": 28, "patch_size": 14})";
  const std::string picture_tokens =
      R"("boi_token_index": 700, "eoi_token_index": 701, "image_token_index": 900, "mm_tokens_per_image": 4)";
  const TempFolder folder;
  const auto made = [&](const std::string& name, const std::string& config) {
    folder.write(name + ".json", "{" + config + "}");
    REQUIRE(run_tool((folder / (name + ".json")) + " " + (folder / name)) == 0);
    CHECK(missing_files(folder / name).empty());
    return Weights::open(folder / name);
  };
  const std::string nested = R"("text_config": {"model_type": "gemma3_text", "vocab_size": 910, )" + text + "}, ";
  const Weights gemma = made("gemma", R"("model_type": "gemma3", )" + nested + vision + ", " + picture_tokens);
  CHECK(gemma.has("language_model.model.layers.1.self_attn.q_norm.weight"));
  CHECK(gemma.has("vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias"));
  CHECK((gemma / "language_model.model.norm").tensor("weight", {32}).data<float>()[31] == 0.0f);  // 1 + gain
  CHECK((gemma / "multi_modal_projector").tensor_or_undefined("mm_input_projection_weight", {32, 32}).defined());
  CHECK(made("shield", R"("model_type": "shieldgemma2", )" + nested + vision + ", " + picture_tokens)
            .has("model.language_model.model.embed_tokens.weight"));
  CHECK(made("text", R"("model_type": "gemma3_text", "vocab_size": 900, "image_token_index": 900,
                        "boi_token_index": 700, "eoi_token_index": 701, )" +
                         text)
            .has("model.layers.0.post_feedforward_layernorm.weight"));
  const Weights pali =
      made("pali", R"("model_type": "paligemma", "image_token_index": 2000, "text_config": {"model_type": "gemma",
                      "vocab_size": 2010, )" +
                       text + "}, " + vision);
  CHECK(pali.has("multi_modal_projector.linear.bias"));
  CHECK(!pali.has("language_model.model.layers.0.pre_feedforward_layernorm.weight"));
  CHECK(bytes_of_file(folder / "pali/tokenizer.json").find("<loc1023>") != std::string::npos);
}
