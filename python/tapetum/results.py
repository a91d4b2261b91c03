"""What comes back: plain dataclasses that show themselves in a notebook."""

from __future__ import annotations

import base64
import dataclasses
import html
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from . import _core

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    from .images import Picture


@dataclasses.dataclass(frozen=True)
class Answer:
    """One answer, whole. Times are in milliseconds."""

    text: str
    finish_reason: str  # "stop" or "length"
    prompt_tokens: int  # of the whole conversation so far, pictures included
    image_tokens: int
    cached_tokens: int  # known from earlier turns: they cost nothing
    output_tokens: int
    first_token_ms: float
    total_ms: float

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return (f"<p>{html.escape(self.text)}</p><p style='opacity:.6;font-size:smaller'>{self.prompt_tokens} tokens of prompt, "
                f"{self.cached_tokens} of them cached; {self.output_tokens} of answer in {self.total_ms / 1000:.2f} s</p>")


@dataclasses.dataclass(frozen=True)
class Detection:
    """Where a thing is: ``box`` is (x1, y1, x2, y2) in the picture's own pixels, y down."""

    label: str
    box: tuple[float, float, float, float]
    score: float | None = None
    point: tuple[float, float] | None = None
    mask: numpy.typing.NDArray[numpy.uint8] | None = dataclasses.field(default=None, repr=False, compare=False)  # [height, width], 0 and 1


class Detections(Sequence[Detection]):
    """Everything that was found in one picture; in a notebook, the picture with boxes."""

    def __init__(self, picture: Picture, found: Sequence[Detection]) -> None:
        self.picture, self._found = picture, tuple(found)

    @overload
    def __getitem__(self, index: int) -> Detection: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Detection]: ...
    def __getitem__(self, index: Any) -> Any:
        return self._found[index]

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Detection]:
        return iter(self._found)

    def __repr__(self) -> str:
        return f"Detections({list(self._found)!r})"

    def drawn(self) -> Picture:
        """The picture with what was found drawn on it."""
        return self.picture._with(_core.draw(self.picture._core, list(self._found)))

    def _repr_png_(self) -> bytes:
        return self.drawn().png()

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{html.escape(one.label)}</td><td>{', '.join(f'{side:.0f}' for side in one.box)}</td>"
                       f"<td>{'' if one.score is None else f'{one.score:.2f}'}</td></tr>" for one in self._found)
        shown = base64.b64encode(self._repr_png_()).decode()
        return (f"<img style='max-width:100%' alt='{len(self)} found' src='data:image/png;base64,{shown}'>"
                f"<table><tr><th>label</th><th>x1, y1, x2, y2</th><th>score</th></tr>{rows}</table>")


@dataclasses.dataclass(frozen=True)
class Count:
    """How many there are, counted twice: by finding them, and by asking (None: the answer was no number)."""

    label: str
    boxes: int
    answered: int | None


@dataclasses.dataclass(frozen=True)
class PolicyScore:
    policy: str
    p_violates: float
    threshold: float
    violates: bool


@dataclasses.dataclass(frozen=True)
class Safety:
    """What a guard says of one picture or text."""

    flagged: bool
    checked: str  # "image" or "text"
    scores: tuple[PolicyScore, ...]

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{html.escape(one.policy)}</td><td>{one.p_violates:.3f}</td><td>{'refused' if one.violates else ''}</td></tr>"
                       for one in self.scores)
        return f"<p><b>{'flagged' if self.flagged else 'passes'}</b></p><table>{rows}</table>"
