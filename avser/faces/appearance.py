"""Who looks like whom: tracks of faces that are one person.

A look is the texture of the aligned face (local binary patterns in a grid: Ahonen, Hadid, Pietikäinen 2006, Face
Description with Local Binary Patterns: Application to Face Recognition) and the colours of face, hair and clothes
(Swain, Ballard 1991, Color Indexing). Two looks are one person only if all of them agree, so that a change of
clothes, of light or of pose may split a person in two, but two people are seldom taken for one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from avser.faces import opencv

SIDE, CELLS, PATTERNS = 48, 6, 59
COLOUR_BINS = (8, 12, 12)
COLOUR_RANGES = (0, 256, 88, 168, 88, 168)
"""Of Lab; skin, hair and cloth seldom lie outside, and what does is counted at the border."""

REGIONS = {"face": (0.1, 0.1, 0.9, 0.95), "hair": (-0.1, -0.45, 1.1, 0.15), "clothes": (-0.4, 1.25, 1.4, 2.0)}
"""Where colours are taken, xyxy in widths and heights of the face's box, from its upper left corner."""

SHOWN = 0.3
"""Least share of a region that has to lie inside the picture."""

LIMITS = np.array([0.24, 0.15, 0.30, 0.30])
"""Greatest distance of texture and of the colours of each region between looks of one person.

Of 460,000 pairs of looks of different people in CK+ (118 people, one studio, one light) 0.03 % are below the limit
of texture, and 53 % of the pairs of one person with different expressions. Frames of one person in real clips, 1 s
apart or more, differ in the colours of face and hair by at most 0.08 and 0.06 (99 %), of clothes by 0.11; people
in different clips by 0.37, 0.34 and 0.28 or more.
"""

NOVEL = 0.6
MAX_LOOKS = 12
MAX_PEOPLE = 128
"""Looks kept of one person, and people whose looks are kept: the memory of a long film is bounded."""


@dataclass(frozen=True)
class Look:
    """How a face looks in one frame.

    Attributes:
        texture: (CELLS * CELLS * PATTERNS,) float16, of length 1.
        colours: (3, bins) float16, square roots of shares; zero where a region lies outside the picture.
    """

    texture: np.ndarray
    colours: np.ndarray


def describe(image: np.ndarray, box: Sequence[float], crop: np.ndarray) -> Look:
    """The look of a face.

    Args:
        image: (H, W, 3) uint8 RGB. box: of the face, xyxy, pixels. crop: (S, S, 3) uint8 RGB, aligned.
    """
    return Look(_texture(crop), np.stack([_colours(_region(image, box, place)) for place in REGIONS.values()]))


def distances(some: Sequence[Look], others: Sequence[Look]) -> np.ndarray:
    """Distances between looks, (I, J, 4): of texture, and of each region's colours, 0 if it is out of sight."""
    textures, colours, seen = zip(*(_stacked(looks) for looks in (some, others)), strict=True)
    apart = np.empty((len(some), len(others), 1 + len(REGIONS)), np.float32)
    apart[..., 0] = 1 - textures[0] @ textures[1].T
    apart[..., 1:] = np.where(seen[0][:, None] & seen[1][None], 1 - np.einsum("ikb,jkb->ijk", *colours), 0)
    return apart


def difference(some: Sequence[Look], others: Sequence[Look]) -> float:
    """How unlike two sets of looks are, by the most alike pair: up to 1 they may be one person.

    The measure of a pair is the greatest of its distances, each in units of its limit.
    """
    if not some or not others:
        return float("inf")
    faces = [np.stack([look.colours[0] for look in looks]).astype(np.float32) for looks in (some, others)]
    apart = float((1 - faces[0] @ faces[1].T).min() / LIMITS[1])
    if apart > 1:  # a look at the colours of the faces settles most cases, and costs a tenth
        return apart
    return float((distances(some, others) / LIMITS).max(-1).min())


def remember(looks: list[Look], look: Look) -> None:
    """Add a look that is unlike those that are known already; of too many, one of the two most alike goes."""
    if looks and difference(looks, [look]) <= NOVEL:
        return
    looks.append(look)
    if len(looks) > MAX_LOOKS:
        alike = (distances(looks, looks) / LIMITS).max(-1) + np.diag(np.full(len(looks), np.inf))
        del looks[min(divmod(int(alike.argmin()), len(looks)))]


@dataclass
class Appearance:
    """Somebody, or a track of somebody: looks, and the tracks as (start, end) in s."""

    looks: list[Look] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)

    def meets(self, other: Appearance) -> bool:
        """Whether both are seen at one time: then they are two people."""
        return any(a <= d and c <= b for a, b in self.spans for c, d in other.spans)


class Gallery:
    """Everybody who has been seen. The looks of those who were not seen for longest are forgotten."""

    def __init__(self) -> None:
        self._people: dict[int, Appearance] = {}

    def copy(self) -> Gallery:
        """Another gallery of the same people, which may go its own way."""
        twin = Gallery()
        twin._people = {n: Appearance(list(p.looks), list(p.spans)) for n, p in self._people.items()}
        return twin

    def find(self, track: Appearance) -> int | None:
        """The person whom a track most probably shows, or None if it is nobody known."""
        found = [
            (difference(person.looks, track.looks), number)
            for number, person in self._people.items()
            if not person.meets(track)
        ]
        best = min(found, default=(float("inf"), None))
        return best[1] if best[0] <= 1 else None

    def add(self, number: int, track: Appearance) -> None:
        """Take a track to be of a person, who may be new."""
        person = self._people.pop(number, None) or Appearance()
        for look in track.looks:
            remember(person.looks, look)
        person.spans += track.spans
        self._people[number] = person  # last, as the one seen last
        if len(self._people) > MAX_PEOPLE:
            del self._people[next(iter(self._people))]


def _stacked(looks: Sequence[Look]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Textures (N, T), colours (N, 3, bins), and which regions are seen (N, 3)."""
    colours = np.stack([look.colours for look in looks]).astype(np.float32)
    return np.stack([look.texture for look in looks]).astype(np.float32), colours, np.any(colours, -1)


def _texture(crop: np.ndarray) -> np.ndarray:
    """Square roots of the shares of uniform local binary patterns in each cell, of length 1."""
    cv2 = opencv()
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, (SIDE + 2, SIDE + 2), interpolation=cv2.INTER_AREA)
    centre = grey[1:-1, 1:-1]
    codes = np.zeros((SIDE, SIDE), np.uint8)
    for bit, (y, x) in enumerate(((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))):
        codes |= (grey[y : y + SIDE, x : x + SIDE] >= centre).astype(np.uint8) << bit
    table, cells = _tables()
    counts = np.bincount((table[codes] + cells).ravel(), minlength=CELLS * CELLS * PATTERNS)
    return (np.sqrt(counts) / SIDE).astype(np.float16)


@functools.cache
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """Number of each pattern of 8 bits, (256,): the uniform ones their own, the others one in common; and what to
    add to it in each pixel of a face, (SIDE, SIDE)."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    uniform = (bits != np.roll(bits, 1, axis=1)).sum(1) <= 2
    table = np.where(uniform, np.cumsum(uniform) - 1, PATTERNS - 1)
    row = np.arange(SIDE) * CELLS // SIDE
    return table, PATTERNS * (row[:, None] * CELLS + row)


def _region(image: np.ndarray, box: Sequence[float], place: Iterable[float]) -> np.ndarray | None:
    """The part of a picture at a place beside a face, or None if most of it lies outside."""
    x1, y1, x2, y2 = (float(v) for v in box)
    left, top, right, bottom = place
    width, height = x2 - x1, y2 - y1
    wanted = (x1 + left * width, y1 + top * height, x1 + right * width, y1 + bottom * height)
    a, b = (round(min(max(v, 0), image.shape[1])) for v in wanted[::2])
    c, d = (round(min(max(v, 0), image.shape[0])) for v in wanted[1::2])
    if (b - a) * (d - c) < max(SHOWN * (wanted[2] - wanted[0]) * (wanted[3] - wanted[1]), 1):
        return None
    return image[c:d, a:b]


def _colours(part: np.ndarray | None) -> np.ndarray:
    """Square roots of the shares of a part's colours, all zero for None."""
    if part is None:
        return np.zeros(int(np.prod(COLOUR_BINS)), np.float16)
    cv2 = opencv()
    step = max(min(part.shape[:2]) // 48, 1)  # more pixels tell no more
    lab = cv2.cvtColor(np.ascontiguousarray(part[::step, ::step]), cv2.COLOR_RGB2LAB)
    lab[..., 1:] = lab[..., 1:].clip(COLOUR_RANGES[2], COLOUR_RANGES[3] - 1)
    counts = cv2.calcHist([lab], [0, 1, 2], None, list(COLOUR_BINS), list(COLOUR_RANGES)).ravel()
    return np.sqrt(counts / counts.sum()).astype(np.float16)
