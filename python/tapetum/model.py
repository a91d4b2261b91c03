"""Models and conversations."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from . import _core
from .errors import TapetumError, UsageError
from .images import Picture, PictureLike, picture
from .messages import core_messages
from .results import Answer, Count, Detection, Detections, PolicyScore, Safety

if TYPE_CHECKING:
    import numpy
    import numpy.typing

_OPTIONS = {"max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stop", "choices", "regex", "json_schema"}


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments as the library takes them; what is None is not set."""
    if unknown := set(given) - _OPTIONS:
        raise UsageError(f"unknown option {sorted(unknown)[0]!r}: must be one of {', '.join(sorted(_OPTIONS))}", sorted(unknown)[0])
    options = {key: value for key, value in given.items() if value is not None}
    if isinstance(options.get("stop"), str):
        options["stop"] = [options["stop"]]
    if "json_schema" in options and not isinstance(options["json_schema"], str):
        options["json_schema"] = json.dumps(options["json_schema"])
    return options


def _pictures(images: PictureLike | Iterable[PictureLike] | None) -> list[Picture]:
    if images is None:
        return []
    if isinstance(images, (list, tuple)):
        return [picture(one) for one in images]
    return [picture(images)]


def _conversation(item: Any) -> list[_core.Message]:
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], str):
        return [("user", [*(one._core for one in _pictures(item[0])), item[1]])]
    if isinstance(item, str) or not isinstance(item, Iterable):
        raise UsageError(f"an item of a batch is a {type(item).__name__}: must be (images, question) or a list of messages", "items")
    return core_messages(item)


def _safety(found: Mapping[str, Any]) -> Safety:
    return Safety(found["flagged"], found["checked"], tuple(PolicyScore(**score) for score in found["scores"]))


class Stream(Iterator[str]):
    """An answer while it is made, piece by piece; ``answer`` is the whole of it once it has ended."""

    def __init__(self, core: _core.Stream) -> None:
        self._core = core

    def __next__(self) -> str:
        piece = self._core.next()
        if piece is None:
            raise StopIteration
        return piece

    @property
    def answer(self) -> Answer:
        return Answer(**self._core.answer())


class Session:
    """A conversation with pictures: it remembers all turns, and computes only what is new of each."""

    def __init__(self, core: _core.Chat) -> None:
        self._core = core

    def ask(self, question: str, images: PictureLike | Sequence[PictureLike] | None = None, **options: Any) -> Answer:
        """The whole answer to a question, with new pictures if any. ``options``: see :meth:`Model.chat`."""
        return Answer(**self._core.ask(question, [one._core for one in _pictures(images)], _options(options)))

    def stream(self, question: str, images: PictureLike | Sequence[PictureLike] | None = None, **options: Any) -> Stream:
        """The same, piece by piece. A stream of this session that is still running ends."""
        return Stream(self._core.stream(question, [one._core for one in _pictures(images)], _options(options)))

    @property
    def turns(self) -> int:
        return self._core.turns

    def clear(self) -> None:
        """Forgets all turns; the system message stays."""
        self._core.clear()


class Guard:
    """A classifier that judges pictures or texts by safety policies."""

    def __init__(self, core: _core.Guard) -> None:
        self._core = core

    @property
    def judges_pictures(self) -> bool:
        return self._core.judges_pictures

    @property
    def judges_texts(self) -> bool:
        return self._core.judges_texts

    def judge(self, picture_: PictureLike) -> Safety:
        return _safety(self._core.judge_picture(picture(picture_)._core))

    def judge_text(self, text: str) -> Safety:
        """What a user says."""
        return _safety(self._core.judge_text(text))

    def judge_answer(self, question: str, answer: str) -> Safety:
        """What a model answered."""
        return _safety(self._core.judge_answer(question, answer))

    def __call__(self, what: PictureLike) -> Safety:
        """A ``str`` is a text where this guard judges texts, else a picture's path or URL."""
        if isinstance(what, str) and self.judges_texts:
            return self.judge_text(what)
        return self.judge(what)


class Model:
    """A model, ready to answer. Any number of threads may use one; their calls take turns."""

    def __init__(self, core: _core.Model, source: str, threads: int) -> None:
        self._core, self._source, self._threads = core, source, threads
        self._guards: dict[str, Guard] = {}

    def __repr__(self) -> str:
        return f"tapetum.load({self._source!r})"

    @property
    def name(self) -> str:
        return self._core.name

    @property
    def context(self) -> int:
        """Most tokens of one conversation, pictures and answer included."""
        return self._core.context

    @property
    def can_detect(self) -> bool:
        return self._core.can_detect

    def session(self, *, system: str = "", context: int = 0, messages: Iterable[Mapping[str, Any]] = (), before: Sequence[Guard] = (),
                behind: Sequence[Guard] = ()) -> Session:
        """A new conversation. ``messages``: what was said already, see :meth:`answer`. Guards ``before`` judge what goes in, those ``behind`` what comes out: what one refuses
        raises :class:`RefusedError`, and the turn is taken back."""
        return Session(self._core.chat(system, context, [one._core for one in before], [one._core for one in behind],
                                       core_messages(messages)))

    def chat(self, images: PictureLike | Sequence[PictureLike] | None, question: str, *, system: str = "", **options: Any) -> Answer:
        """One question about one picture, several, or none.

        Options: ``max_tokens`` (512), ``temperature``, ``top_p``, ``top_k``, ``min_p``, ``seed``, ``stop``, and at most one of
        ``choices``, ``regex``, ``json_schema`` (text or a dict): the answer is then of that form exactly.
        """
        return self.session(system=system).ask(question, images, **options)

    def stream(self, images: PictureLike | Sequence[PictureLike] | None, question: str, *, system: str = "", **options: Any) -> Stream:
        """The same, piece by piece."""
        return self.session(system=system).stream(question, images, **options)

    def answer(self, messages: Iterable[Mapping[str, Any]], **options: Any) -> Answer:
        """The next message of a whole conversation, [{"role", "content"}, …] with content a text or parts
        {"type": "text", "text"} and {"type": "image", "url" | "path" | "image"}. One that ends with the assistant's is gone on with."""
        answer: Answer = self.batch([messages], at_once=1, **options)[0]
        return answer

    @overload
    def batch(self, items: Iterable[Any], *, at_once: int = ..., errors: Literal["raise"] = ..., **options: Any) -> list[Answer]: ...
    @overload
    def batch(self, items: Iterable[Any], *, at_once: int = ..., errors: Literal["return"],
              **options: Any) -> list[Answer | TapetumError]: ...
    def batch(self, items: Iterable[Any], *, at_once: int = 8, errors: Literal["raise", "return"] = "raise",
              **options: Any) -> Sequence[Answer | TapetumError]:
        """Many answers, up to ``at_once`` computed together: of pairs (images, question) as :meth:`chat` takes them, or of whole
        conversations as :meth:`answer` does. ``errors``: "raise" the first one, or "return" them in their places."""
        if errors not in ("raise", "return"):
            raise UsageError(f"errors is {errors!r}: must be raise or return", "errors")
        return self._batch([_conversation(item) for item in items], at_once=at_once, errors=errors, **options)

    def _batch(self, conversations: Sequence[Sequence[_core.Message]], *, at_once: int, errors: str = "raise",
               **options: Any) -> list[Answer | TapetumError]:
        out: list[Answer | TapetumError] = []
        for index, found in enumerate(self._core.answer_all(conversations, _options(options), at_once)):
            if isinstance(found, TapetumError):
                if errors == "raise":
                    if len(conversations) > 1:
                        found.add_note(f"item {index} of the batch")
                    raise found
                out.append(found)
            else:
                out.append(Answer(**found))
        return out

    def detect(self, image: PictureLike, phrase: str, **options: Any) -> Detections:
        """Where things are: "bird on the roof", "cat ; dog", "point to the cup"."""
        seen = picture(image)
        found = self._core.detect(seen._core, phrase, _options(options))
        return Detections(seen, [Detection(**one) for one in found])

    def segment(self, image: PictureLike, phrase: str, *, mask_weights: str | os.PathLike[str] = "", **options: Any) -> Detections:
        """The same with masks (PaliGemma). ``mask_weights``: the file of its mask decoder, else the one in the model's folder."""
        seen = picture(image)
        found = self._core.segment(seen._core, phrase, os.fspath(mask_weights), _options(options))
        return Detections(seen, [Detection(**one) for one in found])

    def count(self, image: PictureLike, phrase: str, **options: Any) -> list[Count]:
        """How many of each thing there are."""
        return [Count(**one) for one in self._core.count(picture(image)._core, phrase, _options(options))]

    def guard(self, what: PictureLike, **options: Any) -> Safety:
        """What this model, where it is a guard, says of a picture or a text. ``options``: see :func:`load_guard`."""
        key = repr(sorted(options.items()))
        if key not in self._guards:
            self._guards[key] = load_guard(self._source, threads=self._threads, **options)
        return self._guards[key](what)

    def embed(self, image: PictureLike | None = None, text: str | None = None) -> numpy.typing.NDArray[numpy.float32]:
        """A vector [width] of a picture, of a text, or of a picture in the light of a text, for comparing like with like."""
        if image is None:
            if text is None:
                raise UsageError("embed: give a picture, a text or both")
            return self._core.embed_text(text)
        seen = picture(image)._core
        return self._core.embed_picture(seen) if text is None else self._core.embed_both(seen, text)


def load(name: str | os.PathLike[str] = "nano", *, dtype: str = "auto", threads: int = 0) -> Model:
    """A model: "nano" (it comes with tapetum), a folder in the hub's format, or "org/name" in the local hub cache.

    ``dtype``: auto, f32, bf16, q8 or q4. ``threads``: 0 takes those that this process may use. Nothing is downloaded.
    """
    return Model(_core.Model.load(os.fspath(name), dtype, threads), os.fspath(name), threads)


def load_guard(name: str | os.PathLike[str] = "nano", *, policies: Sequence[str] = (), own: Mapping[str, str] | None = None, threshold: float = 0.5,
               thresholds: Mapping[str, float] | None = None, threads: int = 0) -> Guard:
    """A guard. ``policies``: by name, else all that it has; ``own``: further ones, name to text; ``threshold``: refused from it on;
    ``thresholds``: of policies with one of their own."""
    return Guard(_core.Guard.load(os.fspath(name), list(policies), list((own or {}).items()), threshold,
                                   dict(thresholds or {}), threads))
