"""What the face networks report of a picture, whichever way they are run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

SHORT_RANGE, FULL_RANGE = 0, 1
"""The two detectors: for faces near the camera, and for small ones (mediapipe's own numbers)."""

SAME = 0.3
"""Boxes that overlap by more are of one face; it is also where the detectors themselves merge."""


class Sighting(NamedTuple):
    """A face as a detector reports it; places are shares of the picture's width and height.

    Attributes:
        score: confidence, 0.5 to 1.
        box: x1, y1, x2, y2; it may reach beyond the picture.
        eyes: x, y of the person's right eye and of the left one.
    """

    score: float
    box: tuple[float, float, float, float]
    eyes: tuple[tuple[float, float], tuple[float, float]]


def overlap(a: Iterable[float], b: Iterable[float]) -> float:
    """Intersection over union of two boxes (xyxy).

    >>> overlap((0, 0, 2, 2), (1, 0, 3, 2)) == 1 / 3
    True
    """
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a, b
    shared = max(min(ax2, bx2) - max(ax1, bx1), 0) * max(min(ay2, by2) - max(ay1, by1), 0)
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared
    return float(shared / union) if union > 0 else 0.0
