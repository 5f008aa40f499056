"""What the face networks report of a picture, whichever way they are run."""

from __future__ import annotations

import abc
import contextlib
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from avser.faces.seeing import quiet

SHORT_RANGE, FULL_RANGE = 0, 1
"""The two detectors: for faces near the camera, and for small ones (mediapipe's own numbers)."""

SAME = 0.3
"""Boxes that overlap by more are of one face; it is also where the detectors themselves merge."""

INPUT_SIDES = {SHORT_RANGE: 128, FULL_RANGE: 192}
"""Sides of the detectors' inputs, px."""
FINE = 8
"""Steps of a box in a pixel of that input: as exact as mediapipe's Tasks API tells it at little cost."""


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


class Square:
    """The square with a picture in its middle, between strips, that a detector sees.

    Boxes are rounded to steps of it, so that they are the same whichever way a network is run.

    Args:
        view: the picture, (H, W, 3). network: `SHORT_RANGE` or `FULL_RANGE`.
    """

    def __init__(self, view: np.ndarray, network: int) -> None:
        height, width = view.shape[:2]
        self._across, self._down = max(height, width) / width, max(height, width) / height
        self.steps = INPUT_SIDES[network] * FINE

    def place(self, x: float, y: float) -> tuple[float, float]:
        """A point of the square in the picture, both in shares of their sides."""
        return (x - 0.5) * self._across + 0.5, (y - 0.5) * self._down + 0.5

    def box(self, x: int, y: int, width: int, height: int) -> tuple[float, float, float, float]:
        """A box in the picture (xyxy, shares) by its corner and sides, cut off to whole steps of the square."""
        x1, y1 = x + 0.5, y + 0.5  # right on average
        x2, y2 = x1 + width + 0.5, y1 + height + 0.5
        return (*self.place(x1 / self.steps, y1 / self.steps), *self.place(x2 / self.steps, y2 / self.steps))

    def rounded(self, x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
        """A box in the picture (xyxy, shares) by its exact corner and sides there."""
        corner = ((x - 0.5) / self._across + 0.5, (y - 0.5) / self._down + 0.5)
        steps = (int(share * self.steps) for share in (*corner, width / self._across, height / self._down))
        return self.box(*steps)


def overlap(a: Iterable[float], b: Iterable[float]) -> float:
    """Intersection over union of two boxes (xyxy).

    >>> overlap((0, 0, 2, 2), (1, 0, 3, 2)) == 1 / 3
    True
    """
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a, b
    shared = max(min(ax2, bx2) - max(ax1, bx1), 0) * max(min(ay2, by2) - max(ay1, by1), 0)
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared
    return float(shared / union) if union > 0 else 0.0


def is_apart(box: Iterable[float], others: Iterable[Iterable[float]]) -> bool:
    """Whether a box is of another face than all these."""
    return all(overlap(box, other) <= SAME for other in others)


def parts(count: int, side: float) -> list[tuple[float, float, float, float]]:
    """Overlapping parts of a picture, xyxy in shares of it: so many in a row and a column, each with this side."""
    starts = [i * (1 - side) / (count - 1) for i in range(count)]
    return [(x, y, x + side, y + side) for y, x in itertools.product(starts, starts)]


class Mesh(abc.ABC):
    """A face mesh; the first 468 landmarks mean the same in all of them."""

    def __init__(self) -> None:
        self._has_warned = False  # as mediapipe does at the first face

    def points(self, view: np.ndarray, which: Sequence[int]) -> np.ndarray | None:
        """Landmarks by their numbers, (K, 3) float64 in shares of the picture's side; None where no face is seen.

        Args:
            view: (S, S, 3) uint8 RGB, contiguous. Depth is on about the scale of x.
        """
        with contextlib.nullcontext() if self._has_warned else quiet():
            landmarks = self.landmarks(view)
        if landmarks is None:
            return None
        self._has_warned = True
        return np.array([[p.x, p.y, p.z] for p in map(landmarks.__getitem__, which)])

    @abc.abstractmethod
    def landmarks(self, view: np.ndarray) -> Any | None:
        """The landmarks of the face, by number, with attributes x, y and z; None where none is seen."""

    @abc.abstractmethod
    def close(self) -> None:
        """Frees the network."""
