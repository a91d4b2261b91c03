"""transformers' pipelines by another import: the same calls, the same shapes of what comes back.

    from tapetum import pipeline        # instead of: from transformers import pipeline
    pipe = pipeline("image-text-to-text", model="HuggingFaceTB/SmolVLM-500M-Instruct")
    pipe(text=[{"role": "user", "content": [{"type": "image", "url": "roof.png"}, {"type": "text", "text": "What is this?"}]}])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .errors import UnsupportedError, UsageError
from .images import picture
from .model import Guard, Model, load, load_guard


class _Pipeline:
    """What all of them share: a model, and a list in means a list out."""

    def __init__(self, model: Model | Guard, task: str) -> None:
        self.model, self.task = model, task

    @staticmethod
    def _generate(max_new_tokens: int | None = None, generate_kwargs: dict | None = None, do_sample: bool | None = None,
                  temperature: float | None = None, top_p: float | None = None, top_k: int | None = None, **unknown: Any) -> dict:
        """transformers' names for what tapetum calls otherwise."""
        if unknown:
            raise UsageError(f"unknown argument {sorted(unknown)[0]!r}", sorted(unknown)[0])
        if generate_kwargs:
            return _Pipeline._generate(**{"max_new_tokens": max_new_tokens, **generate_kwargs})
        options = {"max_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p, "top_k": top_k}
        if do_sample is False:
            options["temperature"] = 0.0
        return {key: value for key, value in options.items() if value is not None}


def _is_many(value: Any) -> bool:
    return isinstance(value, (list, tuple))


class ImageTextToText(_Pipeline):
    def __call__(self, images: Any = None, text: Any = None, return_full_text: bool = True, **options: Any) -> list:
        """``text``: messages (their pictures as {"type": "image", "url" | "image" | "path"}), several conversations, or texts
        with ``images`` beside them."""
        how = self._generate(**options)
        if text is None and _is_many(images) and images and isinstance(images[0], (dict, list)):
            images, text = None, images
        if text is None:
            raise UsageError("image-text-to-text: text is missing", "text")
        if _is_many(text) and text and isinstance(text[0], dict):
            return [self._talk(text, images, return_full_text, how)]
        if _is_many(text) and text and _is_many(text[0]):
            return [self._talk(one, None, return_full_text, how) for one in text]
        texts = text if _is_many(text) else [text]
        given = images if _is_many(images) and len(texts) > 1 else [images] * len(texts)
        if len(given) != len(texts):
            raise UsageError(f"image-text-to-text: {len(given)} images for {len(texts)} texts", "images")
        out = []
        for words, seen in zip(texts, given):
            answer = self.model.chat(seen, words.replace("<image>", "").strip() or words, **how)
            out.append({"input_text": words, "generated_text": f"{words} {answer.text}" if return_full_text else answer.text})
        return out

    def _talk(self, messages: Sequence[dict], images: Any, return_full_text: bool, how: dict) -> dict:
        waiting = list(images) if _is_many(images) else [] if images is None else [images]
        system, turns = "", []
        for message in messages:
            words, seen = _parts(message, waiting)
            if message["role"] == "system":
                system = words
            else:
                turns.append((message["role"], words, seen))
        if not turns or turns[-1][0] != "user" or any(role != "user" for role, _, _ in turns[:-1:2]):
            raise UsageError("image-text-to-text: messages must alternate and end with the user's", "text")
        if len(turns) > 1:
            raise UnsupportedError("image-text-to-text: earlier turns in messages: use Model.session")
        _, words, seen = turns[0]
        answer = self.model.chat(seen, words, system=system, **how)
        told = {"role": "assistant", "content": answer.text}
        return {"input_text": list(messages), "generated_text": [*messages, told] if return_full_text else answer.text}


def _parts(message: dict, waiting: list) -> tuple[str, list]:
    """A message's words, and its pictures: its own, or the next of those given beside the messages."""
    content = message["content"]
    if isinstance(content, str):
        return content, []
    words, seen = [], []
    for part in content:
        if part["type"] == "text":
            words.append(part["text"])
        elif part["type"] in ("image", "image_url"):
            source = next((part[key] for key in ("image", "url", "path", "image_url") if part.get(key) is not None), None)
            if isinstance(source, dict):
                source = source["url"]
            if source is None:
                if not waiting:
                    raise UsageError("image-text-to-text: a part of type image has no picture, and none is left in images", "images")
                source = waiting.pop(0)
            seen.append(source)
        else:
            raise UnsupportedError(f"image-text-to-text: a part of type {part['type']!r}")
    return " ".join(words), seen


class ImageToText(_Pipeline):
    def __call__(self, inputs: Any, prompt: str | None = None, **options: Any) -> list:
        how = self._generate(**options)
        one = lambda image: [{"generated_text": self.model.chat(image, prompt or "Describe the image.", **how).text}]  # noqa: E731
        return [one(image) for image in inputs] if _is_many(inputs) else one(inputs)


class VisualQuestionAnswering(_Pipeline):
    def __call__(self, image: Any, question: str | None = None, top_k: int = 1, **options: Any) -> list:
        how = self._generate(**options)
        if isinstance(image, dict):
            image, question = image["image"], image["question"]
        if _is_many(image) and image and isinstance(image[0], dict):
            return [self(one, **options) for one in image]
        if question is None:
            raise UsageError("visual-question-answering: question is missing", "question")
        one = lambda seen: [{"answer": self.model.chat(seen, question, **how).text}]  # noqa: E731
        return [one(seen) for seen in image] if _is_many(image) else one(image)


class ObjectDetection(_Pipeline):
    """Zero-shot as well: ``candidate_labels`` says what to look for; without it everything that the model names."""

    def __call__(self, image: Any, candidate_labels: Sequence[str] | str | None = None, threshold: float = 0.0, **options: Any) -> list:
        if options:
            raise UsageError(f"unknown argument {sorted(options)[0]!r}", sorted(options)[0])
        if candidate_labels is None:
            raise UsageError("object-detection: candidate_labels says what to look for: these models find what they are asked for",
                             "candidate_labels")
        phrase = candidate_labels if isinstance(candidate_labels, str) else " ; ".join(candidate_labels)
        return [self._one(one, phrase, threshold) for one in image] if _is_many(image) else self._one(image, phrase, threshold)

    def _one(self, image: Any, phrase: str, threshold: float) -> list:
        found = []
        for one in self.model.detect(image, phrase):
            score = 1.0 if one.score is None else one.score
            if score >= threshold:
                x1, y1, x2, y2 = (round(side) for side in one.box)
                found.append({"score": score, "label": one.label, "box": {"xmin": x1, "ymin": y1, "xmax": x2, "ymax": y2}})
        return sorted(found, key=lambda one: -one["score"])


class MultimodalSafety(_Pipeline):
    def __call__(self, images: Any = None, texts: Any = None, **options: Any) -> list:
        """One result for each picture, then each text: {"flagged", "checked", "scores": {policy: probability}}."""
        if options:
            raise UsageError(f"unknown argument {sorted(options)[0]!r}", sorted(options)[0])
        pictures = images if _is_many(images) else [] if images is None else [images]
        words = texts if _is_many(texts) else [] if texts is None else [texts]
        if words and not self.model.judges_texts:
            raise UnsupportedError("multimodal-safety: this guard judges pictures only; one of texts, such as google/shieldgemma-2b, "
                                   "judges texts", "texts")
        judged = [self.model(picture(one)) for one in pictures] + [self.model(one) for one in words]
        return [{"flagged": one.flagged, "checked": one.checked, "scores": {score.policy: score.p_violates for score in one.scores}}
                for one in judged]


_TASKS: dict[str, Callable[..., _Pipeline]] = {
    "image-text-to-text": ImageTextToText,
    "image-to-text": ImageToText,
    "visual-question-answering": VisualQuestionAnswering,
    "object-detection": ObjectDetection,
    "zero-shot-object-detection": ObjectDetection,
    "multimodal-safety": MultimodalSafety,
}


def pipeline(task: str, model: str | Model | Guard | None = None, *, device: Any = None, torch_dtype: Any = None, dtype: str = "auto",
             threads: int = 0, **unknown: Any) -> _Pipeline:
    """A pipeline for ``task``: image-text-to-text, image-to-text, visual-question-answering, object-detection,
    zero-shot-object-detection or multimodal-safety. ``device`` and ``torch_dtype`` are accepted and mean nothing here."""
    if task not in _TASKS:
        raise UsageError(f"unknown task {task!r}: must be one of {', '.join(_TASKS)}", "task")
    if unknown:
        raise UsageError(f"unknown argument {sorted(unknown)[0]!r}", sorted(unknown)[0])
    if task == "multimodal-safety":
        guard = model if isinstance(model, Guard) else load_guard(model.name if isinstance(model, Model) else model or "nano", threads=threads)
        return MultimodalSafety(guard, task)
    loaded = model if isinstance(model, Model) else load(model or "nano", dtype=dtype, threads=threads)
    return _TASKS[task](loaded, task)
