"""tapetum: look at pictures and say what is in them.

    import tapetum
    model = tapetum.load()
    print(model.chat("roof.png", "What is on the roof?"))
"""

from ._core import version as __version__
from .errors import (BadFileError, BadInputError, CancelledError, InputOutputError, InternalError, LimitError, NotFoundError,
                     OutOfMemoryError, RefusedError, TapetumError, UnsupportedError, UsageError)
from .images import Picture, picture
from .model import Guard, Model, Session, Stream, load, load_guard
from .pipelines import pipeline
from .results import Answer, Count, Detection, Detections, PolicyScore, Safety

__all__ = [
    "Answer", "BadFileError", "BadInputError", "CancelledError", "Count", "Detection", "Detections", "Guard", "InputOutputError",
    "InternalError", "LimitError", "Model", "NotFoundError", "OutOfMemoryError", "Picture", "PolicyScore", "RefusedError", "Safety",
    "Session", "Stream", "TapetumError", "UnsupportedError", "UsageError", "__version__", "load", "load_guard", "picture", "pipeline",
]
