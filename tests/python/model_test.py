"""Models, sessions, batches, errors, and what shows itself in a notebook."""

import base64
import dataclasses
import html.parser
import io
import pickle
import re
import unittest

import numpy
import PIL.Image
import tapetum
from support import DANGER, ON_ROOF, ROOF, ROOT, SAMPLES, TEXT_GUARD, YARD, nano


class Models(unittest.TestCase):
    def test_a_question_about_a_picture_is_answered(self):
        answer = nano().chat(ROOF, ON_ROOF)
        self.assertEqual(str(answer), "A white bird")
        self.assertEqual((answer.text, answer.finish_reason), ("A white bird", "stop"))
        self.assertGreater(answer.prompt_tokens, answer.image_tokens)
        self.assertGreater(answer.total_ms, 0)
        with self.assertRaises(dataclasses.FrozenInstanceError):
            answer.text = "changed"
        self.assertEqual(nano().chat(ROOF, "Describe the image.", max_tokens=3).finish_reason, "length")
        self.assertEqual(nano().chat(ROOF, ON_ROOF, choices=["a cat", "a bird"]).text, "a bird")
        schema = {"type": "object", "properties": {"what": {"enum": ["bird", "cat"]}}, "required": ["what"], "additionalProperties": False}
        self.assertIn("bird", nano().chat(ROOF, ON_ROOF, json_schema=schema).text)

    def test_a_stream_gives_the_answer_piece_by_piece(self):
        stream = nano().stream(YARD, "Describe the image.")
        with self.assertRaisesRegex(tapetum.UsageError, "not complete"):
            stream.answer
        pieces = list(stream)
        self.assertGreater(len(pieces), 5)
        self.assertEqual("".join(pieces), nano().chat(YARD, "Describe the image.").text)
        self.assertEqual(stream.answer.text, "".join(pieces))

    def test_a_session_remembers_its_turns(self):
        session = nano().session()
        self.assertEqual(session.ask(ON_ROOF, ROOF).text, "A white bird")
        second = session.ask("How many objects are there?")
        self.assertGreater(second.cached_tokens, second.image_tokens)
        self.assertEqual(session.turns, 2)
        self.assertEqual("".join(session.stream(ON_ROOF)), "A white bird")
        self.assertEqual(session.turns, 3)
        session.clear()
        self.assertEqual(session.turns, 0)
        earlier = [{"role": "user", "content": [{"type": "image", "path": ROOF}, {"type": "text", "text": ON_ROOF}]},
                   {"role": "assistant", "content": "A white bird"}]
        resumed = nano().session(messages=earlier).ask("How many objects are there?")
        self.assertEqual((resumed.text, resumed.prompt_tokens), (second.text, second.prompt_tokens))
        asked = nano().answer([*earlier, {"role": "user", "content": "How many objects are there?"}])
        self.assertEqual((asked.text, asked.prompt_tokens), (second.text, second.prompt_tokens))

    def test_a_batch_answers_as_each_alone(self):
        items = [(SAMPLES / f"{name}.png", question) for name in ("roof", "yard", "shapes") for question in (ON_ROOF, "Describe the image.")]
        for at_once in (1, 4):
            self.assertEqual([one.text for one in nano().batch(items, at_once=at_once)], [nano().chat(*item).text for item in items])
        broken = [items[0], (None, "a" * 20000), items[1]]
        with self.assertRaises(tapetum.LimitError) as caught:
            nano().batch(broken)
        self.assertEqual(caught.exception.__notes__, ["item 1 of the batch"])
        first, failed, last = nano().batch(broken, errors="return")
        self.assertEqual(first.text, "A white bird")
        self.assertIsInstance(failed, tapetum.LimitError)
        self.assertTrue(last.text)
        self.assertEqual(nano().batch([]), [])
        with self.assertRaisesRegex(tapetum.UsageError, "a batch is a str"):
            nano().batch(["What is this?"])

    def test_things_are_found_counted_and_shown(self):
        found = nano().detect(ROOF, "bird on the roof")
        self.assertEqual([one.label for one in found], ["bird"])
        x1, y1, x2, y2 = found[0].box
        self.assertTrue(0 <= x1 < x2 <= 768 and 0 <= y1 < y2 <= 768)
        self.assertIn("bird", repr(found))
        drawn = PIL.Image.open(io.BytesIO(found._repr_png_()))
        self.assertEqual(drawn.size, (768, 768))
        changed = numpy.any(numpy.asarray(drawn.convert("RGB")) != numpy.asarray(PIL.Image.open(ROOF).convert("RGB")), axis=2)
        rows, columns = numpy.nonzero(changed)
        self.assertLess(abs(columns.min() - x1), 6)
        self.assertLess(abs(rows.max() - y2), 6)
        page = found._repr_html_()
        html.parser.HTMLParser().feed(page)
        self.assertEqual(base64.b64decode(re.search("base64,([^']+)'", page)[1]), found._repr_png_())
        self.assertIn("<td>bird</td>", page)
        self.assertIn("<p>&lt;b&gt;</p>", tapetum.Answer("<b>", "stop", 1, 0, 0, 1, 1, 1)._repr_html_())
        counts = nano().count(ROOF, "birds")
        self.assertEqual((len(counts), counts[0].label), (1, "bird"))
        with self.assertRaises(tapetum.UnsupportedError):
            nano().segment(ROOF, "bird")

    def test_masks_and_points_are_drawn(self):
        picture = tapetum.picture(ROOF)
        mask = numpy.zeros((768, 768), numpy.uint8)
        mask[300:400, 500:600] = 1
        plain = numpy.asarray(picture)
        one = tapetum.Detection("thing", (500.0, 300.0, 600.0, 400.0), mask=mask)
        shown = numpy.asarray(tapetum.Detections(picture, [one]).drawn())
        self.assertTrue((shown[310:390, 510:590] != plain[310:390, 510:590]).any(axis=2).mean() > 0.9)
        point = tapetum.Detection("spot", (100.0, 600.0, 100.0, 600.0), point=(100.0, 600.0))
        shown = numpy.asarray(tapetum.Detections(picture, [point]).drawn())
        self.assertTrue((shown[597:604, 97:104] != plain[597:604, 97:104]).any())

    def test_pictures_and_texts_have_vectors(self):
        roof, yard, text = nano().embed(ROOF), nano().embed(YARD), nano().embed(text="a bird")
        self.assertEqual((roof.shape, roof.dtype), (text.shape, numpy.dtype("float32")))
        self.assertGreater(float(numpy.abs(roof - yard).max()), 0)
        self.assertTrue(numpy.array_equal(roof, nano().embed(ROOF)))
        self.assertEqual(nano().embed(ROOF, "What is it?").shape, roof.shape)
        with self.assertRaises(tapetum.UsageError):
            nano().embed()

    def test_guards_judge_and_stand_around_a_session(self):
        self.assertFalse(nano().guard(ROOF).flagged)
        safety = nano().guard(DANGER)
        self.assertTrue(safety.flagged and safety.scores[0].violates)
        self.assertIn("flagged", safety._repr_html_())
        guard = tapetum.load_guard()
        with self.assertRaises(tapetum.UnsupportedError):
            guard.judge_text("hello")
        with self.assertRaises(tapetum.RefusedError) as caught:
            nano().session(before=[guard]).ask(ON_ROOF, DANGER)
        self.assertIn("dangerous", str(caught.exception))
        texts = tapetum.load_guard(TEXT_GUARD, thresholds={"harassment": 0.0})
        judged = {score.policy: score.threshold for score in texts("a text").scores}
        self.assertEqual(judged.pop("harassment"), 0.0)
        self.assertEqual(set(judged.values()), {0.5})
        self.assertEqual(texts.judge_answer("a question", "an answer").checked, "text")

    def test_every_error_has_its_class_in_the_tree(self):
        with self.assertRaises(tapetum.NotFoundError) as caught:
            tapetum.load("/nowhere")
        self.assertIsInstance(caught.exception, FileNotFoundError)
        self.assertEqual((caught.exception.item, caught.exception.code), ("/nowhere", "not_found"))
        self.assertIn("/nowhere: there is no such folder", str(caught.exception))
        self.assertEqual(str(pickle.loads(pickle.dumps(caught.exception))), str(caught.exception))
        cases = [(tapetum.BadFileError, lambda: tapetum.picture(b"no picture")), (tapetum.NotFoundError, lambda: tapetum.picture("none.png")),
                 (tapetum.UsageError, lambda: nano().chat(ROOF, "")), (tapetum.UsageError, lambda: nano().chat(ROOF, ON_ROOF, temperature=-1)),
                 (tapetum.UsageError, lambda: nano().chat(ROOF, ON_ROOF, tempratur=1)), (tapetum.UsageError, lambda: tapetum.load(dtype="f64")),
                 (tapetum.LimitError, lambda: nano().chat(None, "a" * 20000)), (tapetum.BadInputError, lambda: nano().embed(text=""))]
        for kind, fails in cases:
            with self.assertRaises(kind) as caught:
                fails()
            self.assertIsInstance(caught.exception, tapetum.TapetumError)
            self.assertNotIn("\n", str(caught.exception))
        header = (ROOT / "include/tapetum/error.h").read_text()
        codes = re.findall(r"^  (\w+),? +//", re.search(r"enum class ErrorCode \{(.*?)\};", header, re.S)[1], re.M)
        self.assertEqual(sorted(codes), sorted(tapetum.errors._CLASSES))


if __name__ == "__main__":
    unittest.main()
