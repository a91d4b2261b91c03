"""transformers' pipelines by another import: the same calls, the same shapes of what comes back.

    from tapetum import pipeline        # instead of: from transformers import pipeline
    pipe = pipeline("image-text-to-text", model="HuggingFaceTB/SmolVLM-500M-Instruct")
    pipe(text=[{"role": "user", "content": [{"type": "image", "url": "roof.png"}, {"type": "text", "text": "What is this?"}]}])

A list in is a list out, an iterator in an iterator out; ``batch_size`` says how many are computed together.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .errors import UnsupportedError, UsageError
from .images import picture
from .messages import core_messages
from .model import Guard, Model, load, load_guard
from .results import Answer

_IMAGE_MARK = "<image>"


def _is_many(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and "role" in value and "content" in value


def _no_more(task: str, options: Mapping[str, Any]) -> None:
    for name in sorted(set(options) - {"timeout", "num_workers"}):  # those mean nothing here
        raise UsageError(f"{task}: unknown argument {name!r}", name)


def _generation(task: str, max_new_tokens: int | None = None, generate_kwargs: Mapping[str, Any] | None = None,
                stop_sequence: str | Sequence[str] | None = None, **unknown: Any) -> dict[str, Any]:
    """transformers' names for what tapetum calls otherwise."""
    given = dict(generate_kwargs or {})
    if max_new_tokens is not None and given.setdefault("max_new_tokens", max_new_tokens) != max_new_tokens:
        raise UsageError(f"{task}: max_new_tokens is given twice, also in generate_kwargs", "max_new_tokens")
    _no_more(task, unknown)
    out = {"max_tokens": given.pop("max_new_tokens", 256), "stop": stop_sequence or given.pop("stop_strings", None)}
    sample = given.pop("do_sample", None)
    for name in ("temperature", "top_p", "top_k", "min_p"):
        out[name] = given.pop(name, None)
    if sample is False:
        out["temperature"] = 0.0
    for name in sorted(set(given) - {"tokenizer", "use_cache"}):
        raise UsageError(f"{task}: generate_kwargs has {name!r}, which tapetum does not know", name)
    return out


class Pipeline:
    """What all of them share. ``options`` are those of each call that says nothing else."""

    def __init__(self, task: str, model: Any, batch_size: int, options: Mapping[str, Any]) -> None:
        self.task, self.model, self.batch_size, self._options = task, model, batch_size, dict(options)

    def _many(self, inputs: Any, one: Callable[[Sequence[Any]], list[Any]], batch_size: int) -> Any:
        """``one`` answers some inputs; a single one is no list."""
        if isinstance(inputs, Iterator):
            return (found for some in iter(lambda: list(itertools.islice(inputs, max(batch_size, 1))), []) for found in one(some))
        return one(inputs) if _is_many(inputs) else one([inputs])[0]


class ImageTextToText(Pipeline):
    def __call__(self, images: Any = None, text: Any = None, **options: Any) -> Any:
        """``text``: a conversation, several, or texts with ``images`` beside them."""
        options = {**self._options, **options}
        batch_size = options.pop("batch_size", self.batch_size)
        full, going_on = options.pop("return_full_text", None), options.pop("continue_final_message", None)
        if options.pop("return_tensors", None):
            raise UnsupportedError(f"{self.task}: return_tensors: there are no tensors here", "return_tensors")
        full = True if full is None else full
        how = {**_generation(self.task, **options), "at_once": batch_size}
        if text is None and images is not None:
            if isinstance(images, Mapping) or (_is_many(images) and images and isinstance(images[0], (Mapping, list, tuple))) \
                    or isinstance(images, Iterator):
                images, text = None, images
        if text is None:
            raise UsageError(f"{self.task}: at least text is needed", "text")
        if _is_many(text) and text and _is_message(text[0]):
            return [self._talk([text], images, full, going_on, how)[0]]
        if isinstance(text, Iterator) or (_is_many(text) and text and not isinstance(text[0], str)) or isinstance(text, Mapping):
            # Of conversations, each with its pictures inside, or of {"images", "text"}.
            return self._many(text, lambda some: [[self._any(one, full, going_on, how)] for one in some] if not self._all_chats(some)
                              else [[one] for one in self._talk(some, None, full, going_on, how)], batch_size)
        texts = list(text) if _is_many(text) else [text]
        seen = self._spread(images, texts)
        out = self._ask(texts, seen, full, how)
        return [[one] for one in out] if images is None and _is_many(text) else out

    @staticmethod
    def _all_chats(some: Sequence[Any]) -> bool:
        return all(_is_many(one) and one and _is_message(one[0]) for one in some)

    def _any(self, one: Any, full: bool, going_on: bool | None, how: Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(one, Mapping):
            return self._ask([one["text"]], [one.get("images", one.get("image"))], full, how)[0]
        if isinstance(one, str):
            return self._ask([one], [None], full, how)[0]
        return self._talk([one], None, full, going_on, how)[0]

    def _spread(self, images: Any, texts: Sequence[str]) -> list[Any]:
        """The pictures of each text."""
        if not _is_many(images):
            return [images] * len(texts)
        if len(texts) == 1:
            return [images]
        if len(images) != len(texts):
            raise UsageError(f"{self.task}: {len(images)} images for {len(texts)} texts", "images")
        return list(images)

    def _ask(self, texts: Sequence[str], seen: Sequence[Any], full: bool, how: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Texts as user's messages: the marks of pictures in them are the chat template's business."""
        items = [(pictures, words.replace(_IMAGE_MARK, "").strip()) for words, pictures in zip(texts, seen)]
        answers = self.model.batch(items, **how)
        return [{"input_text": words, "generated_text": f"{words} {answer.text}" if full else answer.text}
                for words, answer in zip(texts, answers)]

    def _talk(self, chats: Sequence[Sequence[Mapping[str, Any]]], images: Any, full: bool, going_on: bool | None,
              how: Mapping[str, Any]) -> list[dict[str, Any]]:
        beside = list(images) if _is_many(images) else [] if images is None else [images]
        for chat in chats:
            if going_on is not None and going_on != (chat[-1]["role"] == "assistant"):
                raise UnsupportedError(f"{self.task}: continue_final_message is {going_on}: here it follows from who spoke last",
                                       "continue_final_message")
        conversations = [core_messages(chat, beside) for chat in chats]
        answers = self.model._batch(conversations, **how)
        return [{"input_text": chat, "generated_text": self._full(chat, answer) if full else answer.text}
                for chat, answer in zip(chats, answers)]

    @staticmethod
    def _full(chat: Sequence[Mapping[str, Any]], answer: Answer) -> list[Any]:
        last = chat[-1]
        if last["role"] != "assistant":
            return [*chat, {"role": "assistant", "content": answer.text}]
        content = last["content"]
        if isinstance(content, str):
            content += answer.text
        else:
            content = [*content[:-1], {**content[-1], "text": content[-1]["text"] + answer.text}]
        return [*chat[:-1], {"role": last["role"], "content": content}]


class ImageToText(Pipeline):
    def __call__(self, inputs: Any = None, prompt: str | None = None, **options: Any) -> Any:
        options = {**self._options, **options}
        inputs = options.pop("images", inputs)
        batch_size = options.pop("batch_size", self.batch_size)
        how = {**_generation(self.task, **options), "at_once": batch_size}

        def of(some: Sequence[Any]) -> list[Any]:
            answers = self.model.batch([(one, prompt or "Describe the image.") for one in some], **how)
            return [[{"generated_text": answer.text}] for answer in answers]

        return self._many(inputs, of, batch_size)


class VisualQuestionAnswering(Pipeline):
    def __call__(self, image: Any = None, question: Any = None, **options: Any) -> Any:
        options = {**self._options, **options}
        options.pop("top_k", None)  # of answers: these models give one
        batch_size = options.pop("batch_size", self.batch_size)
        how = {**_generation(self.task, **options), "at_once": batch_size}

        def of(some: Sequence[Any]) -> list[Any]:
            items = [(one["image"], one["question"]) if isinstance(one, Mapping) else one for one in some]
            if any(not isinstance(words, str) for _, words in items):
                raise UsageError(f"{self.task}: question is missing", "question")
            return [[{"answer": answer.text}] for answer in self.model.batch(items, **how)]

        if isinstance(image, (Mapping, Iterator)) or (_is_many(image) and image and isinstance(image[0], Mapping)):
            return self._many(image, of, batch_size)
        if _is_many(image) or _is_many(question):  # each picture with each question
            pictures, questions = image if _is_many(image) else [image], question if _is_many(question) else [question]
            return of([(one, words) for one in pictures for words in questions])
        return of([(image, question)])[0]


class ObjectDetection(Pipeline):
    """Zero-shot as well: ``candidate_labels`` says what to look for."""

    def __call__(self, image: Any = None, candidate_labels: Any = None, **options: Any) -> Any:
        options = {**self._options, **options}
        image = options.pop("images", options.pop("inputs", image))
        labels = options.pop("candidate_labels", candidate_labels) if candidate_labels is None else candidate_labels
        threshold, top_k, batch_size = options.pop("threshold", 0.0), options.pop("top_k", None), options.pop("batch_size", 1)
        _no_more(self.task, options)
        own = _is_many(labels) and bool(labels) and _is_many(labels[0])
        if own and (not _is_many(image) or len(labels) != len(image)):
            raise UsageError(f"{self.task}: {len(labels)} lists of candidate_labels: must be one for each image", "candidate_labels")

        def of(some: Sequence[Any]) -> list[Any]:
            each = labels if own else [labels] * len(some)
            return [self._one(one["image"], one.get("candidate_labels", wanted), threshold, top_k) if isinstance(one, Mapping)
                    else self._one(one, wanted, threshold, top_k) for one, wanted in zip(some, each)]

        return self._many(image, of, batch_size)

    def _one(self, image: Any, labels: Any, threshold: float, top_k: int | None) -> list[dict[str, Any]]:
        if labels is None:
            raise UsageError(f"{self.task}: candidate_labels says what to look for: these models find what they are asked for",
                             "candidate_labels")
        labels = labels.split(",") if isinstance(labels, str) else labels
        out = []
        for one in self.model.detect(image, " ; ".join(label.strip() for label in labels)):
            score = 1.0 if one.score is None else one.score
            if score >= threshold:
                sides = dict(zip(("xmin", "ymin", "xmax", "ymax"), (int(side) for side in one.box)))
                out.append({"score": score, "label": one.label, "box": sides})
        return sorted(out, key=lambda one: -float(one["score"]))[:top_k]


class MultimodalSafety(Pipeline):
    """A classifier: ``model`` is a :class:`tapetum.Guard`."""

    def __call__(self, images: Any = None, texts: Any = None, **options: Any) -> list[dict[str, Any]]:
        """One result for each picture and policy, then for each text and policy: {"input": "images[0]", "label": policy,
        "score": P(it is violated), "violates"}."""
        options = {**self._options, **options}
        options.pop("batch_size", None)
        _no_more(self.task, options)
        pictures = list(images) if _is_many(images) else [] if images is None else [images]
        words = list(texts) if _is_many(texts) else [] if texts is None else [texts]
        if not pictures and not words:
            raise UsageError(f"{self.task}: give images, texts or both", "images")
        if words and not self.model.judges_texts:
            raise UnsupportedError(f"{self.task}: texts: this guard judges pictures only; one of texts, such as google/shieldgemma-2b, "
                                   "is given as text_model", "texts")
        if pictures and not self.model.judges_pictures:
            raise UnsupportedError(f"{self.task}: images: this guard judges texts only", "images")
        judged = [(f"images[{i}]", self.model.judge(picture(one))) for i, one in enumerate(pictures)]
        judged += [(f"texts[{i}]", self.model.judge_text(one)) for i, one in enumerate(words)]
        return [{"input": name, "label": score.policy, "score": score.p_violates, "violates": score.violates}
                for name, safety in judged for score in safety.scores]


_TASKS: dict[str, type[Pipeline]] = {
    "image-text-to-text": ImageTextToText,
    "image-to-text": ImageToText,
    "visual-question-answering": VisualQuestionAnswering,
    "vqa": VisualQuestionAnswering,
    "document-question-answering": VisualQuestionAnswering,
    "object-detection": ObjectDetection,
    "zero-shot-object-detection": ObjectDetection,
    "multimodal-safety": MultimodalSafety,
}
_DTYPES = ("auto", "f32", "bf16", "q8", "q4")
_MEANS_NOTHING = {"device", "device_map", "torch_dtype", "trust_remote_code", "use_fast", "framework", "num_workers", "token", "tokenizer",
                  "processor", "image_processor", "feature_extractor", "model_kwargs", "revision", "config"}


def pipeline(task: str | None = None, model: Any = None, *, dtype: Any = "auto", threads: int = 0, batch_size: int = 8,
             text_model: Any = None, **options: Any) -> Pipeline:
    """A pipeline for ``task``: image-text-to-text, image-to-text, visual-question-answering, document-question-answering,
    object-detection, zero-shot-object-detection or multimodal-safety.

    ``model``: a name or folder as :func:`tapetum.load` takes it, or what is loaded already. ``dtype``: tapetum's names; torch's, and
    arguments such as ``device``, are accepted and mean nothing. ``text_model`` (multimodal-safety): the guard of texts beside one of
    pictures. Other arguments are those of every call.
    """
    if task is None:
        task = "image-text-to-text"
    if task not in _TASKS:
        raise UsageError(f"unknown task {task!r}: must be one of {', '.join(_TASKS)}", "task")
    options = {name: value for name, value in options.items() if name not in _MEANS_NOTHING}
    if task == "multimodal-safety":
        guard = _guard(model or "nano", threads)
        return MultimodalSafety(task, guard if text_model is None else _TwoGuards(guard, _guard(text_model, threads)), batch_size, options)
    if text_model is not None:
        raise UsageError(f"{task}: text_model is an argument of multimodal-safety", "text_model")
    kept = dtype if isinstance(dtype, str) and dtype in _DTYPES else "auto"
    return _TASKS[task](task, model if isinstance(model, Model) else load(model or "nano", dtype=kept, threads=threads), batch_size, options)


def _guard(model: Any, threads: int) -> Guard:
    return model if isinstance(model, Guard) else load_guard(model._source if isinstance(model, Model) else model, threads=threads)


class _TwoGuards:
    """One for pictures, one for texts."""

    judges_pictures = judges_texts = True

    def __init__(self, pictures: Guard, texts: Guard) -> None:
        self.judge, self.judge_text = pictures.judge, texts.judge_text
        if not pictures.judges_pictures:
            raise UnsupportedError("multimodal-safety: model judges texts only; it must judge pictures", "model")
        if not texts.judges_texts:
            raise UnsupportedError("multimodal-safety: text_model judges pictures only; it must judge texts", "text_model")
