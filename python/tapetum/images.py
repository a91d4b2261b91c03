"""Pictures as Python has them: paths, bytes, URLs, PIL, NumPy."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Union

from . import _core
from .errors import UsageError

if TYPE_CHECKING:
    import numpy
    import numpy.typing

PictureLike = Union["Picture", str, "os.PathLike[str]", bytes, bytearray, memoryview, Any]  # Any: PIL, arrays


class Picture:
    """An upright 8-bit RGB picture that never changes."""

    def __init__(self, core: _core.Image) -> None:
        self._core = core

    def _with(self, core: _core.Image) -> Picture:
        return Picture(core)

    @property
    def width(self) -> int:
        return self._core.width

    @property
    def height(self) -> int:
        return self._core.height

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), as PIL says it."""
        return self.width, self.height

    def png(self) -> bytes:
        return self._core.png()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> numpy.typing.NDArray[Any]:
        """[height, width, 3] uint8, red, green, blue."""
        import numpy

        array = self._core.pixels()
        return numpy.array(array, dtype=dtype or array.dtype) if copy is not False else numpy.asarray(array, dtype=dtype)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it as PNG."""
        with open(path, "wb") as file:
            file.write(self.png())

    def _repr_png_(self) -> bytes:
        return self.png()

    def __repr__(self) -> str:
        return f"Picture({self.width}x{self.height})"


def picture(source: PictureLike) -> Picture:
    """A picture from a path, the bytes of a file, a data: or http(s): URL, a PIL image, or an array [height, width],
    [height, width, 3 or 4] of uint8.

    Transparent pixels are laid on white, and EXIF orientation is applied, whatever it comes from. URLs of private,
    loopback and link-local addresses are refused.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, (bytes, bytearray, memoryview)):
        return Picture(_core.Image.decode(bytes(source), "picture"))
    if isinstance(source, str) and source.startswith(("http://", "https://", "data:")):
        return Picture(_fetched(source))
    if isinstance(source, (str, os.PathLike)):
        return Picture(_core.Image.load(os.fspath(source)))
    if hasattr(source, "getexif") and hasattr(source, "convert"):
        return Picture(_core.Image.from_pixels(_of_pil(source)))
    if hasattr(source, "__array__") or hasattr(source, "__array_interface__"):
        return Picture(_core.Image.from_pixels(_of_array(source)))
    raise UsageError(f"a picture is a {type(source).__name__}: must be a path, bytes, a URL, a PIL image or an array", "image")


def _fetched(url: str) -> _core.Image:
    """In a thread of its own where it may take long, so that Ctrl-C need not wait for the network."""
    if url.startswith("data:"):
        return _core.Image.fetch(url)
    got: list[_core.Image] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            got.append(_core.Image.fetch(url))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
    if failed:
        raise failed[0]
    return got[0]


def _of_pil(image: Any) -> numpy.typing.NDArray[numpy.uint8]:
    import numpy
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # Pillow would clip it to white
        return _of_array((numpy.asarray(image) >> 8).astype(numpy.uint8))
    if image.mode in ("I", "F"):
        raise UsageError(f"a PIL image of mode {image.mode} has no range of its own: make it L or RGB first", "image")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", rgba.size, (255, 255, 255))
        white.paste(rgba, mask=rgba.getchannel("A"))
        image = white
    return numpy.ascontiguousarray(image.convert("RGB"))


def _of_array(source: Any) -> numpy.typing.NDArray[numpy.uint8]:
    import numpy

    array = numpy.asarray(source)
    if array.dtype != numpy.uint8:
        raise UsageError(f"a picture's array is {array.dtype}: must be uint8, 0 to 255", "image")
    if array.ndim == 2:
        array = numpy.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] not in (3, 4):
        raise UsageError(f"a picture's array is {list(array.shape)}: must be [height, width] or [height, width, 3 or 4]", "image")
    if array.shape[2] == 4:
        alpha = array[:, :, 3:].astype(numpy.uint16)
        array = ((array[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(numpy.uint8)
    return numpy.ascontiguousarray(array)
