"""Where models come from, and folders that are none."""

import json
import os
import shutil

from support import FAMILIES, NANO, SAMPLES, Case, environment, write_safetensors

ROOF = SAMPLES / "roof.png"


class Names(Case):
    def hub(self, name="acme/tiny"):
        """A hub cache with nano under `name`, laid out as huggingface_hub does."""
        cache = self.folder / "hub"
        repo = cache / ("models--" + name.replace("/", "--"))
        snapshot = repo / "snapshots" / "0123abc"
        snapshot.mkdir(parents=True)
        (repo / "blobs").mkdir()
        (repo / "refs").mkdir()
        (repo / "refs" / "main").write_text("0123abc")
        for i, source in enumerate(sorted(NANO.glob("*.json")) + [NANO / "model.safetensors"]):
            blob = repo / "blobs" / f"{i:040x}"
            shutil.copyfile(source, blob)
            (snapshot / source.name).symlink_to(os.path.relpath(blob, snapshot))
        return cache

    def test_a_cached_model_is_found_by_name(self):
        cache = self.hub()
        self.assertIn("bird", self.good("-m", "acme/tiny", ROOF, "What is on the roof?", env=environment(HF_HUB_CACHE=str(cache))))
        self.assertIn("bird", self.good("-m", "acme/tiny", ROOF, "What is on the roof?", env=environment(HF_HOME=str(self.folder))))
        self.assertIn("acme/tiny", [m["name"] for m in self.good_json("list", env=environment(HF_HUB_CACHE=str(cache)))])

    def test_a_model_that_is_not_there_says_where_it_looked(self):
        self.bad("-m", "acme/none", ROOF, "x", env=environment(HF_HOME=str(self.folder)), says=["acme/none", str(self.folder / "hub"), "download"])
        self.bad("-m", "./none", ROOF, "x", says="./none")

    def test_no_home_is_fine(self):
        env = environment(HOME=None)
        self.assertIn("bird", self.good(ROOF, "What is on the roof?", env=env))
        self.bad("-m", "acme/none", ROOF, "x", env=env, says="acme/none")

    def test_B10_a_link_out_of_the_snapshot_is_refused(self):
        cache = self.hub()
        config = cache / "models--acme--tiny/snapshots/0123abc/config.json"
        config.unlink()
        outside = self.folder / "secret.json"
        shutil.copyfile(NANO / "config.json", outside)
        config.symlink_to(outside)
        self.bad("-m", "acme/tiny", ROOF, "x", env=environment(HF_HUB_CACHE=str(cache)), says="config.json")


class PackedCache(Case):
    def test_the_packed_cache_is_listed_and_cleared(self):
        env = environment(TAPETUM_PACKED_CACHE=str(self.folder))
        self.assertEqual(self.good_json("cache", env=env), {"folder": str(self.folder), "bytes": 0, "most_bytes": 64 << 30, "files": []})
        ours, theirs = self.folder / "broken-0123456789abcdef.packed", self.folder / "photo.packed"
        ours.write_bytes(bytes(1000))
        theirs.write_bytes(b"mine")
        text = self.good("cache", env=env)
        self.assertRegex(text, rf"^{ours.name} .* damaged\n1\.0 KB of at most 68.7 GB, 1 file in {self.folder}\n$")
        self.assertEqual(self.good("cache", "-q", env=env), text.splitlines(True)[0])
        self.bad("cache", "clear", "acme/none", env=env, code=1, says=["acme/none", "tapetum cache"])
        self.bad("cache", "clean", env=env, code=2, says=["clean", "clear"])
        self.assertTrue(ours.exists())
        self.assertEqual(self.good_json("cache", "clear", env=env), {"folder": str(self.folder), "files": 1, "freed_bytes": 1000})
        self.assertEqual(list(self.folder.iterdir()), [theirs])

    def test_a_packed_cache_that_is_off_has_nothing_to_clear(self):
        env = environment(TAPETUM_PACKED_CACHE="off")
        self.assertIn("TAPETUM_PACKED_CACHE", self.good("cache", env=env))
        self.assertEqual(self.good_json("cache", env=env)["files"], [])
        self.assertEqual(self.good_json("cache", "clear", env=env)["freed_bytes"], 0)
        self.bad("cache", "clear", "acme/none", env=env, says="acme/none")


class Folders(Case):
    def copy(self, **files):
        folder = self.folder / "model"
        shutil.copytree(NANO, folder)
        for name, text in files.items():
            (folder / name).write_text(text)
        return folder

    def test_pickles_are_never_read(self):
        folder = self.copy()
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        self.bad("-m", folder, ROOF, "x", says=["pytorch_model.bin", "safetensors"])

    def test_B10_a_pickle_named_safetensors_is_named(self):
        folder = self.copy()
        (folder / "model.safetensors").write_bytes(b"\x80\x04\x95" + b"cos\nsystem\n" * 20)
        self.bad("-m", folder, ROOF, "x", says="model.safetensors")
        (folder / "model.safetensors").write_bytes(b"PK\x03\x04" + bytes(500))
        self.bad("-m", folder, ROOF, "x", says="model.safetensors")

    def test_gguf_only_and_adapter_only_folders_say_so(self):
        folder = self.copy()
        (folder / "model.safetensors").rename(folder / "model.gguf")
        self.bad("-m", folder, ROOF, "x", says=["gguf"])
        (folder / "model.gguf").rename(folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "acme/base"}')
        self.bad("-m", folder, ROOF, "x", says=["adapter"])

    def test_a_text_only_model_with_a_picture_says_so(self):
        config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64}
        folder = self.copy(**{"config.json": json.dumps(config)})
        self.bad("-m", folder, ROOF, "x", says=["config.json", "LlamaForCausalLM"])

    def test_B04_a_cut_weight_file_is_named_with_its_bytes(self):
        folder = self.copy()
        weights = folder / "model.safetensors"
        os.truncate(weights, int(weights.stat().st_size * 0.99))
        self.bad("-m", folder, ROOF, "x", says=["model.safetensors", "bytes"])

    def test_B04_an_index_that_names_an_absent_shard(self):
        folder = self.copy()
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
        index = {"metadata": {}, "weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors", "model.text_model.norm.weight": "model-00002-of-00002.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        self.bad("-m", folder, ROOF, "x", says="model-00002-of-00002.safetensors")

    def test_B05_configs_that_are_no_json(self):
        text = (NANO / "config.json").read_text()
        for broken in ("[" * 100_000, '{"a":1,"a":2}', text.replace("1e-06", "NaN"), "\ufeff" + text, text.replace('"model_type": "smolvlm"', '"model_type": "\\ud800"'), ""):
            folder = self.copy(**{"config.json": broken})
            self.bad("-m", folder, ROOF, "x", says="config.json")
            shutil.rmtree(folder)

    def test_B06_configs_that_cannot_be(self):
        config = json.loads((NANO / "config.json").read_text())
        for path, value in [
            ("text_config.hidden_size", 0), ("text_config.num_attention_heads", 7), ("text_config.num_hidden_layers", -1), ("vision_config.patch_size", 0),
            ("text_config.vocab_size", 2**31), ("text_config.rope_theta", "x"), ("text_config.num_key_value_heads", 2), ("scale_factor", 0),
            ("text_config.hidden_size", 190), ("text_config.num_hidden_layers", 10**9), ("text_config.hidden_act", "relu"), ("vision_config.image_size", 8),
            ("text_config.hidden_size", "192"), ("text_config.rms_norm_eps", -1), ("text_config.max_position_embeddings", 0),
        ]:
            changed = json.loads(json.dumps(config))
            *scopes, key = path.split(".")
            at = changed
            for scope in scopes:
                at = at[scope]
            at[key] = value
            folder = self.copy(**{"config.json": json.dumps(changed)})
            with self.subTest(path=path, value=value):
                # Where head_dim stands alone, a wrong width shows first in the weights' shapes.
                self.bad("-m", folder, ROOF, "x", says=["config wants"] if value in (7, 190) else [key])
            shutil.rmtree(folder)

    def test_B03_offsets_that_do_not_fit(self):
        folder = self.copy()
        write_safetensors(folder / "model.safetensors", {"a": ("F32", [3], b"\0" * 8)})
        self.bad("-m", folder, ROOF, "x", says=["model.safetensors"])

    def test_missing_tensors_come_in_one_line(self):
        folder = self.copy()
        write_safetensors(folder / "model.safetensors", {"lm_head.weight": ("F32", [2, 2], b"\0" * 16)})
        self.bad("-m", folder, ROOF, "x", says=["model.safetensors", "missing", "lm_head.weight"])

    def test_B08_tokenizers_that_cannot_be(self):
        for broken in ("{}", '{"model": {"type": "Magic"}}', "x"):
            folder = self.copy(**{"tokenizer.json": broken})
            self.bad("-m", folder, ROOF, "x", says="tokenizer.json")
            shutil.rmtree(folder)

    def test_B09_a_template_that_never_ends(self):
        for source in (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "{{ 'a' * 1000000000 }}",
            "{{ ''.__class__.__mro__ }}",
        ):
            folder = self.copy(**{"chat_template.json": json.dumps({"chat_template": source})})
            self.bad("-m", folder, ROOF, "x")
            shutil.rmtree(folder)

    def test_settings_inside_the_processor_count(self):
        # As transformers 5 saves them: no preprocessor_config.json, all settings under "image_processor".
        folder = self.copy()
        settings = json.loads((folder / "preprocessor_config.json").read_text())
        (folder / "preprocessor_config.json").unlink()
        processor = json.loads((folder / "processor_config.json").read_text())
        (folder / "processor_config.json").write_text(json.dumps({**processor, "image_processor": settings}))
        want = self.good("describe", ROOF, "--dtype", "f32")
        self.assertEqual(self.good("-m", folder, "describe", ROOF, "--dtype", "f32"), want)
        settings["image_mean"] = [1, 2]
        (folder / "processor_config.json").write_text(json.dumps({**processor, "image_processor": settings}))
        self.bad("-m", folder, "describe", ROOF, says=["processor_config.json", "image_mean"])

    def test_B08_a_tokenizer_with_more_ids_than_embeddings(self):
        tokenizer = json.loads((NANO / "tokenizer.json").read_text())
        tokenizer["added_tokens"].append({**tokenizer["added_tokens"][0], "id": 5000, "content": "<far>"})
        folder = self.copy(**{"tokenizer.json": json.dumps(tokenizer)})
        self.bad("-m", folder, ROOF, "x", says=["tokenizer.json", "5000", "2048"])

    def test_a_golden_family_is_a_model_like_any(self):
        text = self.good("-m", FAMILIES / "smolvlm/checkpoint", FAMILIES / "smolvlm/image0.png", "What is this?", "--max-tokens", "4")
        self.assertTrue(text.endswith("\n"))
