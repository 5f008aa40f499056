"""One picture as video holds it, brightness and colour apart (YUV 4:2:0, 8 bits), and drawing on it.

A video's pictures are not turned into RGB and back: what is not drawn on stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avser.faces import opencv

_SHARES = {"bt709": (0.2126, 0.0722), "bt601": (0.299, 0.114)}  # of red and blue in the brightness


def matrix(name: str) -> np.ndarray:
    """From RGB to YUV of limited range, (3, 4) with the offsets in the last column: `bt709` or `bt601`."""
    red, blue = _SHARES[name]
    grey = np.array([red, 1 - red - blue, blue])
    rows = [
        219 / 255 * grey,
        224 / 255 * (np.array([0, 0, 1]) - grey) / (2 * (1 - blue)),
        224 / 255 * (np.array([1, 0, 0]) - grey) / (2 * (1 - red)),
    ]
    return np.column_stack([rows, [16, 128, 128]])


class Planes:
    """A picture to draw on, at first black.

    Attributes:
        data: all planes one after the other, as ffmpeg's `yuv420p`, (H * W * 3 / 2,) uint8.

    Args:
        width, height: even, px.
        colours: as `matrix` gives.
    """

    def __init__(self, width: int, height: int, colours: np.ndarray) -> None:
        self.width, self.height, self._colours = width, height, colours
        area = width * height
        self.data = np.empty(area * 3 // 2, np.uint8)
        self._luma = self.data[:area].reshape(height, width)
        self._chroma = self.data[area:].reshape(2, height // 2, width // 2)
        self._luma[:], self._chroma[:] = 16, 128

    def lay(self, data: np.ndarray, height: int) -> None:
        """Put the planes of a picture of this width and a smaller or equal height at the top."""
        area = self.width * height
        self._luma[:height] = data[:area].reshape(height, self.width)
        self._chroma[:, : height // 2] = data[area:].reshape(2, height // 2, self.width // 2)

    def convert(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """RGB (H, W, 3) of even size as brightness (H, W) and colour (2, H / 2, W / 2), for `paste`."""
        cv2 = opencv()
        height, width = image.shape[:2]
        luma, *chroma = cv2.split(cv2.transform(image, self._colours))
        half = (width // 2, height // 2)
        return luma, np.stack([cv2.resize(c, half, interpolation=cv2.INTER_AREA) for c in chroma])

    def paste(self, planes: tuple[np.ndarray, np.ndarray], x: int, y: int) -> None:
        """Put a converted picture at an even place; it must fit."""
        luma, chroma = planes
        height, width = luma.shape
        self._luma[y : y + height, x : x + width] = luma
        self._chroma[:, y // 2 : (y + height) // 2, x // 2 : (x + width) // 2] = chroma

    def frame(self, inner: Sequence[int], thick: int, tone: Sequence[int], height: int) -> None:
        """Draw a rectangle around `inner` (xyxy), which stays free, in an RGB colour and down to `height`."""
        colour = self._colours @ (*tone, 1)
        left, top, right, bottom = inner
        for x1, y1, x2, y2 in (
            (left - thick, top - thick, right + thick, top),
            (left - thick, bottom, right + thick, bottom + thick),
            (left - thick, top, left, bottom),
            (right, top, right + thick, bottom),
        ):
            x1, x2 = max(x1, 0), max(x2, 0)
            y1, y2 = max(y1, 0), max(min(y2, height), 0)
            self._luma[y1:y2, x1:x2] = round(colour[0])
            # a coloured pixel stands for four: those that lie wholly outside of `inner`
            self._chroma[:, y1 // 2 : (y2 + 1) // 2, x1 // 2 : (x2 + 1) // 2] = colour[1:, None, None].round()
