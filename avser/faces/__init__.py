"""Faces in pictures: detect and align.

Faces and eyes come from BlazeFace (Bazarevsky et al. 2019, arXiv:1907.05047), run by mediapipe. Points are in
pixels of the picture, with the picture's upper left corner at (0, 0) and its lower right one at (W, H).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from avser.faces import networks
from avser.faces.seeing import opencv
from avser.faces.sightings import FULL_RANGE, SAME, SHORT_RANGE, is_apart, overlap

LEFT_EYE = (0.32, 0.40)
RIGHT_EYE = (0.68, 0.40)
"""Where `align` puts the eyes, as shares of the crop's side; left and right as seen in the picture.

They are the median eye positions that this detector finds in FER2013, so that aligned crops look like the
pictures the face networks learn from. Over 1500 random training pictures, enlarged to 192 x 192 with a border of
25 % repeated around them (1454 faces found), the medians are (0.321, 0.400) and (0.687, 0.396), the distance of
the eyes 0.365 with 0.275 and 0.430 as 10th and 90th percentile; with a border of 50 % (0.324, 0.397), (0.689,
0.397), 0.362. They are rounded to a symmetric pair because training flips the pictures.
"""

LOOK_SIDE = 640  # the detectors see 128 and 192 px, so larger pictures only cost time
HALF = 0.5  # a picture that shrinks by less keeps its details without averages over areas, which take long
BORDER = 0.25  # share of the longer side put around a picture in which a face fills everything
FILLS = 0.5  # a face found thanks to that border is wider than this share of the shorter side, or it is none
SMALL = 0.3  # a face below this share of the longer side gets a closer look
ZOOM = 2.5  # side of the window around a distant face, in sides of its box


@dataclass(frozen=True)
class Face:
    """One face in a picture.

    Attributes:
        box: x1, y1, x2, y2, in pixels, inside the picture.
        score: the detector's confidence, 0.5 to 1.
        left_eye: x, y of the eye on the left of the picture (the person's right eye), in pixels.
        right_eye: x, y of the eye on the right of the picture (the person's left eye), in pixels.
    """

    box: tuple[float, float, float, float]
    score: float
    left_eye: tuple[float, float]
    right_eye: tuple[float, float]

    @property
    def area(self) -> float:
        """Area of the box, in square pixels."""
        x1, y1, x2, y2 = self.box
        return max(x2 - x1, 0.0) * max(y2 - y1, 0.0)


class FaceDetector:
    """Finds faces in pictures, one independent of the other.

    A picture in which BlazeFace short range sees nothing gets two more looks: one with a border around it, for a
    face that fills the picture (this finds 98 % of FER2013's faces instead of 94 %), and one by the full-range
    network for a face that is small in it; what that one finds counts only if the short-range network, looking
    at the enlarged surroundings, sees it too. The eyes of a small face are taken from such a closer look as well.

    Use it as a context manager, or call `close` when done. It serves one thread at a time.

    Args:
        min_score: lowest confidence of a face; the networks report none below 0.5.

    Raises:
        AvserError: (at the first picture) mediapipe or OpenCV cannot be loaded, or a network's file is missing.
    """

    def __init__(self, min_score: float = 0.5):
        self.min_score = min_score
        self._networks: dict[int, networks.Detector] = {}

    def __enter__(self) -> FaceDetector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the networks; a later `detect` loads them anew."""
        while self._networks:
            self._networks.popitem()[1].close()

    def detect(self, image: np.ndarray) -> list[Face]:
        """The faces in a picture, the largest first.

        Args:
            image: (H, W, 3) uint8 RGB, of any size.

        Raises:
            ValueError: the array is no such picture.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"a picture must be (H, W, 3) uint8, not {image.shape} {image.dtype}")
        if not image.size:
            return []
        view = shrunk(image)
        faces = [self._sharpened(face, image) for face in self.look(SHORT_RANGE, view, whole(image))]
        faces = faces or self._look_with_border(view, image)
        faces = faces or self._look_far(view, image)
        faces = [clipped(face, image) for face in faces]
        return sorted((f for f in faces if f.area > 0), key=lambda f: f.area, reverse=True)

    def look(self, network: int, view: np.ndarray, region: tuple[float, float, float, float]) -> list[Face]:
        """Faces in `view`, which shows the `region` (xyxy) of the picture, in pixels of the picture."""
        x0, y0, x1, y1 = region
        faces = []
        for found in self._network(network).find(np.ascontiguousarray(view)):
            left, top, right, bottom = found.box
            corners = (
                x0 + left * (x1 - x0),
                y0 + top * (y1 - y0),
                x0 + right * (x1 - x0),
                y0 + bottom * (y1 - y0),
            )
            eyes = [(x0 + x * (x1 - x0), y0 + y * (y1 - y0)) for x, y in found.eyes]
            if math.dist(*eyes) >= 1.0:  # no scale and no angle without a distance of the eyes
                faces.append(Face(corners, found.score, *eyes))
        return faces

    def _sharpened(self, face: Face, image: np.ndarray) -> Face:
        """The face with the eyes of a closer look where it is small: they are off by a tenth of their distance."""
        side = max(face.box[2] - face.box[0], face.box[3] - face.box[1])
        return (side < SMALL * max(image.shape[:2]) and self.look_closer(face, image)) or face

    def _look_with_border(self, view: np.ndarray, image: np.ndarray) -> list[Face]:
        cv2 = opencv()
        edge = round(BORDER * max(view.shape[:2]))
        height, width = image.shape[:2]
        dx, dy = edge * width / view.shape[1], edge * height / view.shape[0]
        framed = cv2.copyMakeBorder(view, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
        faces = self.look(SHORT_RANGE, framed, (-dx, -dy, width + dx, height + dy))
        return [face for face in faces if face.box[2] - face.box[0] > FILLS * min(height, width)]

    def _look_far(self, view: np.ndarray, image: np.ndarray) -> list[Face]:
        faces: list[Face] = []
        for hint in self.look(FULL_RANGE, view, whole(image)):
            face = self.look_closer(hint, image)
            if face is not None and is_apart(face.box, (other.box for other in faces)):
                faces.append(face)
        return faces

    def look_closer(self, hint: Face, image: np.ndarray) -> Face | None:
        """The same face as the short-range network sees it in an enlarged window, or None."""
        x1, y1, x2, y2 = hint.box
        x, y, reach = (x1 + x2) / 2, (y1 + y2) / 2, ZOOM / 2 * max(x2 - x1, y2 - y1)
        left, top = max(math.floor(x - reach), 0), max(math.floor(y - reach), 0)
        right, bottom = min(math.ceil(x + reach), image.shape[1]), min(math.ceil(y + reach), image.shape[0])
        if left >= right or top >= bottom:
            return None
        window = shrunk(image[top:bottom, left:right])
        found = self.look(SHORT_RANGE, window, (left, top, right, bottom))
        best = max(found, key=lambda face: overlap(face.box, hint.box), default=hint)
        return best if best is not hint and overlap(best.box, hint.box) > SAME else None

    def _network(self, number: int):
        if number not in self._networks:
            self._networks[number] = networks.detector(number, self.min_score)
        return self._networks[number]


def align(
    image: np.ndarray, left_eye: tuple[float, float], right_eye: tuple[float, float], size: int = 64
) -> np.ndarray:
    """Turns, scales and shifts a picture so that the eyes lie at `LEFT_EYE` and `RIGHT_EYE`.

    A crop that is smaller than the face in the picture is averaged over areas, so that it does not alias. What
    lies outside the picture repeats its border.

    Args:
        image: (H, W, 3) uint8.
        left_eye: x, y of the eye on the left of the picture, in pixels.
        right_eye: x, y of the eye on the right of the picture.
        size: side of the crop, in pixels.

    Returns:
        (size, size, 3) uint8, channels in the order of `image`.

    Raises:
        ValueError: the eyes lie at one point.
    """
    cv2 = opencv()
    apart = math.dist(left_eye, right_eye)
    if apart == 0:
        raise ValueError("a face cannot be aligned by two eyes at one point")
    shrink = apart / (size * (RIGHT_EYE[0] - LEFT_EYE[0]))
    fine = size * max(1, math.ceil(shrink))  # one pixel of the picture or less to each of the fine crop
    matrix = eye_transform(left_eye, right_eye, fine)
    matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV counts from the centre of the first pixel
    crop = cv2.warpAffine(image, matrix, (fine, fine), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return crop if fine == size else cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)


def eye_transform(left_eye: tuple[float, float], right_eye: tuple[float, float], size: int) -> np.ndarray:
    """The similarity transform that takes the eyes to their places in a crop.

    >>> eye_transform((32.0, 40.0), (68.0, 40.0), size=100).round(6) + 0.0
    array([[1., 0., 0.],
           [0., 1., 0.]])

    Returns:
        (2, 3) float64, maps (x, y, 1) in the picture to x, y in the crop of `size` pixels a side.
    """
    source, target = complex(*left_eye), complex(*LEFT_EYE) * size
    turn = (complex(*RIGHT_EYE) * size - target) / (complex(*right_eye) - source)  # rotation and scale in one
    shift = target - turn * source
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def whole(image: np.ndarray) -> tuple[float, float, float, float]:
    return 0.0, 0.0, float(image.shape[1]), float(image.shape[0])


def shrunk(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    scale = LOOK_SIDE / max(height, width)
    if scale >= 1:
        return image
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    how = opencv().INTER_LINEAR if scale > HALF else opencv().INTER_AREA
    return opencv().resize(image, size, interpolation=how)


def clipped(face: Face, image: np.ndarray) -> Face:
    height, width = image.shape[:2]
    (x1, x2), (y1, y2) = np.clip(face.box[::2], 0, width).tolist(), np.clip(face.box[1::2], 0, height).tolist()
    return Face((x1, y1, x2, y2), face.score, face.left_eye, face.right_eye)
