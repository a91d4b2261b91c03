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
