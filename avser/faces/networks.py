"""The face networks, run the way that the installed mediapipe has.

Versions up to 0.10.21 carry the networks (`solutions`); newer ones, for newer versions of Python and of numpy, run
them from files (`tasks`). Either way gives the same `find`, `points` and `close`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import TypeAlias

from avser.faces import model_files, solutions, tasks
from avser.faces.sightings import Mesh

Detector: TypeAlias = "solutions.Detector | tasks.Detector | tasks.PartsDetector"


def detector(network: int, min_score: float) -> Detector:
    """BlazeFace: `SHORT_RANGE` or `FULL_RANGE`.

    Raises:
        AvserError: mediapipe or OpenCV cannot be loaded, or a file of the networks is missing or damaged.
    """
    return solutions.Detector(network, min_score) if brings_networks() else tasks.detector(network, min_score)


def mesh() -> Mesh:
    """The landmarks of a face.

    Raises:
        AvserError: as for `detector`.
    """
    return solutions.Mesh() if brings_networks() else tasks.Mesh()


def brings_networks() -> bool:
    """Whether the installed mediapipe carries its face networks; it is not loaded for that."""
    spec = importlib.util.find_spec("mediapipe")
    folders = spec.submodule_search_locations or () if spec else ()
    file = "modules/face_detection/face_detection_short_range.tflite"
    return any((Path(folder) / file).is_file() for folder in folders)


def described() -> str:
    """Which face networks are in use, in a few words."""
    try:
        version = importlib.metadata.version("mediapipe")
    except importlib.metadata.PackageNotFoundError:
        return "none, for mediapipe is not installed"
    if brings_networks():
        return f"those of mediapipe {version}"
    missing = [file.name for file in model_files.FACE if model_files.find(file) is None]
    lacking = f", {' and '.join(missing)} missing: run `avser models fetch face`" if missing else ""
    return f"files in {model_files.folder()}, run by mediapipe {version}{lacking}"
