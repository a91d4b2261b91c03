"""What goes wrong. Every failure is a :class:`TapetumError`; the classes below it are those of the C++ library's codes."""

from __future__ import annotations


class TapetumError(Exception):
    """``code`` is stable ("bad_file"); ``item`` is the file, key or option it is about, or "". """

    code = "internal"

    def __init__(self, message: str, item: str = "") -> None:
        super().__init__(message)
        self.item = item


class UsageError(TapetumError, ValueError):
    """The call itself is wrong: an option out of its range, an empty question."""

    code = "usage"


class NotFoundError(TapetumError, FileNotFoundError):
    """No such file, folder or model."""

    code = "not_found"

    def __str__(self) -> str:  # FileNotFoundError would show the arguments as errno and text
        return str(self.args[0])


class BadFileError(TapetumError):
    """A model's file or a picture that is damaged, incomplete or of no known kind."""

    code = "bad_file"


class BadInputError(TapetumError, ValueError):
    """A value that cannot be used: an empty text to embed, a frame that a file lacks."""

    code = "bad_input"


class LimitError(TapetumError):
    """Larger than what is allowed, or than the model's context."""

    code = "limit"


class InputOutputError(TapetumError, OSError):
    """Reading or writing failed."""

    code = "io"

    def __str__(self) -> str:
        return str(self.args[0])


class UnsupportedError(TapetumError):
    """Right, but this model or this build cannot."""

    code = "unsupported"


class CancelledError(TapetumError):
    """Ended before its end."""

    code = "cancelled"


class OutOfMemoryError(TapetumError, MemoryError):
    """The message names the size."""

    code = "out_of_memory"


class InternalError(TapetumError):
    """A bug of tapetum; please report it."""

    code = "internal"


class RefusedError(TapetumError):
    """Refused by a guard; the message names policy, probability and threshold."""

    code = "refused"


_CLASSES = {
    kind.code: kind
    for kind in (UsageError, NotFoundError, BadFileError, BadInputError, LimitError, InputOutputError, UnsupportedError,
                 CancelledError, OutOfMemoryError, InternalError, RefusedError)
}


def _from_code(code: str, message: str, item: str) -> TapetumError:
    return _CLASSES.get(code, InternalError)(message, item)
