"""The values that travel through avser.

Time is in float seconds from the start of the presentation (the earliest stream of a file starts at 0).
Pictures are RGB, boxes are ``x1, y1, x2, y2`` in pixels of the upright picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from avser.errors import AvserError, ConfigError, DataError, MediaError, MissingExtraError, ModelError

__all__ = [
    "AudioTrack",
    "AvserError",
    "Clip",
    "ConfigError",
    "DataError",
    "FaceTrack",
    "Frame",
    "MediaError",
    "MediaInfo",
    "MissingExtraError",
    "ModelError",
]


@dataclass(frozen=True)
class Clip:
    """One labelled piece of a corpus.

    Attributes:
        path: the media file, the picture, or the table (with `row`) that holds it.
        label: canonical emotion name (see `avser.labels`), or None.
        subject: who is seen or heard, unique inside the corpus; None if unknown.
        corpus: name of the corpus.
        start: where the piece starts in the file, in s.
        end: where it ends, in s; None for the end of the file.
        row: row of a pixel table, for corpora that ship as one.
        votes: share of annotators per emotion name, for corpora that have them.
        info: other facts as text, for instance gender, intensity, statement, split; `name` is that of a
            clip that is one of many in its file.
    """

    path: Path
    label: str | None
    subject: str | None
    corpus: str
    start: float = 0.0
    end: float | None = None
    row: int | None = None
    votes: Mapping[str, float] | None = None
    info: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """A name for tables: that in `info`, or the file's stem with the row of a pixel table; a copy's number."""
        name = self.info.get("name") or (self.path.stem if self.row is None else f"{self.path.stem}:{self.row}")
        return f"{name}#{self.info['copy']}" if "copy" in self.info else name


@dataclass(frozen=True)
class MediaInfo:
    """What a media file holds, as read from its header.

    Width and height are those of the upright picture (rotation applied). `fps` is the nominal rate and None
    without video. `duration` is in s and None where the container does not say.
    """

    path: Path
    duration: float | None
    has_audio: bool
    has_video: bool
    width: int | None = None
    height: int | None = None
    fps: Fraction | None = None
    video_codec: str | None = None
    audio_codec: str | None = None
    audio_rate: int | None = None
    audio_channels: int | None = None


@dataclass(frozen=True)
class Frame:
    """One picture of a video: `image` (H, W, 3) uint8 RGB, shown at `time`, for `duration` if that is known."""

    time: float
    image: np.ndarray
    duration: float | None = None


@dataclass(frozen=True)
class AudioTrack:
    """Mono sound: `samples` (S,) float32 in [-1, 1] at `rate` Hz, the first one at `start` s."""

    samples: np.ndarray
    rate: int
    start: float = 0.0

    @property
    def end(self) -> float:
        return self.start + len(self.samples) / self.rate

    def between(self, start: float, end: float) -> AudioTrack:
        """The part from `start` to `end` (s), as far as there is sound."""
        first = max(0, round((start - self.start) * self.rate))
        last = max(first, round((end - self.start) * self.rate))
        return AudioTrack(self.samples[first:last], self.rate, self.start + first / self.rate)


@dataclass(frozen=True)
class FaceTrack:
    """One person's face through a video. A frame without the face is absent from all four arrays.

    Attributes:
        crops: (N, H, W, 3) uint8 RGB, aligned.
        times: (N,) float64, s, rising.
        boxes: (N, 4) float32, xyxy, pixels of the upright picture.
        scores: (N,) float32, the detector's confidence.
        track: the track's id inside the file.
    """

    crops: np.ndarray
    times: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    track: int = 0

    def __post_init__(self) -> None:
        n = len(self.times)
        if not (len(self.crops) == len(self.boxes) == len(self.scores) == n):
            raise ValueError("crops, times, boxes and scores of a FaceTrack must have one length")

    def __len__(self) -> int:
        return len(self.times)

    def between(self, start: float, end: float) -> FaceTrack:
        """The frames shown from `start` (included) to `end` (excluded), in s."""
        keep = slice(*np.searchsorted(self.times, (start, end)))
        return FaceTrack(self.crops[keep], self.times[keep], self.boxes[keep], self.scores[keep], self.track)
