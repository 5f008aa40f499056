"""Clips decoded once, with their sound and every face seen, and what a model says of them in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from avser import faces, inputs, media
from avser.benchmark.degradation import thin
from avser.branches import FACES, LOOK_HEIGHT, WINDOWS, hear
from avser.caching import cached
from avser.faces.tracking import FaceFollower
from avser.metrics import log_softmax
from avser.recognizer import Recognizer
from avser.types import AvserError, Clip
from avser.windows import window_grid

FRAME_RATE = 30.0
"""Most frames of a second that a take holds."""
WINDOW, HOP = 3.0, 1.0
"""Windows of the voice, s, as `Recognizer.predict` has them by default."""


@dataclass(frozen=True)
class Take:
    """One clip, decoded.

    Attributes:
        samples: (S,) float32 at `rate` Hz, empty without sound.
        times: (N,) s of all frames up to `FRAME_RATE`. seen: (N,) in which of them the followed face is.
        crops: (M, H, W, 3) uint8, aligned, of the frames in which it is.
        end: of the longer of sound and picture, s.
    """

    clip: Clip
    samples: np.ndarray
    rate: int
    times: np.ndarray
    seen: np.ndarray
    crops: np.ndarray
    end: float


def load_takes(
    model: Recognizer, clips: Sequence[Clip], progress: Callable[[Iterable[Clip]], Iterable[Clip]] = iter
) -> tuple[list[Take], list[str]]:
    """Decode clips for a model, from the cache where they have been before.

    Returns:
        The takes, and a sentence for each clip that cannot be read.
    """
    takes, left_out = [], []
    for clip in progress(clips):
        try:
            takes.append(_load(model, clip))
        except AvserError as error:
            left_out.append(str(error))
    return takes, left_out


def _load(model: Recognizer, clip: Clip) -> Take:
    branches = model.checkpoint.branches
    info = media.probe(clip.path)
    rate = branches["audio"].config.audio.rate if "audio" in branches else 16_000
    samples = np.zeros(0, np.float32)
    if "audio" in branches and info.has_audio:
        # not in 16 bits as for training: raised to a common level, a quiet clip's rounding would be heard
        samples = cached(clip, f"exact sound|{rate}", lambda: _sound(clip, rate))
    size = branches["face"].config.face.size if "face" in branches else 1
    kind = np.dtype([("time", "f8"), ("seen", "?"), ("crop", "u1", (size, size, 3))])
    frames = np.zeros(0, kind)
    if "face" in branches and info.has_video:
        settings = f"every face|2|{size}|{FRAME_RATE}|{LOOK_HEIGHT}|{faces.LEFT_EYE}|{faces.RIGHT_EYE}"
        frames = cached(clip, settings, lambda: _frames(clip, size, kind))
    shown = float(frames["time"][-1]) + (float(1 / info.fps) if info.fps else 0.0) if len(frames) else 0.0
    return Take(
        clip,
        samples,
        rate,
        frames["time"],
        frames["seen"],
        frames["crop"][frames["seen"]],
        max(shown, len(samples) / rate),
    )


def _sound(clip: Clip, rate: int) -> np.ndarray:
    with contextlib.suppress(media.NoStreamError):  # a stream that is announced, but empty
        return media.read_audio(clip.path, rate, clip.start, clip.end).samples
    return np.zeros(0, np.float32)


def _frames(clip: Clip, size: int, kind: np.dtype) -> np.ndarray:
    """Every frame's time, and the crop of those in which the followed face is."""
    rows = []
    with contextlib.suppress(media.NoStreamError), FaceFollower(size) as follower:
        for frame in media.iter_frames(clip.path, FRAME_RATE, LOOK_HEIGHT, clip.start, clip.end):
            sample = follower.update(frame)
            blank = np.zeros((size, size, 3), np.uint8)
            rows.append((frame.time - clip.start, sample is not None, blank if sample is None else sample.crop))
    return np.array(rows, kind)


class Judge:
    """What a model says of takes whole, in batches over clips; the figures of `Recognizer.predict`."""

    def __init__(self, model: Recognizer) -> None:
        self.model, self.branches = model, model.checkpoint.branches
        self.decider, self.rule = model.decider, model.fusion
        self.labels = model.labels

    def hear(
        self, sounds: Sequence[np.ndarray], grids: Sequence[Sequence[tuple[float, float]]]
    ) -> list[np.ndarray]:
        """Calibrated log-probabilities of each window of each sound, (W, C) each, NaN where there is no speech."""
        params = self.branches["audio"].config.audio
        prepared = [
            inputs.prepare(samples[round(start * params.rate) : round(end * params.rate)], params)
            for samples, grid in zip(sounds, grids, strict=True)
            for start, end in grid
        ]
        logs = np.full((len(prepared), len(self.labels)), np.nan)
        audible = [(number, sound) for number, sound in enumerate(prepared) if sound is not None]
        audible.sort(key=lambda numbered: len(numbered[1]))
        for first in range(0, len(audible), WINDOWS):
            said = hear(self.branches["audio"], audible[first : first + WINDOWS])
            rows = [row for row in said.values() if row is not None]
            logs[list(said)] = self.decider.calibrated("audio", np.stack(rows))
        return np.split(logs, np.cumsum([len(grid) for grid in grids])[:-1])

    def voice(self, takes: Sequence[Take], sounds: Sequence[np.ndarray]) -> np.ndarray:
        """Log-probabilities (N, C) of whole sounds, NaN where there is no speech."""
        grids = [window_grid(take.end, WINDOW, HOP) for take in takes]
        return np.stack([_mean(logs) for logs in self.hear(sounds, grids)])

    def look(self, crops: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The face branch's logits of each frame of each take, (M, C') each."""
        branch, together = self.branches["face"], np.concatenate(crops)
        parts = [
            branch.run(inputs.pictures_of(together[first : first + FACES]))
            for first in range(0, len(together), FACES)
        ]
        classes = len(branch.labels)
        logits = np.concatenate(parts) if parts else np.zeros((0, classes))
        return np.split(logits, np.cumsum([len(part) for part in crops])[:-1])

    def face(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """Log-probabilities (N, C) of the logits of frames of each take pooled, NaN where there is no frame."""
        logs = np.full((len(frames), len(self.labels)), np.nan)
        for number, logits in enumerate(frames):
            if len(logits):
                logs[number] = self.decider.calibrated("face", self.decider.pool(logits))
        return logs

    def looked_at(self, take: Take) -> np.ndarray:
        """Which frames with a face the model takes, (M,) bool: it thins them to its own rate."""
        return thin(take.times, self.branches["face"].config.face.fps)[take.seen]

    def fuse(self, said: dict[str, np.ndarray]) -> np.ndarray:
        """Fused log-probabilities (N, C) of the branches' own, NaN where nothing is said."""
        logs = np.stack([said[name] for name in self.rule.branches], 1)  # (N, K, C)
        return self.rule(logs, np.isfinite(logs).all(-1))


def _mean(logs: np.ndarray) -> np.ndarray:
    """The average (C,) of log-probabilities (W, C) that are no NaN."""
    said = logs[np.isfinite(logs).all(1)]
    return log_softmax(said.mean(0)) if len(said) else np.full(logs.shape[1], np.nan)
