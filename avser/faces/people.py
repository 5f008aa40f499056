"""Tracks of faces put together as people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from avser.faces import Face, opencv
from avser.faces.appearance import Appearance, Gallery, Look, remember
from avser.faces.pyramid import Pyramid

STEADY_FRAMES, STEADY_TIME = 3, 0.3
"""A track of fewer frames, or shorter in s, is nobody new where others were seen for longer."""
MAX_STRAYS = 64
"""Tracks of that kind that are kept until somebody is seen for longer."""
THUMBNAIL = 96
"""Side of the picture kept of a person, in pixels."""


@dataclass(frozen=True)
class Followed:
    """Somebody who was followed.

    Attributes:
        tracks: numbers of the tracks, in order of time.
        spans: (start, end) of each of them, the times of its first and last frame, in s.
        thumbnail: (THUMBNAIL, THUMBNAIL, 3) uint8 RGB, the clearest aligned crop.
    """

    tracks: tuple[int, ...]
    spans: tuple[tuple[float, float], ...]
    thumbnail: np.ndarray


class Track:
    """One face without a break.

    Attributes:
        number: counted from 0.
        face, look, time: where and how it was seen last, and when, in s.
        start: when it was seen first, in s.
        thumbnail, clarity: the clearest picture of it, and how clear that is.
    """

    def __init__(
        self, number: int, time: float, pictures: Pyramid, face: Face, crop: np.ndarray, look: Look
    ) -> None:
        self.number = number
        self.start = time
        self.frames = 0
        self._looks: list[Look] = []
        self.clarity = -1.0
        self.see(time, pictures, face, crop, look)

    def see(self, time: float, pictures: Pyramid, face: Face, crop: np.ndarray, look: Look | None = None) -> None:
        """Take note of the face in the next frame in which it is, None for a look like the last one."""
        self.frames += 1
        self.time, self.face = time, face
        if look is not None:
            self.look = look
            remember(self._looks, look)
        clarity = face.score * _clarity(crop)
        if clarity > self.clarity:
            self.clarity = clarity
            self.thumbnail = pictures.crop(face, THUMBNAIL)

    @property
    def appearance(self) -> Appearance:
        """How it looked all along and at last, and when it was seen."""
        return Appearance([*self._looks, self.look], [(self.start, self.time)])

    @property
    def is_steady(self) -> bool:
        """Whether it was seen for so long that it is no chance."""
        return self.frames >= STEADY_FRAMES and self.time - self.start >= STEADY_TIME


@dataclass(frozen=True)
class _Person:
    tracks: list[int]
    spans: list[tuple[float, float]]
    thumbnail: np.ndarray
    clarity: float

    @classmethod
    def of(cls, track: Track, known: _Person | None) -> _Person:
        """Who is known so far with one more track, or whom the first track shows."""
        tracks, spans = [track.number], [(track.start, track.time)]
        if known is None:
            return cls(tracks, spans, track.thumbnail, track.clarity)
        clearer = track if track.clarity > known.clarity else known
        return cls([*known.tracks, *tracks], [*known.spans, *spans], clearer.thumbnail, clearer.clarity)


class People:
    """Who was seen so far, track by track as they end."""

    def __init__(self) -> None:
        self._gallery = Gallery()
        self._people: dict[int, _Person] = {}
        self._strays: list[Track] = []

    def copy(self) -> People:
        """The same people; what is added to one is not added to the other."""
        twin = People()
        twin._gallery, twin._people, twin._strays = self._gallery.copy(), dict(self._people), list(self._strays)
        return twin

    def settle(self, tracks: Iterable[Track]) -> None:
        """Find out of whom tracks are that have ended."""
        for track in sorted(tracks, key=lambda track: track.number):
            number = self._gallery.find(track.appearance)
            if number is not None or track.is_steady:
                self._take(track.number if number is None else number, track)
            elif len(self._strays) < MAX_STRAYS:
                self._strays.append(track)

    def tell(self) -> list[Followed]:
        """Everybody, in order of appearance. Tracks that were not steady count where there are no others."""
        people = self
        if not self._people:
            people = self.copy()
            for track in self._strays:
                found = people._gallery.find(track.appearance)
                people._take(track.number if found is None else found, track)
        known = sorted(people._people.values(), key=lambda person: (min(person.spans), min(person.tracks)))
        return [Followed(tuple(p.tracks), tuple(p.spans), p.thumbnail) for p in known]

    def _take(self, number: int, track: Track) -> None:
        self._gallery.add(number, track.appearance)
        self._people[number] = _Person.of(track, self._people.get(number))


def _clarity(crop: np.ndarray) -> float:
    """How sharp and frontal a crop (S, S, 3) is: strength of its details, likeness to its mirror image."""
    cv2 = opencv()
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    details = float(cv2.Laplacian(grey, cv2.CV_32F).std())
    left, right = grey.astype(np.float32).ravel(), grey[:, ::-1].astype(np.float32).ravel()
    spread = float(left.std() * right.std())
    likeness = float(((left - left.mean()) * (right - right.mean())).mean()) / spread if spread else 0.0
    return details * max(likeness, 0.05)
