"""Messages as OpenAI and transformers write them, for the library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import _core
from .errors import UsageError
from .images import picture

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def core_messages(messages: Iterable[Mapping[str, Any]], images: Iterable[Any] = ()) -> list[_core.Message]:
    """``messages``: [{"role": "user", "content": text or [{"type": "text", "text": …}, {"type": "image", "url": …}, …]}, …]. A part of
    type image that names no picture takes the next of ``images``."""
    waiting = iter(images)
    out: list[_core.Message] = []
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        if not isinstance(message, Mapping) or "role" not in message or "content" not in message:
            raise UsageError(f'{place}: must be a dict with "role" and "content"', "messages")
        if message["role"] not in _ROLES:
            raise UsageError(f"{place}.role is {message['role']!r}: must be system, user or assistant", "messages")
        out.append((_ROLES[message["role"]], _parts(message["content"], waiting, f"{place}.content")))
    if next(waiting, None) is not None:
        raise UsageError("more images are given than the messages have places for", "images")
    return out


def _parts(content: Any, waiting: Iterable[Any], place: str) -> list[str | _core.Image]:
    if isinstance(content, str):
        return [content]
    if not isinstance(content, Sequence):
        raise UsageError(f"{place} is a {type(content).__name__}: must be text or a list of parts", "messages")
    out: list[str | _core.Image] = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text" and isinstance(part.get("text"), str):
            out.append(part["text"])
        elif kind in ("image", "image_url"):
            out.append(picture(_source(part, waiting, f"{place}[{index}]"))._core)
        else:
            raise UsageError(f'{place}[{index}]: must be {{"type": "text", "text": …}} or {{"type": "image", "url": …}}', "messages")
    return out


def _source(part: Mapping[str, Any], waiting: Iterable[Any], place: str) -> Any:
    for key in ("image", "url", "path", "base64", "image_url"):
        source = part.get(key)
        if source is not None:
            source = source["url"] if isinstance(source, Mapping) else source
            return f"data:image/any;base64,{source}" if key == "base64" else source
    for source in waiting:
        return source
    raise UsageError(f"{place}: a picture without url, path or image, and none is left in images", "images")
