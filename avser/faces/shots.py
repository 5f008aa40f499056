"""Where a film cuts from one shot to the next.

A cut changes the colours and the drawing of the picture at once (Zhang, Kankanhalli, Smoliar 1993, Automatic
Partitioning of Full-Motion Video; Lienhart 1999, Comparison of Automatic Shot Boundary Detection Algorithms). Both
changes are measured on a small copy of the picture, and their product decides: light that goes on or off changes
the colours but not the edges, a camera that moves shifts the edges but keeps the colours. Dissolves, which change
little from frame to frame, are not found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avser.faces import opencv
from avser.faces.pyramid import SMALLEST, Pyramid
from avser.types import Frame

WIDTH, HEIGHT = SMALLEST
REACH = (8, 4)
"""How far the camera may move from frame to frame, in pixels across and down of the small copy."""

BINS = (8, 4, 8)
MIN_COLOURS, MIN_EDGES, MIN_BOTH = 0.1, 0.2, 0.08
"""Least change of colours, of edges, and least product at a cut. Over hard cuts between six real clips the least
product was 0.20; without colours it was below this limit in 2 of 11. Over people who move, pans, zooms, shaking,
flashes of light and steps of brightness the greatest was 0.05."""

FLASH = 0.3
"""A picture that is back after so short a time, in s, was hidden by a flash and not cut away."""


@dataclass(frozen=True)
class _View:
    """What is kept of a frame: square roots of the shares of colours in its quarters, and its edges."""

    time: float
    colours: np.ndarray
    edges: np.ndarray


class ShotDetector:
    """Tells frame by frame whether a shot begins.

    Attributes:
        cuts: times at which shots begin, in s, but for the first.
        is_flash: whether the last frame took back a cut, which was a flash.
    """

    def __init__(self) -> None:
        self.cuts: list[float] = []
        self.is_flash = False
        self._last: _View | None = None
        self._before: _View | None = None  # the frame before the last cut

    def update(self, frame: Frame, pictures: Pyramid | None = None) -> bool:
        """Whether this frame is the first of a new shot.

        A cut that turns out to be a flash is taken off `cuts` by the first frame after the flash, which is no cut.

        Args:
            pictures: the frame's picture with its copies, if they are at hand.
        """
        view = _view(frame.time, (pictures or Pyramid(frame.image)).small)
        last, before = self._last, self._before
        self._last, self.is_flash = view, False
        if last is None or not _differs(last, view):
            return False
        if before is not None and view.time - self.cuts[-1] <= FLASH and not _differs(before, view):
            self.cuts.pop()
            self._before, self.is_flash = None, True
            return False
        if not self.cuts or view.time - self.cuts[-1] > FLASH:  # else the cut goes on: its frames are blended
            self.cuts.append(frame.time)
            self._before = last
        return True


def _view(time: float, small: np.ndarray) -> _View:
    cv2 = opencv()
    hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    quarters = [hsv[y : y + HEIGHT // 2, x : x + WIDTH // 2] for y in (0, HEIGHT // 2) for x in (0, WIDTH // 2)]
    counts = np.concatenate([_colours(quarter) for quarter in quarters])
    grey = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1)
    edges = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    return _View(time, np.sqrt(counts / counts.sum()), edges)


def _colours(hsv: np.ndarray) -> np.ndarray:
    """How many pixels have which colour, (bins,)."""
    whole = [np.ascontiguousarray(hsv)]
    return opencv().calcHist(whole, [0, 1, 2], None, list(BINS), [0, 180, 0, 256, 0, 256]).ravel()


def _differs(a: _View, b: _View) -> bool:
    """Whether two frames are of different shots: Bhattacharyya's distance of colours, correlation of edges."""
    colours = 1 - float(a.colours @ b.colours)
    if colours < MIN_COLOURS:
        return False
    edges = 1 - _correlation(a.edges, b.edges)
    return edges > MIN_EDGES and colours * edges > MIN_BOTH


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """The best correlation of the middle of `b` with a part of `a`; 0 where either is blank."""
    cv2 = opencv()
    across, down = REACH
    middle = b[down:-down, across:-across]
    if a.std() < 1 or middle.std() < 1:
        return 0.0
    return float(cv2.matchTemplate(a, middle, cv2.TM_CCOEFF_NORMED).max())
