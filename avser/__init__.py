"""avser: from a video file to a timeline of expressed emotions, from the voice, the face and both fused."""

from __future__ import annotations

import importlib

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
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str):
    # Imported on first use, so that `import avser` and `avser --help` load neither torch nor mediapipe.
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'avser' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
