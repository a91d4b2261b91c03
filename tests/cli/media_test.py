"""What requests bring besides text: pictures, videos and files, from data: URLs and from media servers that misbehave."""

import base64
import concurrent.futures
import io
import json
import pathlib
import shutil
import struct
import subprocess
import time
import unittest
import zipfile
import zlib

from hub import Hub, reply, reply_slowly
from PIL import Image
from server import Served, ServerCase, about
from support import FAMILIES, PROGRAM, SAMPLES, SANITIZED, environment

HELPER = pathlib.Path(PROGRAM).with_name("tapetum-media")
SMOL = FAMILIES / "smolvlm2/checkpoint"
QWEN = FAMILIES / "qwen2_5_vl/checkpoint"
ROOF = SAMPLES / "roof.png"
QUESTION = "What is on the roof?"
SOON = 20 if SANITIZED else 5  # seconds


def url_of(data, mime="application/octet-stream"):
    return f"data:{mime};base64," + base64.b64encode(data).decode()


def picture(data):
    return {"type": "image_url", "image_url": {"url": data if isinstance(data, str) else url_of(data, "image/png")}}


def file(data, name="a.bin"):
    return {"type": "file", "file": {"file_data": data if isinstance(data, str) else url_of(data), "filename": name}}


def video(data, **options):
    return {"type": "video_url", "video_url": {"url": data if isinstance(data, str) else url_of(data, "video/mp4")}, **options}


def say(*parts, text=QUESTION):
    return {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, rows=b"", color=2):
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0))
            + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


class Media(ServerCase):
    def content(self, server, body, **more):
        status, _, text = server.ask("POST", "/v1/chat/completions", {**body, **more})
        self.assertEqual(status, 200, text[:2000])
        return json.loads(text)["choices"][0]["message"]["content"]

    def said(self, server):
        """What a server said until it was stopped."""
        code, said = server.close()
        self.assertEqual(code, 0, said)
        return said

    def tokens(self, server, body):
        status, _, text = server.ask("POST", "/v1/tokenize", body)
        self.assertEqual(status, 200, text[:2000])
        return json.loads(text)


class Parts(Media):
    def test_serve_takes_pictures_as_files_and_several_in_a_message(self):
        server = self.serve()
        roof, yard = ROOF.read_bytes(), (SAMPLES / "yard.png").read_bytes()
        want = server.chat(about("roof.png", QUESTION))["choices"][0]["message"]["content"]
        self.assertEqual(self.content(server, say(file(roof))), want)
        self.assertEqual(self.content(server, say(file(base64.b64encode(roof).decode()))), want)  # without data:
        small = [io.BytesIO(), io.BytesIO()]
        for to, data in zip(small, (roof, yard)):
            Image.open(io.BytesIO(data)).convert("RGB").resize((64, 64)).save(to, "PNG")
        two = self.tokens(server, say(*(picture(to.getvalue()) for to in small)))
        one = self.tokens(server, say(picture(small[0].getvalue())))
        self.assertEqual((len(two["pictures"]), len(one["pictures"])), (2, 1))
        self.assertGreater(two["count"], one["count"])

    def test_serve_says_which_parts_a_model_cannot_take(self):
        server = self.serve()
        sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
        for part, says in (
            (sound, "messages[0].content[0]: model nano takes no audio"),
            (file(b"RIFF\x24\0\0\0WAVEfmt ", "a.wav"), "takes no audio"),
            (file(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a.pdf"), "PDF is not read by this build"),
            (file(b"plain words", "a.txt"), "is text, not a picture"),
            ({"type": "file", "file": {"file_id": "file-1"}}, "messages[0].content[0].file.file_id: this server keeps no files"),
            ({"type": "file", "file": {"filename": "a.png"}}, "messages[0].content[0].file.file_data is missing"),
            (video("data:text/plain;base64,AAAA"), "must be video/"),
            (video("/etc/passwd"), "must be a data:, http: or https: URL"),
            (video(b"none", num_frames=0), "num_frames is 0"),
            (video(b"none", num_frames=769), "num_frames"),
            (video(b"none", fps=0), "fps"),
            (video(b""), "video"),
        ):
            with self.subTest(says=says):
                self.refused(server, 400, says, say(part))
        self.refused(server, 400, "mm_processor_kwargs.fps", {**say(), "mm_processor_kwargs": {"fps": "fast"}})

    def test_serve_says_what_is_missing_where_words_are_null(self):
        server = self.serve()
        for path, body, says in (
            ("/v1/embeddings", {"input": [{"type": None, "image_url": "data:,"}]}, "input[0].type is missing"),
            ("/v1/moderations", {"input": {"image_url": "data:,"}}, "input.type is missing"),
            ("/v1/chat/completions", {"messages": [{"content": "x"}]}, "messages[0].role is missing"),
            ("/v1/chat/completions", {"messages": [{"role": None, "content": "x"}]}, "messages[0].role is missing"),
            ("/v1/chat/completions", {**say(), "response_format": {"type": None}}, "response_format.type is missing"),
            ("/v1/chat/completions", say({"type": None}), "messages[0].content[0].type is missing"),
            ("/v1/responses", {"input": [{"role": None, "content": "x"}]}, "input[0].role is missing"),
            ("/v1/tokenize", {**say(), "prompt": "x"}, "messages stands beside prompt"),
        ):
            with self.subTest(path=path, body=body):
                self.refused(server, 400, says, body, path=path)

    def test_serve_says_429_when_as_many_wait_as_may(self):
        server = self.serve("--queue", "32", "--batch", "1")
        body = {**say(text="count"), "n": 16, "guided_regex": "[a-z]{200}"}
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            got = [one.result() for one in [pool.submit(server.ask, "POST", "/v1/chat/completions", body) for _ in range(6)]]
        refused = [json.loads(text)["error"] for status, _, text in got if status == 429]
        self.assertEqual({status for status, _, _ in got}, {200, 429})
        self.assertIn("answers are waiting already, with 16 more the limit of 32 is passed", refused[0]["message"])
        self.assertEqual(refused[0]["type"], "rate_limit_error")

    def test_serve_fetches_pictures_where_it_may(self):
        hub = Hub({})
        self.addCleanup(hub.close)
        hub.answers["/roof.png"] = lambda h: reply(h, 200, ROOF.read_bytes(), {"Content-Type": "image/png"})
        server = self.serve("--allow-private")
        want = server.chat(about("roof.png", QUESTION))["choices"][0]["message"]["content"]
        self.assertEqual(self.content(server, say(picture(hub.url + "/roof.png"))), want)
        self.assertEqual(self.content(server, say(file(hub.url + "/roof.png"))), want)
        body = say(*[picture(hub.url + "/roof.png")] * 2)
        server.ask("POST", "/v1/tokenize", body)
        self.assertEqual(len(hub.requests), 3, "a URL is fetched once for a request")


@unittest.skipUnless(HELPER.exists() and shutil.which("ffmpeg"), "tapetum-media or ffmpeg is missing")
class Videos(Media):
    def clip(self, seconds=4):
        path = self.folder / "clip.mp4"
        inputs = [part for show in ("roof", "yard") for part in ("-loop", 1, "-t", seconds / 2, "-r", 10, "-i", SAMPLES / f"{show}.png")]
        graph = "[0:v]scale=192:192,setsar=1[a];[1:v]scale=192:192,setsar=1[b];[a][b]concat=n=2[out]"
        subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, [*inputs, "-filter_complex", graph, "-map", "[out]", "-pix_fmt", "yuv420p", path])], check=True)
        return path

    def test_serve_answers_about_videos_as_the_program_does(self):
        path = self.clip()
        data = path.read_bytes()
        for model in (SMOL, QWEN):
            server = self.serve("-m", model)
            for asked, options in (({}, []), ({"num_frames": 4}, ["--frames", "4"]), ({"fps": 1}, ["--fps", "1"]), ({"start": 2, "end": 4}, ["--start", "2", "--end", "4"])):
                with self.subTest(model=model, asked=asked):
                    told = self.good_json(path, QUESTION, "-m", model, "--max-tokens", "4", "-q", *options)
                    status, _, text = server.ask("POST", "/v1/chat/completions", {**say(video(data, **asked)), "max_tokens": 4})
                    self.assertEqual(status, 200, text[:1000])
                    answer = json.loads(text)
                    self.assertEqual(answer["usage"]["prompt_tokens"], told["tokens"]["prompt"])
                    self.assertEqual(answer["choices"][0]["message"]["content"], told["text"])
            four = self.tokens(server, say(video(data, num_frames=4)))["count"]
            self.assertEqual(self.tokens(server, {**say(video(data)), "mm_processor_kwargs": {"num_frames": 4}})["count"], four)
            self.assertEqual(self.tokens(server, {**say(video(data)), "media_io_kwargs": {"video": {"num_frames": 4}}})["count"], four)
            self.assertEqual(self.tokens(server, say(video(data, max_frames=4)))["count"], four)
            self.assertEqual(self.tokens(server, say(file(data, "clip.mp4")))["count"], self.tokens(server, say(video(data)))["count"])

    def test_B21_B23_videos_that_are_none_or_too_much(self):
        path = self.clip()
        server = self.serve("-m", SMOL)
        for data, status, says in (
            (b"#EXTM3U\n/etc/passwd\n" * 9, 400, "no video of a known container"),
            (b"ffconcat version 1.0\nfile /etc/passwd\n", 400, "no video of a known container"),
            (path.read_bytes()[:900], 400, "video: "),
            (ROOF.read_bytes(), 400, "no video of a known container"),
        ):
            with self.subTest(data=data[:20]):
                self.refused(server, status, says, say(video(data)))
        long = self.folder / "long.mkv"
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "color=s=16x16:r=1/60:d=18000", "-c:v", "mpeg4", str(long)], check=True)
        self.refused(server, 413, ["video: lasts", "the limit is 14400"], say(video(long.read_bytes())))

    def test_serve_says_that_a_model_takes_no_videos(self):
        self.refused(self.serve(), 400, "takes pictures, not videos", say(video(self.clip().read_bytes())))


class Bombs(Media):
    def quickly(self, server, status, says, body):
        begun = time.monotonic()
        self.refused(server, status, says, body)
        self.assertLess(time.monotonic() - begun, SOON)

    def test_B11_B12_B13_pictures_of_a_size_that_no_memory_holds(self):
        server = self.serve()
        uniform = png(40_000, 40_000, zlib.compress(bytes(40_001 * 60), 9), color=0)
        for data in (png(30_000, 30_000), png(65_535, 65_535), uniform):
            self.quickly(server, 413, ["messages[0].content[0]: picture: ", "limit is 80000000"], say(picture(data)))
        self.quickly(server, 413, "limit is 65535 for each edge", say(picture(png(70_000, 1))))
        self.quickly(server, 400, "no pixels", say(picture(png(0, 5))))
        self.assertIn("bird", self.content(server, say(picture(ROOF.read_bytes()))))

    def test_B14_B19_files_that_are_cut_or_something_else(self):
        server = self.serve()
        jpeg = io.BytesIO()
        Image.open(ROOF).convert("RGB").save(jpeg, "JPEG")
        bomb = io.BytesIO()
        with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.png", bytes(10 << 20))
        for data, says in (
            (b"", "is empty"), (bomb.getvalue(), "is a ZIP archive, not a picture"), (b"<!DOCTYPE html><html></html>", "is HTML"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG is not supported"), (jpeg.getvalue()[:2], "damaged"), (jpeg.getvalue()[:300], "picture: "),
            (ROOF.read_bytes()[:40], "which 40 bytes cannot hold"), (b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0, 0, 0) + b";", "no picture in the file"), (bytes(100_000), "no picture"),
            (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)) + chunk(b"IDAT", b"x\x9c"), "PNG"),
        ):
            with self.subTest(says=says, data=data[:20]):
                if data:
                    self.quickly(server, 400, says, say(picture(data)))
                self.quickly(server, 400, "messages[0].content[0]", say(file(data)))
        for cut in range(0, 700, 23):  # whatever it says, it says one thing and lives
            server.ask("POST", "/v1/tokenize", say(picture(jpeg.getvalue()[:cut])))

    def test_B17_a_gif_of_many_frames_is_its_first_one(self):
        server = self.serve()
        frame = b"," + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + b"\2" + b"\2\x4c\x01" + b"\0"
        first = io.BytesIO()
        Image.new("P", (8, 8)).save(first, "GIF")
        data = first.getvalue()[:-1] + frame * 100_000 + b";"
        begun = time.monotonic()
        self.tokens(server, say(picture(data)))
        self.assertLess(time.monotonic() - begun, SOON)

    def test_B30_more_pictures_than_a_request_may_have(self):
        server = self.serve()
        dot = io.BytesIO()
        Image.new("RGB", (1, 1)).save(dot, "PNG")
        self.refused(server, 413, "257 pictures, the limit is 256", say(*[picture(dot.getvalue())] * 257))
        self.refused(server, 400, "context", say(*[picture(dot.getvalue())] * 256))

    def test_pixels_of_a_request_together_have_a_limit(self):
        server = self.serve()
        url = []
        for shade in range(4):
            large = io.BytesIO()
            Image.new("L", (8000, 8000), shade).save(large, "PNG")
            url.append(picture(large.getvalue()))
        self.refused(server, 413, ["messages[0].content[2]", "more than 536870912 bytes of pixels"], say(*url))

    @unittest.skipUnless(HELPER.exists(), "tapetum-media is missing")
    def test_serve_without_a_helper_decodes_by_itself_and_says_so_once(self):
        server = self.serve()
        alone = Served(env=environment(TAPETUM_MEDIA=str(self.folder / "none")))
        for body in (say(picture(ROOF.read_bytes())), say(picture((SAMPLES / "yard.png").read_bytes()))):
            self.assertEqual(self.tokens(alone, body), self.tokens(server, body))
            self.assertEqual(self.content(alone, body), self.content(server, body))
        self.refused(alone, 413, "limit is 80000000", say(picture(png(30_000, 30_000))))
        self.assertEqual(self.said(alone).count("without a sandbox"), 1)


class MediaServers(Media):
    def setUp(self):
        super().setUp()
        self.hub = Hub({})
        self.addCleanup(self.hub.close)

    def test_B38_media_servers_that_misbehave(self):
        def headed(handler, **headers):
            handler.send_response(200)
            for key, value in headers.items():
                handler.send_header(key.replace("_", "-"), value)
            handler.end_headers()
            handler.close_connection = True

        def no_length(handler):
            headed(handler, Connection="close")
            handler.wfile.write(ROOF.read_bytes())

        def endless(handler):
            headed(handler)
            while True:
                handler.wfile.write(bytes(1 << 20))

        def huge(handler):
            headed(handler, Content_Length=str(1 << 40))
            handler.wfile.write(b"x")

        def short(handler):
            headed(handler, Content_Length="99999")
            handler.wfile.write(ROOF.read_bytes()[:500])

        def hops(handler):
            left = int(handler.path.rpartition("/")[2])
            reply(handler, 302, b"", {"Location": f"/hops/{left - 1}"}) if left else no_length(handler)

        self.hub.answers |= {"/nolength": no_length, "/endless": endless, "/huge": huge, "/short": short, "/hops": hops,
                             "/gzip": lambda h: reply(h, 200, b"\x1f\x8b" + bytes(99), {"Content-Encoding": "gzip"}),
                             "/page": lambda h: reply(h, 200, b"<html>sorry</html>"),
                             "/inside": lambda h: reply(h, 302, b"", {"Location": "file:///etc/passwd"})}
        server = self.serve("--allow-private")
        want = server.chat(about("roof.png", QUESTION))["choices"][0]["message"]["content"]
        for good in ("/nolength", "/hops/4"):
            self.assertEqual(self.content(server, say(picture(self.hub.url + good))), want)
        for path, status, says in (
            ("/endless", 413, "limit of 67108864"), ("/huge", 413, [str(1 << 40), "limit"]), ("/short", 400, "ended after 500 bytes"),
            ("/hops/10", 400, "redirects more than 5 times"), ("/gzip", 400, "compressed (gzip)"), ("/none", 400, "404 Not Found"),
            ("/page", 400, "HTML"), ("/inside", 400, "file: URLs"),
        ):
            with self.subTest(path=path):
                self.refused(server, status, ["messages[0].content[0]"] + ([says] if isinstance(says, str) else says), say(picture(self.hub.url + path)))

    def test_B38_one_byte_a_second_is_given_up_while_others_are_answered(self):
        self.hub.answers["/slow"] = reply_slowly
        server = self.serve("--allow-private")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(server.ask, "POST", "/v1/chat/completions", say(picture(self.hub.url + "/slow")))
            self.assertIn("bird", self.content(server, say(picture(ROOF.read_bytes()))))
            self.assertFalse(waiting.done())
            status, _, text = waiting.result()
        self.assertEqual(status, 400, text)
        self.assertIn(b"slower than 256 bytes/s", text)
