"""The files of the face networks, for a mediapipe that brings none: where they lie, and how they are fetched."""

from __future__ import annotations

import hashlib
import http.client
import importlib.metadata
import os
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avser.errors import ModelError
from avser.files import cache_folder, replacing

FOLDER = "AVSER_FACE_MODELS"
PATIENCE = 30.0
"""How long a server may be silent, s."""


@dataclass(frozen=True)
class ModelFile:
    """A file as Google publishes it, under the Apache License 2.0.

    Attributes:
        size: in bytes. digest: SHA-256 in hexadecimal digits.
    """

    name: str
    address: str
    size: int
    digest: str


_MODELS = "https://storage.googleapis.com/mediapipe-models"
_ASSETS = "https://storage.googleapis.com/mediapipe-assets"

SHORT_RANGE_FILE = ModelFile(
    "blaze_face_short_range.tflite",
    f"{_MODELS}/face_detector/blaze_face_short_range/float16/1/blaze_face_short_range.tflite",
    229_746,
    "b4578f35940bf5a1a655214a1cce5cab13eba73c1297cd78e1a04c2380b0152f",
)
MESH_FILE = ModelFile(
    "face_landmarker.task",
    f"{_MODELS}/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
    3_758_596,
    "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
)
FULL_RANGE_FILE = ModelFile(
    "face_detection_full_range_sparse.tflite",
    f"{_ASSETS}/face_detection_full_range_sparse.tflite",
    676_746,
    "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
)
"""The detector for small faces: the very file that mediapipe 0.10.21 carries. avser can do without it."""


def folder() -> Path:
    """Where the files are looked for: the folder in AVSER_FACE_MODELS, else one in the user's cache."""
    named = os.environ.get(FOLDER)
    return Path(named).expanduser() if named else cache_folder() / "face_models"


def find(file: ModelFile) -> Path | None:
    """A file in that folder, or None."""
    path = folder() / file.name
    return path if path.is_file() else None


def needed(file: ModelFile) -> Path:
    """A file that must be there.

    Raises:
        ModelError: it is missing.
    """
    path = find(file)
    if path is None:
        version = importlib.metadata.version("mediapipe")
        raise ModelError(
            f"mediapipe {version} brings no face networks and {folder() / file.name} is missing: "
            f"run `avser models fetch face`, or put the file there (from {file.address}), "
            f"or name a folder that holds it by {FOLDER}"
        )
    return path


def fetch(files: Sequence[ModelFile], said: Callable[[str], object] = lambda _: None) -> list[Path]:
    """Bring files into the folder, but those that are there already, each checked by its digest.

    Args:
        said: is told of each file that is there or has come.

    Raises:
        ModelError: one cannot be had, is not what it should be, or cannot be written.
    """
    return [_fetched(file, folder() / file.name, said) for file in files]


def _fetched(file: ModelFile, path: Path, said: Callable[[str], object]) -> Path:
    by_hand = f"get it by hand from {file.address} and put it there"
    try:
        if path.is_file() and _digest(path.read_bytes()) == file.digest:
            said(f"is there: {path}")
            return path
        content = _download(file)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error.__class__.__name__
        raise ModelError(f"{path} cannot be fetched ({reason}): {by_hand}") from None
    if _digest(content) != file.digest:
        what = f"another file ({len(content)} bytes, not {file.size})"
        raise ModelError(f"what came for {path} is {what}: {by_hand}")
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        why = error.strerror or error
        raise ModelError(f"{path} cannot be written ({why}): name another folder by {FOLDER}") from None
    said(f"fetched: {path}")
    return path


def _download(file: ModelFile) -> bytes:
    with urllib.request.urlopen(file.address, timeout=PATIENCE) as answer:  # not more than a byte too many
        return answer.read(file.size + 1)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


FACE = (SHORT_RANGE_FILE, MESH_FILE, FULL_RANGE_FILE)

FETCHABLE: dict[str, Sequence[ModelFile]] = {"face": FACE}
"""What `avser models fetch` knows, by name."""
