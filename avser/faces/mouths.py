"""How far a mouth is open, from the landmarks of a face.

The landmarks are those of mediapipe's face mesh (Kartynnik et al. 2019, "Real-time Facial Surface Geometry from
Monocular Video on Mobile GPUs").
"""

from __future__ import annotations

import numpy as np

from avser.faces import networks
from avser.faces.seeing import opencv

LIPS = (13, 14)
"""Landmarks at the middle of the inner edge of the upper and the lower lip."""
EYES = ((33, 133), (362, 263))
"""Landmarks at the corners of each eye."""
LANDMARKS = (*LIPS, *EYES[0], *EYES[1])
REACH = 1.6
"""Side of the square that is looked at, in sides of the face's box: landmarks need the whole head."""
SIDE = 256
"""Side in px to which larger squares are scaled; the mesh itself sees 192 px."""


class MouthMeter:
    """Measures how far mouths are open, each picture by itself.

    Use it as a context manager, or call `close` when done. It serves one thread at a time.

    Raises:
        AvserError: (at the first face) mediapipe or OpenCV cannot be loaded, or its file is missing.
    """

    def __init__(self) -> None:
        self._mesh: networks.Mesh | None = None

    def __enter__(self) -> MouthMeter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the network; a later `opening` loads it anew."""
        if self._mesh is not None:
            self._mesh.close()
            self._mesh = None

    def opening(self, image: np.ndarray, box: np.ndarray) -> float:
        """Distance of the lips' inner edges as a share of the distance of the eyes; NaN where no face is seen.

        Distances are taken in three dimensions, so that a turned head does not widen or narrow them.

        Args:
            image: (H, W, 3) uint8 RGB. box: (4,) xyxy of the face, px.
        """
        view = _square(image, box)
        if not view.size:
            return float("nan")
        if self._mesh is None:
            self._mesh = networks.mesh()
        points = self._mesh.points(view, LANDMARKS)  # (6, 3)
        if points is None:
            return float("nan")
        upper, lower, *corners = points
        eyes = np.reshape(corners, (2, 2, 3)).mean(axis=1)
        apart = float(np.linalg.norm(eyes[1] - eyes[0]))
        return float(np.linalg.norm(upper - lower)) / apart if apart > 0 else float("nan")


def _square(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The square around a face, at most `SIDE` px wide, (S, S, 3); black where the picture does not reach.

    It is empty where the picture shows nothing of it.
    """
    x1, y1, x2, y2 = (float(v) for v in box)
    side = round(REACH * max(x2 - x1, y2 - y1))
    left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
    view = image[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
    if not view.size:
        return view
    above, before = max(-top, 0), max(-left, 0)
    edges = (above, side - view.shape[0] - above, before, side - view.shape[1] - before)
    cv2 = opencv()
    square = cv2.copyMakeBorder(view, *edges, cv2.BORDER_CONSTANT) if any(edges) else view
    if side > SIDE:
        square = cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(square)
