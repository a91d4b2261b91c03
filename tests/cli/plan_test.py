"""--dry-run, admission, doctor, bench and show: what they say is true of a real run."""

import json
import re
import resource
import shutil
import subprocess
import sys
import unittest

from support import FAMILIES, NANO, ROOT as ROOT_FOLDER, SAMPLES, SANITIZED, Case, environment

ROOF = SAMPLES / "roof.png"
GOLDEN = FAMILIES / "smolvlm/checkpoint"
QUESTION = "What is on the roof?"


def limited(bytes_):
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (bytes_, bytes_))


class Large(Case):
    def test_72_billion_parameters_are_planned_without_a_disk_that_holds_them(self):
        folder = self.folder / "72b"
        subprocess.run([sys.executable, ROOT_FOLDER / "tools/random_checkpoint", "qwen2.5-vl-72b", folder, "--shard-size", "4GB", "--empty"], check=True, capture_output=True)
        shown = self.good_json("show", folder)
        self.assertEqual((shown["family"], shown["context"]), ("qwen2_5_vl", 128000))
        self.assertLess(abs(shown["parameters"] / 73.4e9 - 1), 0.01)
        bits = {dtype: 8 * size / shown["parameters"] for dtype, size in shown["memory_bytes"].items()}
        self.assertTrue(16 <= bits["bf16"] < 17 and 8 <= bits["q8"] < 9 and 5 <= bits["q4"] < 6, bits)  # as the allocator rounds its blocks
        done = self.run_program("-m", folder, ROOF, QUESTION, "--dtype", "q4", "--dry-run", "--json")
        plan = json.loads(done.stdout)
        self.assertEqual(done.returncode, 1)  # 46 GB in q4
        self.assertIn("this run needs", plan["refused"])
        (one,) = plan["pictures"]
        self.assertEqual((one["tile"], one["tokens"]["image"]), ([756, 756], 729))


class DryRun(Case):
    def test_a_dry_run_counts_the_tokens_of_a_real_run(self):
        for model, picture in ((NANO, ROOF), (GOLDEN, FAMILIES / "smolvlm/image0.png")):
            args = ["-m", model, picture, QUESTION, "--max-tokens", "3"]
            plan = self.good_json("--dry-run", *args)
            done = self.good_json(*args)
            (one,) = plan["pictures"]
            self.assertEqual(one["tokens"]["prompt"], done["tokens"]["prompt"])
            self.assertEqual(one["tokens"]["image"], done["tokens"]["image"])
            self.assertEqual(one["tokens"]["output_at_most"], 3)
            self.assertEqual((one["width"], one["height"]), (done["width"], done["height"]))
            self.assertGreater(one["tiles"], 0)
            self.assertIsNone(plan["missing"])
            self.assertIsNone(plan["refused"])
            parts = plan["memory_bytes"]
            self.assertEqual(parts["peak"], sum(parts[k] for k in ("program", "weights", "cache", "features", "scratch", "pictures")))
            self.assertGreater(plan["seconds"]["total_at_most"], 0)

    def test_detect_and_describe_plan_their_own_prompts(self):
        for command in (["detect", "bird"], ["describe"]):
            plan = self.good_json(*command, ROOF, "--dry-run")
            done = self.good_json(*command, ROOF, "--max-tokens", "4")
            if "tokens" in done:
                self.assertEqual(plan["pictures"][0]["tokens"]["prompt"], done["tokens"]["prompt"])
            self.assertEqual(plan["pictures"][0]["resizes"], [[160, 160]])

    @unittest.skipIf(SANITIZED, "shadow memory is no part of the plan")
    def test_planned_memory_is_within_a_fifth_of_the_peak(self):
        for model in (NANO, GOLDEN):
            for dtype in ("bf16", "q8", "q4"):
                args = ["-m", model, ROOF, QUESTION, "--max-tokens", "20", "--dtype", dtype]
                planned = self.good_json("--dry-run", *args)["memory_bytes"]["peak"]
                log = self.run_program(*args, "-v").stderr.decode()
                peak = int(re.search(r"process: (\d+) bytes at most", log)[1])
                self.assertLess(abs(planned - peak), 0.2 * peak, f"{model} {dtype}: planned {planned}, was {peak}")

    def test_the_batch_is_planned_as_it_runs(self):
        args = [ROOF] * 3 + [QUESTION, "--max-tokens", "3", "--dry-run"]
        for flags, batch in (([], 3), (["--batch", "2"], 2), (["--batch", "9"], 3)):
            plan = self.good_json(*args, *flags)
            self.assertEqual(plan["batch"], batch)
            rows = plan["pictures"][0]["tokens"]["prompt"] + 3
            self.assertGreaterEqual(plan["memory_bytes"]["cache"], batch * rows * 5 * 2 * 64 * 2)  # nano's, in bf16
        self.assertIn("3 pictures at once", self.good(*args))

    def test_nothing_is_decoded(self):
        damaged = self.folder / "damaged.png"
        whole = ROOF.read_bytes()
        damaged.write_bytes(whole[:64] + bytes(len(whole) - 64))  # a header and no pixels
        self.assertEqual(self.good_json("--dry-run", damaged, QUESTION)["pictures"][0]["width"], 768)
        self.bad(damaged, QUESTION, says="damaged.png")

    def test_a_picture_that_cannot_be_read_does_not_hide_the_others(self):
        text = self.folder / "notes.png"
        text.write_text("hello")
        done = self.run_program("--dry-run", text, ROOF, QUESTION, "--json")
        self.assertEqual(done.returncode, 1)
        first, second = json.loads(done.stdout)["pictures"]
        self.assertIn("error", first)
        self.assertEqual(second["width"], 768)

    def test_without_weights_it_says_what_is_missing(self):
        model = self.folder / "model"
        shutil.copytree(NANO, model)
        (model / "model.safetensors").unlink()
        done = self.run_program("--dry-run", "-m", model, ROOF, QUESTION, "--json")
        self.assertEqual(done.returncode, 1)
        plan = json.loads(done.stdout)
        self.assertIn("model.safetensors", plan["missing"])
        self.assertGreater(plan["pictures"][0]["tokens"]["prompt"], 0)
        self.assertIsNone(plan["memory_bytes"])

    def test_the_text_names_size_tokens_memory_and_seconds(self):
        text = self.good(ROOF, QUESTION, "--dry-run")
        for part in ("768x768 > 160x160", "tokens", "memory", "seconds", "estimated"):
            self.assertIn(part, text)


@unittest.skipIf(SANITIZED, "an address space limit leaves no room for shadow memory")
class Admission(Case):
    def room(self):
        """An address space that the program itself fits in, and no run of f32 with a long answer."""
        return limited(420 << 20)

    def endless(self):
        """A question whose answer could grow a cache of 6 GB."""
        config = json.loads((NANO / "config.json").read_text())
        config["text_config"]["max_position_embeddings"] = 10_000_000
        model = self.folder / "model"
        shutil.copytree(NANO, model)
        (model / "config.json").write_text(json.dumps(config))
        return ("-m", model, ROOF, QUESTION, "--max-tokens", "5000000", "-t", "1")

    def test_F14_a_run_that_does_not_fit_is_refused_with_numbers(self):
        args = self.endless()
        line = self.bad(*args, says=["this run needs", "weights", "cache", "leaves", "what would fit"], preexec_fn=self.room())
        self.assertRegex(line, r"needs \d+(\.\d)? [MG]B")
        fitting = re.search(r"--max-tokens (\d+)", line)[1]
        self.good(*args, "--max-tokens", fitting, preexec_fn=self.room())
        failed = self.run_program(*args, "--json", preexec_fn=self.room())
        self.assertEqual(json.loads(failed.stdout)["error"]["code"], "out_of_memory")
        plan = self.run_program(*args, "--dry-run", "--json", preexec_fn=self.room())
        self.assertEqual(plan.returncode, 1)
        self.assertIn("this run needs", json.loads(plan.stdout)["refused"])

    def test_a_run_that_fits_is_not_refused(self):
        self.assertIn("bird", self.good(ROOF, QUESTION, "-t", "1", preexec_fn=self.room()))

    def test_force_goes_on_until_memory_ends(self):
        endless = self.endless()
        self.good(*endless, "--force", preexec_fn=self.room())  # a short answer needs no more
        self.bad(*endless, "--regex", "(bird ){300}", "--force", says="out of memory", preexec_fn=self.room())


class Doctor(Case):
    def test_every_finding_has_a_status_and_what_is_wrong_has_a_fix(self):
        report = self.good_json("doctor")
        self.assertTrue(report["ok"])
        names = {(f["area"], f["name"]) for f in report["findings"]}
        for wanted in (("machine", "cpu"), ("machine", "memory"), ("machine", "huge pages"), ("openmp", "wait policy"),
                       ("libraries", "libdnnl"), ("libraries", "libcurl.so.4"), ("desktop", "font"), ("desktop", "clipboard"),
                       ("models", "nano"), ("models", "hub cache"), ("models", "proxy")):
            self.assertIn(wanted, names)
        for finding in report["findings"]:
            self.assertIn(finding["status"], ("ok", "warn", "missing"))
            self.assertTrue(finding["value"])
            if finding["status"] != "ok":
                self.assertTrue(finding["fix"], finding)

    def test_text_has_one_line_a_finding(self):
        text = self.good("doctor")
        self.assertRegex(text, r"ok +nano")
        self.assertIn("wait policy", text)

    def test_secrets_in_the_environment_are_not_shown(self):
        env = environment(HF_TOKEN="hf_secret", https_proxy="http://me:hunter2@proxy:80", HF_HOME=str(self.folder))
        text = self.good("doctor", env=env)
        self.assertNotIn("hf_secret", text)
        self.assertNotIn("hunter2", text)
        self.assertIn("HF_TOKEN is set", text)
        self.assertIn("@proxy:80", text)

    def test_an_incomplete_model_of_the_cache_is_named(self):
        snapshot = self.folder / "models--org--half/snapshots/abc"
        snapshot.mkdir(parents=True)
        (self.folder / "models--org--half/refs").mkdir()
        (self.folder / "models--org--half/refs/main").write_text("abc")
        (snapshot / "config.json").write_text((NANO / "config.json").read_text())
        report = self.good_json("doctor", env=environment(HF_HUB_CACHE=str(self.folder)))
        (half,) = [f for f in report["findings"] if f["name"] == "org/half"]
        self.assertEqual(half["status"], "warn")
        self.assertIn("missing", half["value"])


class Bench(Case):
    @unittest.skipIf(SANITIZED, "measures for minutes")
    def test_bench_prints_one_object_with_fractions(self):
        for model in (GOLDEN, NANO):
            result = json.loads(self.good("bench", "-m", model, "--threads", "1", "-q"))
            self.assertEqual(list(result), ["machine", "model", "dtype", "load_ms", "encode", "prefill", "decode", "ttft_ms", "vmhwm_mb"])
            self.assertEqual(list(result["machine"]), ["cpu", "threads", "peak_gops", "read_gbps"])
            self.assertEqual(result["machine"]["threads"], 1)
            self.assertEqual(set(result["machine"]["peak_gops"]), {"f32", "bf16", "int8"})
            self.assertGreater(result["machine"]["read_gbps"], 0)
            self.assertEqual(result["dtype"], "bf16")
            for key in ("load_ms", "ttft_ms", "vmhwm_mb"):
                self.assertGreater(result[key], 0)
            self.assertEqual(list(result["encode"]), ["tile_px", "tokens", "ms", "fraction"])
            context = json.loads((model / "config.json").read_text())["text_config"]["max_position_embeddings"]
            self.assertEqual([p["tokens"] for p in result["prefill"]], [n for n in (512, 1024) if n <= context])
            self.assertEqual([p["context"] for p in result["decode"]], [n for n in (200, 1000) if n + 16 <= context])
            for point in [result["encode"], *result["prefill"], *result["decode"]]:
                self.assertGreater(point["fraction"], 0)

    def test_bench_takes_no_words(self):
        self.bad("bench", "nano", code=2, says="-m")


class Show(Case):
    def test_show_has_the_plan_of_every_type(self):
        model = self.good_json("show", NANO)
        self.assertEqual(model["weights_as"], "bf16")
        self.assertTrue(model["chat_template"])
        plan = model["memory_plan"]
        self.assertEqual(set(plan), {"f32", "bf16", "q8", "q4"})
        self.assertGreater(plan["f32"]["weights"], plan["bf16"]["weights"])
        self.assertGreater(plan["bf16"]["weights"], plan["q4"]["weights"])
        self.assertEqual(plan["bf16"]["cache_per_1000_tokens"], 1000 * 5 * 2 * 64 * 2)  # layers, k and v, width, bf16
        self.assertEqual(plan["f32"]["cache_per_1000_tokens"], 2 * plan["bf16"]["cache_per_1000_tokens"])


if __name__ == "__main__":
    unittest.main()
