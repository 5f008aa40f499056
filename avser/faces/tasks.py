"""The face networks run from files, by mediapipe's Tasks API: the way of versions that carry none (1.2 and newer).

The detectors are the same networks as in older versions, see the same pixels and give the same eyes, scores and
boxes; only a box that begins left of the square they see, or above it, is off by about 3 % of its side. Landmarks
come from a newer mesh (478 points, of which the first 468 mean the same).
"""

from __future__ import annotations

import contextlib
import os
import signal
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from avser.errors import ModelError
from avser.faces import sightings
from avser.faces.model_files import FULL_RANGE_FILE, MESH_FILE, SHORT_RANGE_FILE, find, needed
from avser.faces.seeing import UNUSED, cannot_load, later, opencv, quiet
from avser.faces.sightings import FINE, FULL_RANGE, INPUT_SIDES, SHORT_RANGE, Sighting, Square, is_apart, parts

PARTS, PART = 3, 0.5
"""Parts in a row and in a column, and the side of one as a share of the picture's, where no network sees far."""
LOWER = 0.08
"""How far the middle of a box lies below that of the six points of the face, in sides of the box."""
SURE = 0.65
"""Lowest confidence of a face in a part: what is no face reaches 0.63 there."""
NOWHERE = "http://127.0.0.1:0"
"""A proxy that cannot exist: no program can listen at this port."""


class _Task:
    """One of mediapipe's tasks that look at single pictures.

    Args:
        name: of its class in `mediapipe.tasks.python.vision`.
        path: of its model file.

    Raises:
        AvserError: mediapipe or OpenCV cannot be loaded.
        ModelError: the file is not what this version of mediapipe reads.
    """

    def __init__(self, name: str, path: Path, **settings) -> None:
        opencv()
        _ignore_profiling()
        with quiet():
            try:
                with later(UNUSED):
                    import mediapipe
                    from mediapipe.tasks.python import vision
            except (ImportError, OSError) as error:
                raise cannot_load(error) from error
            self._picture = mediapipe.Image
            self._format = mediapipe.ImageFormat.SRGB
            base = _without_certificates(mediapipe.tasks.BaseOptions)(model_asset_path=str(path))
            try:
                options = getattr(vision, f"{name}Options")(base_options=base, **settings)
                task = getattr(vision, name).create_from_options(options)
                self._end = weakref.finalize(self, _end, task)
                self._task = task
                self.look(np.zeros((8, 8, 3), np.uint8))  # its threads report to stderr until that is through
            except (RuntimeError, ValueError, FileNotFoundError, PermissionError) as error:
                why = " ".join(str(error).split())[:200]
                raise ModelError(
                    f"{path} is not a file that mediapipe {mediapipe.__version__} reads as {name} "
                    f"({why}): run `avser models fetch face`"
                ) from None
            except OSError as error:  # its C++ part comes only now
                raise cannot_load(error) from error

    def look(self, view: np.ndarray):
        """What the task says of a picture (H, W, 3) uint8 RGB, contiguous."""
        return self._task.detect(self._picture(image_format=self._format, data=view))

    def close(self) -> None:
        self._end()


class Detector:
    """BlazeFace, from the file of one of its two networks (`SHORT_RANGE`, `FULL_RANGE`)."""

    def __init__(self, network: int, path: Path, min_score: float) -> None:
        self._number = network
        self._task = _Task("FaceDetector", path, min_detection_confidence=min_score)

    def find(self, view: np.ndarray) -> list[Sighting]:
        """Faces in a picture (H, W, 3) uint8 RGB, contiguous."""
        square = Square(view, self._number)
        found = []
        for detection in self._task.look(_as_the_network_sees(view, INPUT_SIDES[self._number])).detections:
            corners = square.box(*_unpushed(detection, square.steps))
            right, left = (square.place(point.x, point.y) for point in detection.keypoints[:2])
            found.append(Sighting(float(detection.categories[0].score), corners, (right, left)))
        return found

    def close(self) -> None:
        self._task.close()


class PartsDetector:
    """Stands for the full-range detector where its file is missing: the short-range one on overlapping parts."""

    def __init__(self, near: Detector) -> None:
        self._near = near

    def find(self, view: np.ndarray) -> list[Sighting]:
        """Faces in a picture (H, W, 3) uint8 RGB; one that several parts show is reported once."""
        best: list[Sighting] = []
        for face in sorted(self._in_parts(view), key=lambda face: face.score, reverse=True):
            if is_apart(face.box, (other.box for other in best)):
                best.append(face)
        return best

    def _in_parts(self, view: np.ndarray) -> Iterator[Sighting]:
        height, width = view.shape[:2]
        for left, top, right, bottom in parts(PARTS, PART):
            rows = slice(int(top * height), int(bottom * height))
            columns = slice(int(left * width), int(right * width))
            part = np.ascontiguousarray(view[rows, columns])
            if part.size:
                for face in self._near.find(part):
                    if face.score >= SURE:
                        yield _moved(face, columns.start / width, rows.start / height, part.shape, view.shape)

    def close(self) -> None:
        self._near.close()


class Mesh(sightings.Mesh):
    """The face landmarker: 478 landmarks."""

    def __init__(self) -> None:
        super().__init__()
        self._task = _Task("FaceLandmarker", needed(MESH_FILE))

    def landmarks(self, view: np.ndarray) -> Any | None:
        found = self._task.look(view).face_landmarks
        return found[0] if found else None

    def close(self) -> None:
        self._task.close()


def detector(network: int, min_score: float) -> Detector | PartsDetector:
    """BlazeFace: `SHORT_RANGE` or `FULL_RANGE`; the latter's file may be missing.

    Raises:
        AvserError: mediapipe or OpenCV cannot be loaded.
        ModelError: the short-range file is missing, or a file is not what mediapipe reads.
    """
    if network == FULL_RANGE and (path := find(FULL_RANGE_FILE)) is not None:
        return Detector(FULL_RANGE, path, min_score)
    near = Detector(SHORT_RANGE, needed(SHORT_RANGE_FILE), min_score)
    return PartsDetector(near) if network == FULL_RANGE else near


def _as_the_network_sees(view: np.ndarray, side: int) -> np.ndarray:
    """A picture as the network's input, between black strips, each pixel of it `FINE` pixels wide and high.

    Sampled as mediapipe 0.10.21 does it, whatever the version of OpenCV. Boxes come in whole pixels: so these are
    small ones, and what mediapipe samples here in turn are the same pixels again.

    Returns:
        (side * FINE, side * FINE, 3) uint8.
    """
    cv2 = opencv()
    height, width = view.shape[:2]
    longer = max(height, width)
    steps = np.arange(side) * (longer / side)
    places = np.meshgrid(*(np.float32(steps - (longer - length) / 2) for length in (width, height)))
    fixed = cv2.convertMaps(*places, cv2.CV_16SC2)  # in thirty-seconds of a pixel
    small = cv2.remap(view, *fixed, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return cv2.resize(small, None, fx=FINE, fy=FINE, interpolation=cv2.INTER_NEAREST)


def _unpushed(detection: Any, steps: int) -> tuple[int, int, int, int]:
    """Corner and sides of a face's box; one that was pushed inside is put back as its points say.

    BlazeFace's boxes are square, and their middle is that of the six points, but for 3 % of a side.
    """
    box = detection.bounding_box
    x, y, side = box.origin_x, box.origin_y, max(box.width, box.height)
    if x > 0 and y > 0:
        return x, y, box.width, box.height
    across, down = (np.mean([getattr(point, axis) for point in detection.keypoints]) * steps for axis in "xy")
    if x <= 0:
        x = min(int(across - side / 2), 0)
    if y <= 0:
        y = min(int(down + LOWER * side - side / 2), 0)
    return x, y, side, side


def _moved(face: Sighting, x: float, y: float, part: tuple[int, ...], view: tuple[int, ...]) -> Sighting:
    """A sighting in a part of a view, whose upper left corner is at x, y (shares), as one in the view."""
    across, down = part[1] / view[1], part[0] / view[0]
    x1, y1, x2, y2 = face.box
    box = (x + x1 * across, y + y1 * down, x + x2 * across, y + y2 * down)
    right, left = ((x + ex * across, y + ey * down) for ex, ey in face.eyes)
    return Sighting(face.score, box, (right, left))


def _ignore_profiling() -> None:
    """Ignore SIGPROF, so that Python knows of it.

    mediapipe's threads send it to themselves, and its C++ part has the process ignore it, unknown to Python: who
    then sets back all handlers that Python knows of, as Lightning does after a training, would end the process.
    """
    with contextlib.suppress(AttributeError, ValueError):  # not on every system, and in the main thread only
        if signal.getsignal(signal.SIGPROF) == signal.SIG_DFL:
            signal.signal(signal.SIGPROF, signal.SIG_IGN)


def _end(task) -> None:
    """Close a task; at the end of the program its threads may be gone already."""
    with quiet(), _kept_at_home(), contextlib.suppress(RuntimeError):
        task.close()


@contextlib.contextmanager
def _kept_at_home() -> Iterator[None]:
    """In this block, what mediapipe sends by https goes nowhere.

    From 0.10.35 on it reports its use to Google as a task is closed (no pictures, but that, how long and on what
    system it ran), and has no switch against it. It asks the environment for a proxy first.
    """
    settings = {"https_proxy": NOWHERE, "no_proxy": "", "NO_PROXY": ""}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _without_certificates(base: type) -> type:
    """mediapipe's options with no certificates to trust in: the second lock on what `_kept_at_home` keeps."""

    class Options(base):
        def to_ctypes(self):
            options = super().to_ctypes()
            options.ca_bundle_path = os.devnull.encode()
            return options

    return Options
