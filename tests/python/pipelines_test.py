"""tapetum.pipeline: the shapes are those of transformers 5.24's pipelines (visual-question-answering and image-to-text: 4.57's)."""

import unittest

import tapetum
from support import DANGER, ON_ROOF, ROOF, TEXT_GUARD, YARD, nano
from tapetum import pipeline

DESCRIBE = "Describe the image."


def user(words, image=None):
    return {"role": "user", "content": [*([{"type": "image", "url": str(image)}] if image else []), {"type": "text", "text": words}]}


class Pipelines(unittest.TestCase):
    def test_a_conversation_is_gone_on_with(self):
        pipe = pipeline("image-text-to-text", model=nano())
        messages = [user(ON_ROOF, ROOF)]
        answer = {"role": "assistant", "content": "A white bird"}
        self.assertEqual(pipe(text=messages), [{"input_text": messages, "generated_text": [*messages, answer]}])
        self.assertEqual(pipe(messages, return_full_text=False), [{"input_text": messages, "generated_text": "A white bird"}])
        longer = [*messages, answer, user("How many objects are there?")]
        session = nano().session()
        session.ask(ON_ROOF, ROOF)
        self.assertEqual(pipe(text=longer)[0]["generated_text"][-1]["content"], session.ask("How many objects are there?").text)
        both = pipe(text=[messages, longer], return_full_text=False)
        self.assertEqual([[type(record) for record in records] for records in both], [[dict], [dict]])
        self.assertEqual(both[0][0]["generated_text"], "A white bird")

    def test_the_assistants_last_message_is_a_beginning(self):
        pipe = pipeline("image-text-to-text", model=nano())
        whole = nano().chat(YARD, DESCRIBE).text
        half = whole[: whole.index(" ", len(whole) // 2)]
        begun = [user(DESCRIBE, YARD), {"role": "assistant", "content": [{"type": "text", "text": half}]}]
        self.assertEqual(pipe(text=begun, return_full_text=False)[0]["generated_text"], whole[len(half):])
        full = pipe(text=begun)[0]["generated_text"]
        self.assertEqual(full, [begun[0], {"role": "assistant", "content": [{"type": "text", "text": whole}]}])
        self.assertEqual(begun[1]["content"][0]["text"], half)
        with self.assertRaises(tapetum.UnsupportedError):
            pipe(text=begun, continue_final_message=False)

    def test_texts_with_pictures_beside_them(self):
        pipe = pipeline(task="image-text-to-text", model=nano(), max_new_tokens=3)
        one = pipe(images=str(ROOF), text=f"<image>{DESCRIBE}")
        self.assertEqual(one, [{"input_text": f"<image>{DESCRIBE}", "generated_text": f"<image>{DESCRIBE} {nano().chat(ROOF, DESCRIBE, max_tokens=3)}"}])
        two = pipe([ROOF, YARD], text=[DESCRIBE, DESCRIBE], return_full_text=False)
        self.assertEqual([record["input_text"] for record in two], [DESCRIBE, DESCRIBE])
        self.assertNotEqual(two[0]["generated_text"], two[1]["generated_text"])
        for wrong in (lambda: pipe([ROOF, YARD, ROOF], text=[DESCRIBE] * 2), lambda: pipe(), lambda: pipe(ROOF, text=DESCRIBE, tempratur=1),
                      lambda: pipe(ROOF, text=DESCRIBE, max_new_tokens=3, generate_kwargs={"max_new_tokens": 4})):
            with self.assertRaises(ValueError):
                wrong()

    def test_old_examples_give_pictures_beside_messages(self):
        pipe = pipeline("image-text-to-text", model=nano())
        messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": ON_ROOF}]}]
        self.assertEqual(pipe(images=[ROOF], text=messages, return_full_text=False)[0]["generated_text"], "A white bird")
        with self.assertRaisesRegex(ValueError, "none is left in images"):
            pipe(text=messages)
        with self.assertRaisesRegex(ValueError, "more images"):
            pipe(images=[ROOF, YARD], text=messages)

    def test_an_iterator_in_is_an_iterator_out(self):
        pipe = pipeline("image-to-text", model=nano(), max_new_tokens=4, batch_size=2)
        taken = []

        def pictures():
            for source in (ROOF, YARD, ROOF, YARD):
                taken.append(source)
                yield source

        out = pipe(pictures())
        self.assertEqual(taken, [])
        self.assertEqual(set(next(out)[0]), {"generated_text"})
        self.assertEqual(len(taken), 2)
        self.assertEqual(len(list(out)), 3)
        chats = pipeline("image-text-to-text", model=nano(), max_new_tokens=4)
        got = list(chats(user_chat for user_chat in ([user(ON_ROOF, ROOF)], [user(DESCRIBE, YARD)])))
        self.assertEqual([records[0]["input_text"][0]["role"] for records in got], ["user", "user"])

    def test_questions_and_descriptions(self):
        vqa = pipeline("visual-question-answering", model=nano())
        self.assertEqual(vqa(image=str(ROOF), question=ON_ROOF), [{"answer": "A white bird"}])
        self.assertEqual(vqa({"image": ROOF, "question": ON_ROOF}), [{"answer": "A white bird"}])
        self.assertEqual(vqa([{"image": ROOF, "question": ON_ROOF}] * 2), [[{"answer": "A white bird"}]] * 2)
        self.assertEqual(vqa([ROOF, ROOF], ON_ROOF), [[{"answer": "A white bird"}]] * 2)
        with self.assertRaises(ValueError):
            vqa(ROOF)
        described = pipeline("image-to-text", model=nano())
        self.assertEqual(described(ROOF), [{"generated_text": nano().chat(ROOF, DESCRIBE, max_tokens=256).text}])
        self.assertEqual(len(described([ROOF, YARD])), 2)

    def test_objects_are_found(self):
        detector = pipeline("zero-shot-object-detection", model=nano())
        found = detector(ROOF, candidate_labels=["bird", "house"])
        self.assertEqual({one["label"] for one in found}, {"bird", "house"})
        self.assertEqual(found, sorted(found, key=lambda one: -one["score"]))
        for one in found:
            self.assertEqual(list(one), ["score", "label", "box"])
            self.assertEqual(list(one["box"]), ["xmin", "ymin", "xmax", "ymax"])
            self.assertTrue(all(type(side) is int for side in one["box"].values()))
        self.assertEqual(detector([{"image": ROOF, "candidate_labels": "bird,house"}]), [found])
        self.assertEqual(detector([ROOF, ROOF], candidate_labels=[["bird", "house"], ["bird", "house"]], top_k=1), [found[:1]] * 2)
        self.assertEqual(detector(ROOF, candidate_labels=["bird"], threshold=1.1), [])
        with self.assertRaisesRegex(ValueError, "what to look for"):
            pipeline("object-detection", model=nano())(ROOF)

    def test_safety_is_one_result_for_each_input_and_policy(self):
        safety = pipeline("multimodal-safety", model="nano")
        found = safety(images=[str(ROOF), str(DANGER)])
        self.assertEqual([(one["input"], one["label"], one["violates"]) for one in found],
                         [("images[0]", "dangerous", False), ("images[1]", "dangerous", True)])
        self.assertTrue(0 <= found[0]["score"] < 0.5 <= found[1]["score"] <= 1)
        with self.assertRaisesRegex(tapetum.UnsupportedError, "judges pictures only"):
            safety(images=[ROOF], texts=["a text"])
        both = pipeline("multimodal-safety", model="nano", text_model=TEXT_GUARD)
        found = both(images=[ROOF], texts=["one", "two"])
        policies = len(tapetum.load_guard(TEXT_GUARD).judge_text("one").scores)
        self.assertGreater(policies, 1)
        self.assertEqual([one["input"] for one in found], ["images[0]"] + ["texts[0]"] * policies + ["texts[1]"] * policies)
        with self.assertRaises(ValueError):
            safety()

    def test_unknown_tasks_and_arguments_are_named(self):
        with self.assertRaisesRegex(ValueError, "multimodal-safety"):
            pipeline("text-to-video")
        self.assertEqual(pipeline("image-to-text", "nano", device="cpu", torch_dtype="auto", device_map="auto").task, "image-to-text")
        with self.assertRaisesRegex(ValueError, "'colour'"):
            pipeline("multimodal-safety")(ROOF, colour=1)


if __name__ == "__main__":
    unittest.main()
