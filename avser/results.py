"""What avser found in a file: windows, people, segments, and the file as a whole.

Every distribution is over the result's `labels`, in their order; times are in s from the start of the
presentation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from avser.options import Options
from avser.types import MediaInfo

RESULT_SCHEMA_VERSION = 2
"""Version 2 tells people apart: `track` became `person`, and `people`, `segments`, `speech`, `settings` came."""


@dataclass(frozen=True)
class Prediction:
    """What one person expresses in one window, or the file as a whole.

    Where several people are seen, a window has one prediction each; the voice is fused with the face that speaks.
    A voice that belongs to nobody who is seen, or nobody knows to whom, has a prediction of its own (`person`
    None).

    Attributes:
        start, end: the window, in s.
        person: id of the person seen (see `Person`), None for a voice without a face and for the file as a whole.
        probs: fused distribution, (C,); None if avser abstains.
        label: the most probable emotion, or None with a `reason`.
        modalities: distribution of each modality that was present, by name (`audio`, `face`).
        weights: share of each present modality in the fused distribution, summing to 1.
        reason: why `label` is None.
        face_frames: frames of the window in which the face was seen.
        category: positive or negative, where the model's emotions are sorted so (see `labels.category`).
        speech: share of the window in which somebody speaks; None where it was not looked for.
        speaking: score that this person is the one who speaks, 0 to 1; None where it was not looked for.
        note: what else is to be known, for instance that it is unclear who speaks.
    """

    start: float
    end: float
    person: int | None
    probs: np.ndarray | None
    label: str | None
    modalities: Mapping[str, np.ndarray] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None
    face_frames: int = 0
    category: str | None = None
    speech: float | None = None
    speaking: float | None = None
    note: str | None = None

    @property
    def confidence(self) -> float | None:
        """Probability of the label; None if avser abstains."""
        return None if self.probs is None else float(self.probs.max())


@dataclass(frozen=True)
class Person:
    """Somebody whose face was followed through the file.

    Attributes:
        person: id, counted from 0 in order of appearance.
        spans: (start, end) of each stretch in which the face was followed without a break.
        frames: frames in which the face was seen.
        overall: what this person expresses over all those stretches.
        thumbnail: (S, S, 3) uint8 RGB, the clearest aligned crop; None where none was kept.
    """

    person: int
    spans: tuple[tuple[float, float], ...]
    frames: int
    overall: Prediction
    thumbnail: np.ndarray | None = None


@dataclass(frozen=True)
class Segment:
    """A stretch in which one person (or, with `person` None, the voice alone) expresses one emotion.

    Segments of one person do not overlap. `confidence` is the mean probability of the label over it.
    """

    start: float
    end: float
    person: int | None
    label: str
    confidence: float


@dataclass(frozen=True)
class Sightings:
    """Where faces were seen, for drawing: one row a face and frame, in order of time.

    Attributes:
        times: (N,) float64, s.
        people: (N,) int, ids of `Person`.
        boxes: (N, 4) float32, xyxy, pixels of the upright picture in its full size.
        scores: (N,) float32, the detector's confidence.
    """

    times: np.ndarray
    people: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        if not (len(self.times) == len(self.people) == len(self.boxes) == len(self.scores)):
            raise ValueError("times, people, boxes and scores of Sightings must have one length")

    def __len__(self) -> int:
        return len(self.times)

    def between(self, start: float, end: float) -> Sightings:
        """The rows from `start` (included) to `end` (excluded), in s."""
        keep = slice(*np.searchsorted(self.times, (start, end)))
        return Sightings(self.times[keep], self.people[keep], self.boxes[keep], self.scores[keep])


@dataclass(frozen=True)
class Result:
    """Everything that was found in one file.

    Attributes:
        path: as given.
        media: what the file holds.
        labels: the emotions, in the order of every distribution.
        predictions: the windows in order of time, and in each of them the people in order of their ids; those of a
            file are made anew whenever they are asked for (see `avser.packed`).
        overall: a `Prediction` for the whole file, everybody together.
        model, model_version: the model that was asked.
        options: the settings it was asked with; `options.modality` is the one used.
        people: everybody whose face was followed, in order of appearance.
        segments: stretches of constant emotion, by person and time.
        speech: (start, end) of each stretch in which somebody speaks; None where it was not looked for.
        cuts: times at which the shot changes, s.
        sightings: where faces were seen; not part of the JSON, which it would make long.
    """

    path: Path
    media: MediaInfo
    labels: tuple[str, ...]
    predictions: Sequence[Prediction]
    overall: Prediction
    model: str
    model_version: str
    options: Options
    people: tuple[Person, ...] = ()
    segments: tuple[Segment, ...] = ()
    speech: tuple[tuple[float, float], ...] | None = None
    cuts: tuple[float, ...] = ()
    sightings: Sightings | None = None

    @property
    def modality(self) -> str:
        """What was asked for: fused, audio or face."""
        return self.options.modality or "fused"

    @property
    def label(self) -> str | None:
        """The emotion expressed in the file as a whole; None if avser abstains."""
        return self.overall.label

    @property
    def probs(self) -> dict[str, float] | None:
        """Probability of each emotion for the file as a whole; None if avser abstains."""
        return None if self.overall.probs is None else _named(self.labels, self.overall.probs)

    def to_dict(self) -> dict:
        """The result as plain values, ready for JSON. This is the schema, version 2.

        ```
        schema        int     version of this schema
        file          str     path as given
        model         {name: str, version: str}
        modality      str     what was asked for: fused | audio | face
        settings      {window: float (s), hop: float (s), ...}   the other settings, see `avser.options.Options`
        labels        [str]   the emotions, in the order used everywhere
        media         {duration: float|null (s), has_audio: bool, has_video: bool, width: int|null,
                       height: int|null, fps: str|null ("30000/1001"), video_codec: str|null,
                       audio_codec: str|null, audio_rate: int|null (Hz), audio_channels: int|null}
        overall       PREDICTION for the whole file, everybody together
        people        [PERSON] in order of appearance
        speech        [[start, end]]|null   stretches of speech, s; null: not looked for
        cuts          [float]   times at which the shot changes, s
        segments      [SEGMENT] by person and time
        predictions   [PREDICTION] one a window and person, in order of time, then person

        PREDICTION
          start, end    float   s
          person        int|null     who is seen; null: a voice without a face, or the whole file
          label         str|null     null: avser abstains, see reason
          category      str|null     positive | negative, of models of four emotions; else null
          confidence    float|null   probability of the label
          probs         {emotion: float}|null   fused distribution
          modalities    {"audio"|"face": {emotion: float}}   those that were present
          weights       {"audio"|"face": float}   share in the fusion, sums to 1
          face_frames   int     frames in which the face was seen
          speech        float|null   share of the window in which somebody speaks
          speaking      float|null   score that this person speaks, 0 to 1
          reason        str|null     why it abstains
          note          str|null     what else is to be known

        PERSON
          person        int     id
          spans         [[start, end]]   stretches in which the face was followed, s
          frames        int     frames in which the face was seen
          overall       PREDICTION over all of them

        SEGMENT
          start, end    float   s
          person        int|null
          label         str
          confidence    float   mean probability of the label
        ```
        """
        return {**self.facts(), "predictions": list(self.rows())}

    def facts(self) -> dict:
        """All of `to_dict` but the predictions."""
        media = {k: v for k, v in dataclasses.asdict(self.media).items() if k != "path"}
        media["fps"] = None if self.media.fps is None else str(self.media.fps)
        settings = dataclasses.asdict(self.options)
        return {
            "schema": RESULT_SCHEMA_VERSION,
            "file": str(self.path),
            "model": {"name": self.model, "version": self.model_version},
            "modality": settings.pop("modality"),
            "settings": settings,
            "labels": list(self.labels),
            "media": media,
            "overall": prediction_values(self.labels, self.overall),
            "people": [self._person(p) for p in self.people],
            "speech": None if self.speech is None else _spans(self.speech),
            "cuts": [round(float(t), 3) for t in self.cuts],
            "segments": [_segment(s) for s in self.segments],
        }

    def rows(self) -> Iterator[dict]:
        """The predictions of `to_dict`, one after the other."""
        return (prediction_values(self.labels, p) for p in self.predictions)

    def _person(self, p: Person) -> dict:
        return {
            "person": p.person,
            "spans": _spans(p.spans),
            "frames": p.frames,
            "overall": prediction_values(self.labels, p.overall),
        }


def prediction_values(labels: tuple[str, ...], p: Prediction) -> dict:
    """A prediction as plain values: PREDICTION in the schema of `Result.to_dict`."""
    return {
        "start": round(p.start, 3),
        "end": round(p.end, 3),
        "person": p.person,
        "label": p.label,
        "category": p.category,
        "confidence": _rounded(p.confidence),
        "probs": None if p.probs is None else _named(labels, p.probs),
        "modalities": {name: _named(labels, probs) for name, probs in p.modalities.items()},
        "weights": {name: round(float(w), 4) for name, w in p.weights.items()},
        "face_frames": p.face_frames,
        "speech": _rounded(p.speech),
        "speaking": _rounded(p.speaking),
        "reason": p.reason,
        "note": p.note,
    }


def _segment(s: Segment) -> dict:
    return {
        "start": round(s.start, 3),
        "end": round(s.end, 3),
        "person": s.person,
        "label": s.label,
        "confidence": round(float(s.confidence), 4),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


def _spans(spans: Sequence[tuple[float, float]]) -> list[list[float]]:
    return [[round(float(start), 3), round(float(end), 3)] for start, end in spans]


def _named(labels: tuple[str, ...], probs: np.ndarray) -> dict[str, float]:
    return {label: round(float(p), 4) for label, p in zip(labels, probs, strict=True)}
