"""A picture together with smaller copies of it, so that nothing is shrunk twice."""

from __future__ import annotations

import math

import numpy as np

from avser.faces import LEFT_EYE, RIGHT_EYE, Face, align
from avser.faces.seeing import opencv

SMALLEST = (64, 36)
"""Width and height of the smallest copy."""
FINE = 2.0
"""A crop is cut from a copy that is still finer than the crop by this factor, or from the picture itself."""


class Pyramid:
    """A picture and its copies, each half as wide and high as the one before; they are made when asked for.

    Attributes:
        image: (H, W, 3) uint8 RGB.
    """

    def __init__(self, image: np.ndarray) -> None:
        self.image = image
        self._levels = [image]
        self._small: np.ndarray | None = None

    def level(self, shrink: float) -> tuple[np.ndarray, int]:
        """The smallest copy that is shrunk by no more than `shrink`, and by how much it is: a power of two."""
        number = max(0, math.floor(math.log2(max(shrink, 1.0))))
        while len(self._levels) <= number and min(self._levels[-1].shape[:2]) > 1:
            # a last row or column without a partner is left out, so that places are divided by two exactly
            height, width = (side // 2 for side in self._levels[-1].shape[:2])
            even = self._levels[-1][: 2 * height, : 2 * width]
            self._levels.append(opencv().resize(even, (width, height), interpolation=opencv().INTER_AREA))
        number = min(number, len(self._levels) - 1)
        return self._levels[number], 2**number

    @property
    def small(self) -> np.ndarray:
        """A copy of `SMALLEST` size, whatever the picture's, (36, 64, 3)."""
        if self._small is None:
            height, width = self.image.shape[:2]
            copy, _ = self.level(min(width / SMALLEST[0], height / SMALLEST[1]) / FINE)
            self._small = opencv().resize(copy, SMALLEST, interpolation=opencv().INTER_AREA)
        return self._small

    def crop(self, face: Face, size: int) -> np.ndarray:
        """The face upright, (size, size, 3); see `align`."""
        copy, scale = self.level(
            math.dist(face.left_eye, face.right_eye) / ((RIGHT_EYE[0] - LEFT_EYE[0]) * size * FINE)
        )
        left, right = ((x / scale, y / scale) for x, y in (face.left_eye, face.right_eye))
        return align(copy, left, right, size)
