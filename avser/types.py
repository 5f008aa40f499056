"""The values that travel through avser.

Time is in float seconds from the start of the presentation (the earliest stream of a file starts at 0).
Pictures are RGB, boxes are ``x1, y1, x2, y2`` in pixels of the upright picture.
"""

from __future__ import annotations

import dataclasses
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
    "Prediction",
    "Result",
]

RESULT_SCHEMA_VERSION = 1


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
    """One picture of a video: `image` (H, W, 3) uint8 RGB, shown at `time`."""

    time: float
    image: np.ndarray


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


@dataclass(frozen=True)
class Prediction:
    """What is expressed in one window.

    Attributes:
        start, end: the window, in s.
        track: id of the face track, None where no face was followed.
        probs: fused distribution, (C,) in the order of the result's labels; None if avser abstains.
        label: the most probable emotion, or None with a `reason`.
        modalities: distribution of each modality that was present, by name (`audio`, `face`).
        weights: share of each present modality in the fused distribution, summing to 1.
        reason: why `label` is None.
        face_frames: frames of the window in which the face was seen.
        category: positive or negative, where the model's emotions are sorted so (see `labels.category`).
    """

    start: float
    end: float
    track: int | None
    probs: np.ndarray | None
    label: str | None
    modalities: Mapping[str, np.ndarray] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None
    face_frames: int = 0
    category: str | None = None

    @property
    def confidence(self) -> float | None:
        """Probability of the label; None if avser abstains."""
        return None if self.probs is None else float(self.probs.max())


@dataclass(frozen=True)
class Result:
    """Everything that was found in one file.

    `overall` is a `Prediction` for the whole file; `predictions` are the windows in order of time.
    """

    path: Path
    media: MediaInfo
    labels: tuple[str, ...]
    predictions: tuple[Prediction, ...]
    overall: Prediction
    model: str
    model_version: str
    modality: str

    @property
    def label(self) -> str | None:
        """The emotion expressed in the file as a whole; None if avser abstains."""
        return self.overall.label

    @property
    def probs(self) -> dict[str, float] | None:
        """Probability of each emotion for the file as a whole; None if avser abstains."""
        return None if self.overall.probs is None else _named(self.labels, self.overall.probs)

    def to_dict(self) -> dict:
        """The result as plain values, ready for JSON. This is the schema, version 1.

        ```
        schema        int     version of this schema
        file          str     path as given
        model         {name: str, version: str}
        modality      str     what was asked for: fused | audio | face
        labels        [str]   the emotions, in the order used everywhere
        media         {duration: float|null (s), has_audio: bool, has_video: bool, width: int|null,
                       height: int|null, fps: str|null ("30000/1001"), video_codec: str|null,
                       audio_codec: str|null, audio_rate: int|null (Hz), audio_channels: int|null}
        overall       PREDICTION for the whole file
        predictions   [PREDICTION] one a window, in order of time

        PREDICTION
          start, end    float   s
          track         int|null     face track
          label         str|null     null: avser abstains, see reason
          category      str|null     positive | negative, of models of four emotions; else null
          confidence    float|null   probability of the label
          probs         {emotion: float}|null   fused distribution
          modalities    {"audio"|"face": {emotion: float}}   those that were present
          weights       {"audio"|"face": float}   share in the fusion, sums to 1
          face_frames   int     frames in which the face was seen
          reason        str|null     why it abstains
        ```
        """
        media = {k: v for k, v in dataclasses.asdict(self.media).items() if k != "path"}
        media["fps"] = None if self.media.fps is None else str(self.media.fps)
        return {
            "schema": RESULT_SCHEMA_VERSION,
            "file": str(self.path),
            "model": {"name": self.model, "version": self.model_version},
            "modality": self.modality,
            "labels": list(self.labels),
            "media": media,
            "overall": self._prediction(self.overall),
            "predictions": [self._prediction(p) for p in self.predictions],
        }

    def _prediction(self, p: Prediction) -> dict:
        return {
            "start": round(p.start, 3),
            "end": round(p.end, 3),
            "track": p.track,
            "label": p.label,
            "category": p.category,
            "confidence": None if p.confidence is None else round(p.confidence, 4),
            "probs": None if p.probs is None else _named(self.labels, p.probs),
            "modalities": {name: _named(self.labels, probs) for name, probs in p.modalities.items()},
            "weights": {name: round(float(w), 4) for name, w in p.weights.items()},
            "face_frames": p.face_frames,
            "reason": p.reason,
        }


def _named(labels: tuple[str, ...], probs: np.ndarray) -> dict[str, float]:
    return {label: round(float(p), 4) for label, p in zip(labels, probs, strict=True)}
