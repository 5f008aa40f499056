"""avser: from a video file to a timeline of expressed emotions, from the voice, the face and both fused."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what type checkers see of the names below
    from avser.recognizer import Recognizer as Recognizer
    from avser.recognizer import load_model as load_model
    from avser.results import Prediction as Prediction
    from avser.results import Result as Result
    from avser.sample import sample_clip as sample_clip
    from avser.types import AudioTrack as AudioTrack
    from avser.types import AvserError as AvserError
    from avser.types import Clip as Clip
    from avser.types import FaceTrack as FaceTrack
    from avser.writers import write as write

__version__ = "0.1.0"

_PUBLIC = {
    "load_model": "avser.recognizer",
    "Recognizer": "avser.recognizer",
    "write": "avser.writers",
    "AvserError": "avser.types",
    "AudioTrack": "avser.types",
    "Clip": "avser.types",
    "FaceTrack": "avser.types",
    "Prediction": "avser.results",
    "Result": "avser.results",
    "sample_clip": "avser.sample",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str):
    # Imported on first use, so that `import avser` and `avser --help` load neither torch nor mediapipe.
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'avser' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
