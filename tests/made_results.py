"""Results made by hand, for tests of what is written from them."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from pathlib import Path

import numpy as np

from avser import timeline
from avser.labels import LABEL_SETS
from avser.options import Options
from avser.results import Person, Prediction, Result, Segment
from avser.types import MediaInfo

LABELS = ("neutral", "happy", "sad")


def make_result(path: str = "talks/a b.mp4") -> Result:
    """Two windows: one with voice and face, one with nothing to go by."""
    fused = np.array([0.1, 0.7, 0.2])
    both = {"audio": np.array([0.25, 0.5, 0.25]), "face": np.array([0.0, 0.99996, 0.00004])}
    said = Prediction(
        0.0, 3.0, 1, fused, "happy", both, {"audio": 0.6, "face": 0.4}, None, 30, None, 0.5, 0.25, "a note"
    )
    nothing = Prediction(1.0, 4.00049, None, None, None, reason="no audio track and no face seen")
    segment = Segment(0.0, 3.0, 1, "happy", 0.7)
    media = MediaInfo(Path(path), 4.0, True, True, 640, 480, Fraction(30000, 1001), "h264", "aac", 44100, 2)
    return Result(
        Path(path),
        media,
        LABELS,
        (said, nothing),
        said,
        "av-test",
        "0.1",
        Options("fused"),
        (),
        (segment,),
        ((0.5, 2.0),),
        (1.5,),
    )


def made_probs(rng: np.random.Generator, classes: int, sure: float = 2.0) -> np.ndarray:
    """A distribution (C,)."""
    logits = rng.normal(0, sure, classes)
    return (np.exp(logits) / np.exp(logits).sum()).astype(np.float32)


def make_scene(
    seconds: float = 40.0, people: int = 2, labels: str = "basic7", path: str = "talks/a b.mp4", hop: float = 1.0
) -> Result:
    """Several people who come and go, some windows in which nothing can be said, speech, cuts and notes."""
    rng = np.random.default_rng(0)
    names = LABEL_SETS[labels]
    classes = len(names)
    predictions, drawn = [], [made_probs(rng, classes) for _ in range(people + 1)]
    for start in np.arange(0.0, max(hop, seconds - 3.0), hop):
        start = float(start)
        if rng.random() < 0.2:
            drawn = [made_probs(rng, classes) for _ in range(people + 1)]
        seen = [i for i in range(people) if math.sin(start / 17 + 2 * i) > -0.6 and start % 40 < 28]
        for person in seen or [None]:
            if person is None and start % 40 >= 34:
                reason = "no sound that could be speech and no face seen"
                predictions.append(Prediction(start, start + 3, None, None, None, reason=reason))
                continue
            face, voice = drawn[person or 0], drawn[-1]
            said = {"audio": voice} if person is None else {"audio": voice, "face": face}
            if len(seen) > 1 and person != seen[0]:
                said.pop("audio")
            share = 1 / len(said)
            probs = sum(share * x for x in said.values())
            note = "it is unclear who speaks" if len(seen) > 1 and int(start) % 9 == 0 else None
            predictions.append(
                Prediction(
                    start,
                    start + 3,
                    person,
                    probs,
                    names[int(probs.argmax())],
                    said,
                    dict.fromkeys(said, share),
                    face_frames=0 if person is None else 75,
                    speech=0.8,
                    speaking=None if person is None else (0.9 if person == seen[0] else 0.1),
                    note=note,
                )
            )
    found = []
    for person in range(people):
        theirs = [p for p in predictions if p.person == person]
        if theirs:
            best = max(theirs, key=lambda p: p.confidence)
            thumbnail = rng.integers(0, 255, (112, 112, 3), dtype=np.uint8)
            span = (theirs[0].start, theirs[-1].end)
            found.append(Person(person, (span,), 75 * len(theirs), best, thumbnail))
    return Result(
        path=Path(path),
        media=MediaInfo(Path(path), seconds, True, True, 1280, 720, Fraction(25), "h264", "aac", 48000, 2),
        labels=names,
        predictions=tuple(predictions),
        overall=dataclasses.replace(next(p for p in predictions if p.label is not None), person=None, end=seconds),
        model="av-test",
        model_version="0.1",
        options=Options("fused", hop=hop),
        people=tuple(found),
        segments=tuple(timeline.segments(predictions)),
        speech=tuple((float(t), float(t) + 4.5) for t in np.arange(1, seconds - 5, 7)),
        cuts=tuple(np.arange(9.5, seconds, 13.0).tolist()),
    )
