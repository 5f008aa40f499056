"""The face networks that come inside mediapipe, as the last version run them that carries them (0.10.21)."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from avser.faces import sightings
from avser.faces.seeing import UNUSED, cannot_load, later, opencv, quiet
from avser.faces.sightings import Sighting, Square


class Detector:
    """BlazeFace, one of its two networks (`SHORT_RANGE`, `FULL_RANGE`)."""

    def __init__(self, network: int, min_score: float) -> None:
        settings = {"model_selection": network, "min_detection_confidence": min_score}
        self._number = network
        self._network = _network_of("face_detection", "FaceDetection", **settings)

    def find(self, view: np.ndarray) -> list[Sighting]:
        """Faces in a picture (H, W, 3) uint8 RGB, contiguous."""
        square = Square(view, self._number)
        found = []
        for detection in self._network.process(view).detections or ():
            place = detection.location_data
            box, (right, left) = place.relative_bounding_box, place.relative_keypoints[:2]
            corners = square.rounded(box.xmin, box.ymin, box.width, box.height)
            found.append(Sighting(float(detection.score[0]), corners, ((right.x, right.y), (left.x, left.y))))
        return found

    def close(self) -> None:
        self._network.close()


class Mesh(sightings.Mesh):
    """The face mesh of 468 landmarks."""

    def __init__(self) -> None:
        super().__init__()
        self._network = _network_of("face_mesh", "FaceMesh", static_image_mode=True, max_num_faces=1)

    def landmarks(self, view: np.ndarray) -> Any | None:
        found = self._network.process(view).multi_face_landmarks
        return found[0].landmark if found else None

    def close(self) -> None:
        self._network.close()


def _network_of(module: str, name: str, **settings):
    """One of mediapipe's networks: its class `name` in `mediapipe.python.solutions`.

    Raises:
        AvserError: mediapipe or OpenCV cannot be loaded.
    """
    opencv()
    try:
        with quiet():
            with later(UNUSED):
                solution = importlib.import_module(f"mediapipe.python.solutions.{module}")
            network = getattr(solution, name)(**settings)
            # Its threads report to stderr until the first picture is through.
            network.process(np.zeros((8, 8, 3), np.uint8))
    except ImportError as error:
        raise cannot_load(error) from error
    return network
