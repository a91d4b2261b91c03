"""Models and conversations."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import _core
from .errors import UsageError
from .images import Picture, PictureLike, picture
from .results import Answer, Count, Detection, Detections, PolicyScore, Safety

if TYPE_CHECKING:
    import numpy

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

    def __call__(self, what: PictureLike) -> Safety:
        """A ``str`` is a text where this guard judges texts, else a picture's path or URL."""
        if isinstance(what, str) and self.judges_texts:
            return _safety(self._core.judge_text(what))
        return _safety(self._core.judge_picture(picture(what)._core))


class Model:
    """A model, ready to answer. Any number of threads may use one; their calls take turns."""

    def __init__(self, core: _core.Model, dtype: str, threads: int) -> None:
        self._core, self._dtype, self._threads = core, dtype, threads
        self._guards: dict[str, Guard] = {}

    def __repr__(self) -> str:
        return f"tapetum.load({self.name!r})"

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

    def session(self, *, system: str = "", context: int = 0, before: Sequence[Guard] = (), behind: Sequence[Guard] = ()) -> Session:
        """A new conversation. Guards ``before`` judge what goes in, those ``behind`` what comes out: what one refuses
        raises :class:`RefusedError`, and the turn is taken back."""
        return Session(self._core.chat(system, context, [one._core for one in before], [one._core for one in behind]))

    def chat(self, images: PictureLike | Sequence[PictureLike] | None, question: str, *, system: str = "", **options: Any) -> Answer:
        """One question about one picture, several, or none.

        Options: ``max_tokens`` (512), ``temperature``, ``top_p``, ``top_k``, ``min_p``, ``seed``, ``stop``, and at most one of
        ``choices``, ``regex``, ``json_schema`` (text or a dict): the answer is then of that form exactly.
        """
        return self.session(system=system).ask(question, images, **options)

    def stream(self, images: PictureLike | Sequence[PictureLike] | None, question: str, *, system: str = "", **options: Any) -> Stream:
        """The same, piece by piece."""
        return self.session(system=system).stream(question, images, **options)

    def detect(self, image: PictureLike, phrase: str, **options: Any) -> Detections:
        """Where things are: "bird on the roof", "cat ; dog", "point to the cup"."""
        seen = picture(image)
        found = self._core.detect(seen._core, phrase, _options(options))
        return Detections(seen, [Detection(**one) for one in found])

    def segment(self, image: PictureLike, phrase: str, *, mask_weights: str | os.PathLike = "", **options: Any) -> Detections:
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
            self._guards[key] = load_guard(self.name, threads=self._threads, **options)
        return self._guards[key](what)

    def embed(self, image: PictureLike | None = None, text: str | None = None) -> numpy.ndarray:
        """A vector [width] of a picture, of a text, or of a picture in the light of a text, for comparing like with like."""
        if image is None and text is None:
            raise UsageError("embed: give a picture, a text or both")
        if image is None:
            return self._core.embed_text(text)
        seen = picture(image)._core
        return self._core.embed_picture(seen) if text is None else self._core.embed_both(seen, text)


def load(name: str = "nano", *, dtype: str = "auto", threads: int = 0) -> Model:
    """A model: "nano" (it comes with tapetum), a folder in the hub's format, or "org/name" in the local hub cache.

    ``dtype``: auto, f32, bf16, q8 or q4. ``threads``: 0 takes those that this process may use. Nothing is downloaded.
    """
    return Model(_core.Model.load(os.fspath(name), dtype, threads), dtype, threads)


def load_guard(name: str = "nano", *, policies: Sequence[str] = (), own: Mapping[str, str] | None = None, threshold: float = 0.5,
               threads: int = 0) -> Guard:
    """A guard. ``policies``: by name, else all that it has; ``own``: further ones, name to text; ``threshold``: refused from it on."""
    return Guard(_core.Guard.load(os.fspath(name), list(policies), list((own or {}).items()), threshold, threads))
