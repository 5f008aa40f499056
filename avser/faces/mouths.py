"""How far a mouth is open, from the landmarks of a face.

The landmarks are those of mediapipe's face mesh (Kartynnik et al. 2019, "Real-time Facial Surface Geometry from
Monocular Video on Mobile GPUs").
"""

from __future__ import annotations

import contextlib

import numpy as np

from avser.faces.seeing import network_of, opencv, quiet

LIPS = (13, 14)
"""Landmarks at the middle of the inner edge of the upper and the lower lip."""
EYES = ((33, 133), (362, 263))
"""Landmarks at the corners of each eye."""
REACH = 1.6
"""Side of the square that is looked at, in sides of the face's box: landmarks need the whole head."""
SIDE = 256
"""Side in px to which larger squares are scaled; the mesh itself sees 192 px."""


class MouthMeter:
    """Measures how far mouths are open, each picture by itself.

    Use it as a context manager, or call `close` when done. It serves one thread at a time.

    Raises:
        AvserError: (at the first face) mediapipe or OpenCV cannot be loaded.
    """

    def __init__(self) -> None:
        self._mesh = None
        self._has_warned = False  # as mediapipe does at the first face

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
            self._mesh = network_of("face_mesh", "FaceMesh", static_image_mode=True, max_num_faces=1)
        with contextlib.nullcontext() if self._has_warned else quiet():
            found = self._mesh.process(view).multi_face_landmarks
        if not found:
            return float("nan")
        self._has_warned = True
        # shares of the square's side; depth is on about the scale of x
        points = {i: np.array([p.x, p.y, p.z]) for i in _USED for p in [found[0].landmark[i]]}
        eyes = [(points[a] + points[b]) / 2 for a, b in EYES]
        apart = float(np.linalg.norm(eyes[1] - eyes[0]))
        return float(np.linalg.norm(points[LIPS[0]] - points[LIPS[1]])) / apart if apart > 0 else float("nan")


_USED = {*LIPS, *EYES[0], *EYES[1]}


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
