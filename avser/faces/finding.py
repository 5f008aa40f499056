"""The faces of pictures that come one after the other, at a bounded cost.

`FaceDetector.detect` takes each picture by itself and is made for one face: once the short-range network sees
anybody, it looks no further. In pictures of 1280 x 720 made of single-person clips in tiles it finds all faces of
two, 88 % of four, 31 % of six.

`FaceLooker` finds the same faces for a quarter of the time: it looks where a face was a moment ago, at the whole
picture only now and then or when it has changed elsewhere, and tells between two looks how far a face has moved by
comparing pixels. `FaceFinder` adds, where there may be several faces, some of them small, a closer look where a
face was, and now and then a search by the full-range network: in the whole picture (5 ms on one core, every face
of six tiles) and in overlapping parts of it (45 ms, 98 % of the faces of 36 tiles, which are 57 px high), as far
as something has changed there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from avser.faces import FULL_RANGE, SMALL, ZOOM, Face, FaceDetector, clipped, overlap, shrunk
from avser.faces.pyramid import SMALLEST, Pyramid
from avser.faces.seeing import opencv
from avser.faces.sightings import SAME, is_apart, parts

LOOK_EVERY, WHOLE_EVERY, PARTS_EVERY = 0.0, 0.5, 2.0
"""Least time between looks at the whole picture, and between searches in it and in parts of it, s."""
LOOK_AFTER, WHOLE_AFTER, PARTS_AFTER = 1.0, 2.0, 8.0
"""Time after which they come although nothing has changed, s."""
PARTS, PART = 3, 0.4
"""Parts in a row and in a column, and the side of one as a share of the picture's."""
WINDOW = 256
"""Least side in px of what is looked at closely, in a copy of the picture that is as small as that allows."""
NETWORK_EVERY = 0.25
"""Longest time for which faces are followed by comparing pixels alone, s."""
PATCH = 24
"""Least side in px of a face that is compared, in a copy of the picture that is as small as that allows."""
STEP = 0.15
"""How far a face is followed so from picture to picture, in its sides."""
ALIKE = 0.9
"""Least correlation of its pixels with those in the last picture."""
CHANGE = 10
"""Least change of a pixel of the small copy for a face to be new there, of 255."""
GREEN = 1
"""The channel of a picture that is compared, which is most like its brightness."""
HEAD = 1.6
"""Side of a head with hair and neck, in sides of the face's box: what is seen there is no other face."""
CONTRAST = 20
"""Least difference of brightness in the small copy where there may be a face, of 255."""

Region = tuple[float, float, float, float]

WHOLE: Region = (0.0, 0.0, 1.0, 1.0)


class _Watch:
    """Tells when it is time to look at a region of the picture.

    Args:
        region: xyxy, as shares of the picture. every, after: s, see `LOOK_EVERY` and `LOOK_AFTER`.
    """

    def __init__(self, region: Region, every: float, after: float) -> None:
        self.region, self._every, self._after = region, every, after
        self.forget()

    def forget(self) -> None:
        """The next time is at once."""
        self._time = -math.inf
        self._then: np.ndarray | None = None

    def is_due(self, time: float, small: np.ndarray, known: np.ndarray) -> bool:
        """Whether there may be something new.

        Args:
            small: the small copy of the picture, (h, w, 3). known: (h, w) bool, where faces are watched anyway.
        """
        if self._then is None or time - self._time >= self._after:
            return True
        if time - self._time < self._every:
            return False
        now, then, known = (_part(view, self.region) for view in (small, self._then, known))
        changed = np.maximum(now, then) - np.minimum(now, then) >= CHANGE
        return bool((changed.any(-1) & ~known).any())

    def looked(self, time: float, small: np.ndarray) -> None:
        """Take note of a look."""
        self._time, self._then = time, small


class FaceLooker:
    """Finds what `FaceDetector.detect` finds, in pictures that come one after the other.

    Args:
        detector: the networks; it is not closed here.
    """

    def __init__(self, detector: FaceDetector) -> None:
        self.detector = detector
        self._watch = _Watch(WHOLE, LOOK_EVERY, LOOK_AFTER)
        self._is_empty = False  # as far as the last look went
        self._network_at = -math.inf
        self._last: Pyramid | None = None

    def follow(self, time: float, pictures: Pyramid, known: Sequence[Face]) -> list[Face] | None:
        """Where faces of the last picture are in the next one by their pixels, in the same order.

        None if that does not tell, or there may be others, or the last look is long ago: then `look`. Boxes and
        eyes are shifted; scores are those of the last look.
        """
        last, self._last = self._last, pictures
        if last is None or not known or time - self._network_at >= NETWORK_EVERY:
            return None
        if self._watch.is_due(time, pictures.small, covered(known, pictures.image, ZOOM)):
            return None
        moved = [_moved(face, last, pictures) for face in known]
        found = [face for face in moved if face is not None]
        return found if len(found) == len(moved) else None

    def look(self, time: float, pictures: Pyramid, known: Sequence[Face] = ()) -> list[Face]:
        """The faces in the next picture, the largest first.

        Args:
            known: where faces were a moment ago.
        """
        image, self._last, self._network_at = pictures.image, pictures, time
        if not self._watch.is_due(time, pictures.small, covered(known, image, ZOOM)):
            closer = [look_closer(self.detector, face, pictures) for face in known if _is_small(face, image)]
            faces = [clipped(face, image) for face in closer if face is not None and face.area > 0]
            if len(faces) == len(known) and (known or self._is_empty) and _are_apart(faces):
                return sorted(faces, key=lambda face: face.area, reverse=True)
        self._watch.looked(time, pictures.small)
        faces = self.detector.detect(image)
        self._is_empty = not faces
        return faces


class FaceFinder:
    """Finds all faces in the frames of a video.

    Args:
        detector: the networks; it is not closed here.
        min_face: smallest side of a face, in pixels.
    """

    def __init__(self, detector: FaceDetector, min_face: float = 24) -> None:
        self.detector = detector
        self.min_face = min_face
        self._looker = FaceLooker(detector)
        self.follow = self._looker.follow
        self._whole = _Watch(WHOLE, WHOLE_EVERY, WHOLE_AFTER)
        self._parts = [_Watch(part, PARTS_EVERY, PARTS_AFTER) for part in parts(PARTS, PART)]

    def find(self, time: float, pictures: Pyramid, known: Sequence[Face] = (), anew: bool = False) -> list[Face]:
        """The faces in the next picture, those that `FaceLooker` finds first.

        Args:
            known: where faces were seen a moment ago.
            anew: whether to search thoroughly, as at the start of a shot.
        """
        image = pictures.image
        found = self._looker.look(time, pictures, known)
        if found:  # else the detector has looked closely already
            _add(found, (look_closer(self.detector, f, pictures) for f in known if _is_new(f, found)))
        if anew:
            for watch in (self._whole, *self._parts):
                watch.forget()
        watched, taken = covered(found, image, ZOOM), covered(found, image, HEAD)
        for watch in (self._whole, *self._parts):
            if watch.is_due(time, pictures.small, watched):
                watch.looked(time, pictures.small)
                if _may_show(_part(pictures.small, watch.region), _part(taken, watch.region)):
                    _add(found, self._search(pictures, watch.region, found))
        faces = (clipped(face, image) for face in found)
        return [f for f in faces if min(f.box[2] - f.box[0], f.box[3] - f.box[1]) >= self.min_face]

    def _search(self, pictures: Pyramid, region: Region, found: list[Face]) -> Iterator[Face | None]:
        """Faces that the full-range network sees in a region of a picture, and the other from close by."""
        image = pictures.image
        height, width = image.shape[:2]
        x1, y1, x2, y2 = (int(share * side) for share, side in zip(region, (width, height) * 2, strict=True))
        if x1 >= x2 or y1 >= y2:
            return
        for hint in self.detector.look(FULL_RANGE, shrunk(image[y1:y2, x1:x2]), (x1, y1, x2, y2)):
            if _is_new(hint, found):
                yield look_closer(self.detector, hint, pictures)


def look_closer(detector: FaceDetector, hint: Face, pictures: Pyramid) -> Face | None:
    """As `FaceDetector.look_closer`, in a copy of the picture in which the window is no larger than needed."""
    side = ZOOM * max(hint.box[2] - hint.box[0], hint.box[3] - hint.box[1])
    copy, scale = pictures.level(side / WINDOW)
    found = detector.look_closer(_scaled(hint, 1 / scale), copy)
    return None if found is None else _scaled(found, scale)


def _moved(face: Face, last: Pyramid, now: Pyramid) -> Face | None:
    """A face of the last picture, shifted to where its pixels are found in this one, or None.

    By normalised correlation, its peak placed between pixels by a parabola (Lewis 1995, "Fast Normalized
    Cross-Correlation").
    """
    x1, y1, x2, y2 = face.box
    before, scale = last.level((x2 - x1) / PATCH)
    after, _ = now.level((x2 - x1) / PATCH)
    left, top, right, bottom = (round(v / scale) for v in face.box)
    reach = math.ceil(STEP * (right - left))
    height, width = after.shape[:2]
    if before.shape != after.shape or min(left, top, width - right, height - bottom) < reach:
        return None
    patch = before[top:bottom, left:right, GREEN]
    around = after[top - reach : bottom + reach, left - reach : right + reach, GREEN]
    if min(patch.shape) < PATCH // 2:
        return None
    cv2 = opencv()
    likeness = cv2.matchTemplate(
        np.ascontiguousarray(around), np.ascontiguousarray(patch), cv2.TM_CCOEFF_NORMED
    )  # (2 * reach + 1, 2 * reach + 1)
    _, best, _, (x, y) = cv2.minMaxLoc(likeness)
    if not best >= ALIKE or not (0 < x < 2 * reach and 0 < y < 2 * reach):
        return None
    dx = (x + _peak(*likeness[y, x - 1 : x + 2].tolist()) - reach) * scale
    dy = (y + _peak(*likeness[y - 1 : y + 2, x].tolist()) - reach) * scale
    (ax, ay), (bx, by) = face.left_eye, face.right_eye
    box = (x1 + dx, y1 + dy, x2 + dx, y2 + dy)
    return clipped(Face(box, face.score, (ax + dx, ay + dy), (bx + dx, by + dy)), now.image)


def _peak(before: float, here: float, after: float) -> float:
    """Where the parabola through three values has its peak, from the middle one, -0.5 to 0.5.

    >>> _peak(0.5, 1.0, 0.5), _peak(0.5, 1.0, 1.0)
    (0.0, 0.5)
    """
    bend = before - 2 * here + after
    return 0.0 if bend == 0 else (after - before) / (-2 * bend)


def covered(faces: Sequence[Face], image: np.ndarray, zoom: float) -> np.ndarray:
    """Where in the small copy of a picture faces are, (h, w) bool, each with so many times its side around it."""
    height, width = image.shape[:2]
    columns, rows = SMALLEST
    mask = np.zeros((rows, columns), bool)
    for x1, y1, x2, y2 in (face.box for face in faces):
        reach = zoom / 2 * max(x2 - x1, y2 - y1)
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        left, right = (max(round(v * columns / width), 0) for v in (x - reach, x + reach))
        top, bottom = (max(round(v * rows / height), 0) for v in (y - reach, y + reach))
        mask[top:bottom, left:right] = True
    return mask


def _part(view: np.ndarray, region: Region) -> np.ndarray:
    """The part of the small copy (h, w) that shows a region, its borders included."""
    rows, columns = view.shape[:2]
    left, top, right, bottom = region
    return view[int(top * rows) : math.ceil(bottom * rows), int(left * columns) : math.ceil(right * columns)]


def _may_show(small: np.ndarray, taken: np.ndarray) -> bool:
    """Whether a part of the small copy (h, w, 3) has any contrast beside the faces that are known, (h, w) bool."""
    free = small[~taken]
    return bool(len(free)) and bool((free.max(0) - free.min(0)).max() >= CONTRAST)


def _is_small(face: Face, image: np.ndarray) -> bool:
    """Whether `FaceDetector.detect` would take a closer look at a face."""
    return max(face.box[2] - face.box[0], face.box[3] - face.box[1]) < SMALL * max(image.shape[:2])


def _are_apart(faces: Sequence[Face]) -> bool:
    """Whether no two are one, as where looks for two have found the same."""
    return all(overlap(a.box, b.box) <= SAME for a, b in itertools.combinations(faces, 2))


def _is_new(face: Face, found: Sequence[Face]) -> bool:
    return is_apart(face.box, (other.box for other in found))


def _add(found: list[Face], faces: Iterator[Face | None]) -> None:
    """Append the faces that are there and new, one after the other."""
    for face in faces:
        if face is not None and _is_new(face, found):
            found.append(face)


def _scaled(face: Face, by: float) -> Face:
    left, top, right, bottom = (v * by for v in face.box)
    (x1, y1), (x2, y2) = face.left_eye, face.right_eye
    return Face((left, top, right, bottom), face.score, (x1 * by, y1 * by), (x2 * by, y2 * by))
