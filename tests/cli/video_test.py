"""Videos: what is seen, what is refused, and a helper that dies. Clips are made with ffmpeg when a test needs them."""

import json
import os
import pathlib
import shutil
import subprocess
import time
import unittest

from PIL import Image

from support import FAMILIES, PROGRAM, ROOT, SAMPLES, SANITIZED, Case, environment

HELPER = pathlib.Path(PROGRAM).with_name("tapetum-media")
CAMERA = os.environ.get("TAPETUM_CAMERA", str(ROOT / "build/ci/tests/cli/libtap_fake_camera.so"))
SMOL = FAMILIES / "smolvlm2/checkpoint"
QWEN = FAMILIES / "qwen2_5_vl/checkpoint"
SHOWS = ("roof", "winter", "yard")


@unittest.skipUnless(HELPER.exists() and shutil.which("ffmpeg"), "tapetum-media or ffmpeg is missing")
class Videos(Case):
    def ffmpeg(self, *args):
        subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, args)], check=True, cwd=self.folder)

    def show(self, name="show.mp4", size=320, fps=10, seconds=3, *more):
        """Three samples, so many seconds each."""
        inputs = [part for show in SHOWS for part in ("-loop", 1, "-t", seconds, "-r", fps, "-i", SAMPLES / f"{show}.png")]
        graph = "".join(f"[{i}:v]scale={size}:{size},setsar=1[v{i}];" for i in range(3)) + "[v0][v1][v2]concat=n=3[out]"
        self.ffmpeg(*inputs, "-filter_complex", graph, "-map", "[out]", "-pix_fmt", "yuv420p", *more, name)
        return self.folder / name


class Seeing(Videos):
    def test_watch_says_a_line_as_the_scene_changes(self):
        path = self.show()
        done = self.run_program("watch", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.decode().splitlines()
        self.assertEqual([line[:5] for line in lines], ["00:00", "00:03", "00:06"])
        for line, show in zip(lines, SHOWS):
            self.assertIn("house", line)
        self.assertIn(b"frames looked at", done.stderr)
        asked = self.good("watch", path, "What is on the roof?", "--json", "--fps", "2", "--change", "2")
        birds = [json.loads(line) for line in asked.splitlines()]
        self.assertEqual([bird["text"] for bird in birds], ["A white bird", "A black bird", "A yellow bird"])
        self.assertEqual([round(bird["seconds"]) for bird in birds], [0, 3, 6])
        cut = self.good("watch", path, "What is on the roof?", "--start", "3", "--end", "5")
        self.assertEqual([line[6:] for line in cut.splitlines()], ["A black bird"])

    def test_a_stream_keeps_the_speed_of_its_source(self):
        path = self.show(seconds=1)
        begun = time.monotonic()
        done = self.run_program("watch", path, "What is on the roof?", "--stream", "--fps", "5")
        self.assertGreater(time.monotonic() - begun, 2.5)
        self.assertEqual([line[6:] for line in done.stdout.decode().splitlines()], ["A white bird", "A black bird", "A yellow bird"])

    def test_questions_about_videos(self):
        path = self.show()
        for model, frames in ((SMOL, 8), (QWEN, 18)):  # 9 s: of SmolVLM's 9 its checkpoint allows 8; 2 a second in pairs
            result = self.good_json(path, "What happens?", "-m", model, "--max-tokens", "4", "-q")
            self.assertEqual((result["width"], result["height"]), (320, 320))
            self.assertEqual(len(result["seconds"]), frames)
            fewer = self.good_json(path, "What happens?", "-m", model, "--max-tokens", "4", "-q", "--frames", "4", "--start", "3", "--end", "6")
            self.assertEqual(len(fewer["seconds"]), 4)
            self.assertGreaterEqual(fewer["seconds"][0], 3)
            self.assertLessEqual(fewer["seconds"][-1], 6)
        self.assertIn("series of eight frames from a 0:00:09 [H:MM:SS] video", self.expanded(path, SMOL))

    def expanded(self, path, model):
        from_plan = self.good(path, "What?", "-m", model, "--dry-run", "--json")
        plan = json.loads(from_plan)["pictures"][0]
        self.assertEqual(plan["format"], "video")
        tokens = plan["tokens"]["prompt"]
        self.assertGreater(tokens, 32)
        # The words are in the prompt: as many tokens as the tokenizer makes of them.
        words = "You are provided the following series of eight frames from a 0:00:09 [H:MM:SS] video"
        self.assertGreater(tokens, len(self.good("tokenize", model, words).split()))
        return words

    def test_equal_frames_are_computed_once_and_answer_the_same(self):
        still = self.folder / "still.mp4"
        self.ffmpeg("-loop", 1, "-t", 8, "-r", 10, "-i", SAMPLES / "roof.png", "-vf", "scale=320:320", "-pix_fmt", "yuv420p", "-qp", 0, still)
        exact = self.good_json(still, "What?", "-m", QWEN, "--max-tokens", "8", "-q", "--temperature", "0")
        lossy = self.good_json(still, "What?", "-m", QWEN, "--max-tokens", "8", "-q", "--temperature", "0", "--change", "0.5")
        self.assertEqual(exact["text"], lossy["text"])

    def test_rotation_of_the_file_is_applied(self):
        path = self.show("flat.mp4")
        self.ffmpeg("-i", path, "-vf", "scale=320:160", "wide.mp4")
        self.ffmpeg("-i", "wide.mp4", "-c", "copy", "-metadata:s:v:0", "rotate=90", "turned.mp4")
        plain = self.good_json(self.folder / "wide.mp4", "What?", "-m", SMOL, "--max-tokens", "2", "-q")
        turned = self.good_json(self.folder / "turned.mp4", "What?", "-m", SMOL, "--max-tokens", "2", "-q")
        self.assertEqual((plain["width"], plain["height"]), (320, 160))
        self.assertEqual((turned["width"], turned["height"]), (160, 320))

    def test_containers_and_codecs(self):
        path = self.show()
        wanted = [line[6:] for line in self.good("watch", path, "What is on the roof?").splitlines()]
        for name, *options in (("a.mkv", "-c", "copy"), ("a.webm", "-c:v", "libvpx", "-b:v", "2M"), ("a.avi", "-c:v", "mpeg4", "-q:v", 2),
                               ("a.mov", "-c:v", "mjpeg", "-q:v", 2), ("a.ts", "-c", "copy"), ("a.ogv", "-c:v", "libtheora", "-q:v", 8)):
            self.ffmpeg("-i", path, *options, name)
            seen = [line[6:] for line in self.good("watch", self.folder / name, "What is on the roof?", "-q").splitlines()]
            self.assertEqual(seen, wanted, name)

    def test_guards_see_frames(self):
        danger = ROOT / "tests/data/guard/dangerous.png"
        inputs = ["-loop", 1, "-t", 3, "-r", 10, "-i", SAMPLES / "roof.png", "-loop", 1, "-t", 1, "-r", 10, "-i", danger]
        self.ffmpeg(*inputs, "-filter_complex", "[0:v]scale=256:256,setsar=1[a];[1:v]scale=256:256,setsar=1[b];[a][b]concat=n=2[o]", "-map", "[o]", "-qp", 0, "-pix_fmt", "yuv444p", "mixed.mp4")
        for args in ([self.folder / "mixed.mp4", "What?", "-m", SMOL, "--frames", "1"], ["watch", self.folder / "mixed.mp4"]):
            done = self.run_program(*args, "--guard", "nano:0.3@in", "-q")
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertIn(b"refused by nano: dangerous", done.stderr)


class Refusing(Videos):
    def test_models_and_commands_without_videos_say_so(self):
        path = self.show()
        for family in ("smolvlm", "gemma3", "paligemma"):
            self.bad(path, "What?", "-m", FAMILIES / family / "checkpoint", says=["show.mp4", "takes pictures, not videos"])
        self.bad(path, "What?", says=["show.mp4", "takes pictures, not videos"])
        self.bad("detect", "bird", path, "-m", QWEN, says=["show.mp4", "is a video; this command takes pictures"])
        self.bad(path, "What?", "-m", SMOL, "--start", "100", says=["show.mp4", "has no frame from 100"])
        self.bad("watch", path, "--start", "100", says=["show.mp4", "has no frame from 100"])
        self.bad("watch", path, "--change", "some", code=2, says=["--change", "exact"])
        self.bad("watch", path, "--change", "300", code=2, says=["--change", "255"])
        self.bad("watch", path, "--fps", "0", code=2, says="--fps")

    def test_B21_playlists_and_scripts_open_nothing(self):
        self.show("real.mp4")
        secret = self.folder / "secret.txt"
        secret.write_text("secret words")
        for name, text in (("a.m3u8", f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{self.folder}/real.mp4\n#EXT-X-ENDLIST\n"),
                           ("a.ffconcat", f"ffconcat version 1.0\nfile {self.folder}/real.mp4\n"), ("a.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\n")):
            for renamed in (name, name + ".mp4"):
                path = self.folder / renamed
                path.write_text(text)
                line = self.bad("watch", path, says=renamed)
                self.assertNotIn("secret", line)
        # An MP4 whose samples are said to be in another file.
        data = (self.folder / "real.mp4").read_bytes().replace(b"url \0\0\0\1", b"url \0\0\0\0")
        (self.folder / "foreign.mp4").write_bytes(data)
        self.run_program("watch", self.folder / "foreign.mp4", "-q")

    def test_B22_jpeg2000_is_not_decoded(self):
        self.ffmpeg("-f", "lavfi", "-i", "color=c=red:s=64x48:r=5:d=1", "-c:v", "jpeg2000", "j2k.mov")
        self.bad("watch", self.folder / "j2k.mov", says=["j2k.mov", "jpeg2000", "not decoded here"])

    def test_B22_variable_rate_no_index_no_first_key_frame(self):
        path = self.show()
        self.ffmpeg("-i", path, "-vf", "select='not(mod(n,3))+gt(n,60)',setpts=N/TB/10+gt(N\\,20)*2/TB", "-vsync", "vfr", "vfr.mp4")
        self.assertGreaterEqual(len(self.good("watch", self.folder / "vfr.mp4", "-q").splitlines()), 1)
        self.ffmpeg("-i", path, "-c", "copy", "-movflags", "frag_keyframe+empty_moov", "fragments.mp4")
        self.assertEqual(len(self.good("watch", self.folder / "fragments.mp4", "-q").splitlines()), 3)
        self.ffmpeg("-i", path, "-c", "copy", "all.ts")
        data = (self.folder / "all.ts").read_bytes()
        (self.folder / "tail.ts").write_bytes(data[len(data) // 3 // 188 * 188:])
        done = self.run_program("watch", self.folder / "tail.ts", "-q")
        self.assertIn(done.returncode, (0, 1))

    def test_B22_files_without_frames(self):
        path = self.show()
        data = path.read_bytes()
        for name, content in (("empty.mp4", b""), ("head.mp4", data[:64]), ("cut.mp4", data[: len(data) // 2]), ("noise.mp4", data[:32] + os.urandom(5000)),
                              ("sound.mkv", None)):
            broken = self.folder / name
            if content is None:
                self.ffmpeg("-f", "lavfi", "-i", "sine=d=1", broken)
            else:
                broken.write_bytes(content)
            self.bad("watch", broken, says=name)

    def test_B22_damage_in_the_middle_is_passed_over(self):
        self.ffmpeg("-i", self.show(), "-c:v", "mpeg4", "-g", 5, "-q:v", 3, "a.avi")
        data = bytearray((self.folder / "a.avi").read_bytes())
        data[len(data) // 3: len(data) // 3 + 3000] = bytes(3000)
        (self.folder / "hole.avi").write_bytes(data)
        self.assertIn("00:00", self.good("watch", self.folder / "hole.avi", "-q"))

    def test_B23_a_long_video_takes_no_more_memory(self):
        def peak(seconds):
            path = self.folder / f"{seconds}.mp4"
            self.ffmpeg("-f", "lavfi", "-i", f"color=c=blue:s=1280x720:r=1:d={seconds}", "-g", 60, "-preset", "ultrafast", "-pix_fmt", "yuv420p", path)
            done = self.run_program(path, "What?", "-m", SMOL, "--max-tokens", "2", "-v")
            self.assertEqual(done.returncode, 0, done.stderr)
            return int(next(line for line in done.stderr.decode().splitlines() if line.startswith("process: ")).split()[1])

        self.assertLess(peak(3 * 3600), peak(60) + (64 << 20))

    def test_B23_times_that_go_back_and_rates_out_of_range(self):
        self.ffmpeg("-i", self.show(), "-c", "copy", "once.ts")
        once = (self.folder / "once.ts").read_bytes()
        (self.folder / "back.ts").write_bytes(once + once)
        self.assertIn("00:00", self.good("watch", self.folder / "back.ts", "-q"))
        self.ffmpeg("-f", "lavfi", "-i", "color=c=red:s=64x48:r=10:d=1", "-c:v", "mpeg4", "rate.avi")
        data = bytearray((self.folder / "rate.avi").read_bytes())
        at = data.index(b"strh") + 8 + 20  # dwScale, dwRate
        for scale, rate in ((0, 10), (10, 0), (1, 10**9), (2**31, 1)):
            data[at:at + 8] = scale.to_bytes(4, "little") + rate.to_bytes(4, "little")
            path = self.folder / "forged.avi"
            path.write_bytes(data)
            done = self.run_program("watch", path, "-q", timeout=60)
            self.assertIn(done.returncode, (0, 1), done.stderr)


@unittest.skipUnless(shutil.which("heif-enc"), "heif-enc is missing")
class Heic(Videos):
    def heic(self, source, name="a.heic", *more):
        subprocess.run(["heif-enc", *map(str, more), "-q", "95", source, "-o", self.folder / name], check=True, capture_output=True)
        return self.folder / name

    def test_a_telephones_pictures(self):
        path = self.heic(SAMPLES / "winter.png")
        self.assertEqual(self.good(path, "What color is the house?"), self.good(SAMPLES / "winter.png", "What color is the house?"))
        result = self.good_json("detect", "tree", path)
        self.assertEqual((result["width"], result["height"]), (768, 768))
        self.bad(path, "What?", "--frame", "1", says=["a.heic", "has no picture 1", "it holds 1"])
        folder = self.folder / "folder"
        folder.mkdir()
        shutil.copy(path, folder)
        self.assertIn("a.heic", self.good_json("describe", folder)[0]["image"])
        with open(path, "rb") as file:
            self.assertEqual(self.good("-", "What color is the house?", stdin=file.read()), self.good(path, "What color is the house?"))

    def test_guards_see_heic(self):
        danger = self.folder / "danger.png"
        with Image.open(ROOT / "tests/data/guard/dangerous.png") as image:
            image.convert("RGB").resize((256, 256)).save(danger)
        done = self.run_program("describe", self.heic(danger), "--guard", "nano:0.2@in", "-q")
        self.assertEqual(done.returncode, 3, done.stderr)

    def test_B18_damaged_heic_is_named(self):
        data = self.heic(SAMPLES / "roof.png").read_bytes()
        bad = self.folder / "bad.heic"
        for content in (data[:40], data[: len(data) // 2], data[:12] + bytes(100), data[:12] + os.urandom(3000)):
            bad.write_bytes(content)
            self.bad("describe", bad, says="bad.heic")

    def test_B18_a_grid_of_a_hundred_thousand_tiles(self):
        data = bytearray(self.heic(SAMPLES / "roof.png").read_bytes())
        at = data.find(b"ispe")
        while at >= 0:  # every size said to be 60 000 x 60 000
            data[at + 8:at + 16] = (60_000).to_bytes(4, "big") * 2
            at = data.find(b"ispe", at + 4)
        bad = self.folder / "huge.heic"
        bad.write_bytes(data)
        self.bad("describe", bad, says="huge.heic")

    def test_without_the_helper_it_says_what_is_missing(self):
        path = self.heic(SAMPLES / "roof.png")
        self.bad("describe", path, env=environment(TAPETUM_MEDIA=str(self.folder / "none")), says=["a.heic", "HEIC", "libheif1"])


class Sound(Videos):
    def test_B24_sound_is_refused_whatever_it_declares(self):
        def wav(rate, channels, size):
            return (b"RIFF" + size.to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little") + (3).to_bytes(2, "little") + channels.to_bytes(2, "little")
                    + rate.to_bytes(4, "little") + bytes(6) + b"data" + size.to_bytes(4, "little") + b"\xff\xff\xff\x7f" * 100)

        for number, content in enumerate((wav(655350, 1, 400), wav(16000, 255, 400), wav(16000, 1, 0xFFFFFFFF), wav(0, 0, 0))):
            path = self.folder / f"{number}.wav"
            path.write_bytes(content)
            self.bad(path, "What?", says=[path.name, "is sound, not a picture"])
            self.bad("watch", path, says=path.name)
        opus = self.folder / "long.opus"  # an hour and a half of silence in a few kilobytes
        self.ffmpeg("-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", 5400, "-c:a", "libopus", "-b:a", "500", "-frame_duration", 60, opus)
        self.bad("watch", opus, says=["long.opus", "has no video stream"])
        self.bad(opus, "What?", says="long.opus")


class Helper(Videos):
    def fails(self, how, says, **changes):
        fake = self.folder / f"helper.{how}"
        shutil.copy(ROOT / "tests/support/fake_helper.py", fake)
        fake.chmod(0o755)
        path = self.show()
        env = environment(TAPETUM_MEDIA=str(fake), **changes)
        self.bad("watch", path, env=env, says=["show.mp4", *says])
        left = subprocess.run(["pgrep", "-f", str(fake)], capture_output=True, text=True).stdout
        self.assertEqual(left, "", "a helper is left")

    def test_F10_a_helper_that_dies(self):
        self.fails("die", ["the media helper was killed by signal 11"])

    def test_F10_a_helper_that_hangs(self):
        self.fails("hang", ["gave no answer in 1 seconds"], TAPETUM_MEDIA_SECONDS="1")

    def test_F10_a_helper_that_speaks_garbage(self):
        for how in ("garbage", "short", "lies"):
            self.fails(how, ["the media helper speaks no sense"])

    def test_F10_no_helper_and_no_process(self):
        path = self.show()
        self.bad("watch", path, env=environment(TAPETUM_MEDIA=str(self.folder / "none")), says=["show.mp4", "tapetum-media", "libavformat"])
        plain = self.folder / "plain"
        plain.write_text("no program")
        self.bad("watch", path, env=environment(TAPETUM_MEDIA=str(plain)), says=["show.mp4", "cannot start the media helper"])

    def test_F10_one_video_whose_helper_dies_stops_no_other(self):
        path = self.show()
        broken = self.folder / "broken.mp4"
        broken.write_bytes(path.read_bytes()[:200])
        done = self.run_program(broken, path, "What?", "-m", SMOL, "--max-tokens", "2", "-q")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"broken.mp4", done.stderr)
        self.assertIn(b"show.mp4: ", done.stdout)

    @unittest.skipIf(SANITIZED, "the sandbox is off under sanitizers")
    def test_the_helper_is_in_a_sandbox(self):
        path = self.show()
        with open(path, "rb") as file:
            import socket
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            fds = {3: theirs.fileno(), 4: file.fileno()}
            import struct
            high = [os.dup(fd) for fd in fds.values()]

            def place():
                for target, fd in zip(fds, high):
                    os.dup2(fd, target)

            child = subprocess.Popen([HELPER], preexec_fn=place, close_fds=False, stdin=subprocess.DEVNULL)
            ours.send(struct.pack("<IIq", 3, 1, 0))
            ours.settimeout(20)
            self.assertEqual(struct.unpack("<II", ours.recv(400)[:8]), (3, 0))
            status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
            self.assertIn("Seccomp:\t2", status)
            self.assertIn("NoNewPrivs:\t1", status)
            child.kill()
            child.wait()
            ours.close()
            theirs.close()
            for fd in high:
                os.close(fd)


@unittest.skipIf(SANITIZED, "a preloaded camera and a sanitizer want the same place")
class Cameras(Case):
    def watch(self, how, *args, device="/dev/video-test"):
        env = environment(LD_PRELOAD=CAMERA, TAPETUM_TEST_CAMERA=how)
        return self.run_program("watch", device, "What color is the house?", "--fps", "10", *args, env=env, timeout=60)

    def test_a_camera_is_watched_until_it_is_unplugged(self):
        done = self.watch("45:unplug")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"/dev/video-test: the camera is gone", done.stderr)
        self.assertIn(b"00:00", done.stdout)

    def test_a_camera_that_stops_giving_frames(self):
        done = self.watch("10:hang")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"gave no frame for 5 seconds", done.stderr)

    def test_torn_frames_are_left_out(self):
        self.assertIn(b"00:00", self.watch("40:torn").stdout)

    def test_no_camera(self):
        self.bad("watch", "/dev/video63", says=["/dev/video63", "no such camera"])
        self.bad("watch", "/dev/video", says=["/dev/video"])


if __name__ == "__main__":
    unittest.main()
