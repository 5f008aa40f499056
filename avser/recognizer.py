"""Recognizer: a media file in, a `Result` out. It streams; what it keeps is a few numbers a frame."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import torch

from avser import checkpoint, media
from avser.branches import Face, Progress, Voice, listen, look
from avser.checkpoint import Checkpoint
from avser.labels import category
from avser.metrics import log_softmax
from avser.models.fusion import Calibration, FusionRule, Mean
from avser.types import ConfigError, MediaInfo, ModelError, Prediction, Result
from avser.windows import window_grid

MODALITIES = ("fused", "audio", "face")


def load_model(name: str | Path = "av-base") -> Recognizer:
    """A recognizer with the weights of a shipped model (by name) or of a model file (by path).

    Raises:
        ModelError: there is no such model, or its file is damaged or foreign.
    """
    return Recognizer(checkpoint.load(name))


class Recognizer:
    """Predicts expressed emotions with one loaded model.

    Attributes:
        name, version: of the model.
        labels: the emotions, in the order of every distribution.
    """

    def __init__(self, model: Checkpoint) -> None:
        self.checkpoint = model
        self.name: str = model.meta.get("name", model.path.stem)
        self.version: str = model.meta.get("version", "")
        self.fusion: FusionRule = model.fusion or _lone(model)
        self.labels: tuple[str, ...] = self.fusion.labels

    @property
    def modalities(self) -> tuple[str, ...]:
        """What can be asked of this model."""
        return MODALITIES if self.checkpoint.kind == "fused" else (self.checkpoint.kind,)

    def predict(
        self,
        path: str | Path,
        modality: str | None = None,
        window: float = 3.0,
        hop: float = 1.0,
        progress: Progress | None = None,
    ) -> Result:
        """Find the emotions expressed in a media file.

        Each window of `window` s, one every `hop` s, gets a distribution per modality and a fused one. The file as
        a whole gets, per modality, the average of log-probabilities over its windows (voice) or frames (face),
        fused in the same way. Where there is nothing to go by, the label is None and the reason is given.

        Args:
            path: a video or audio file.
            modality: fused, audio or face; by default all that the model has.

        Raises:
            MediaError: the file cannot be read.
            ModelError: the model does not have this modality, or takes action units, which no video holds.
            ConfigError: the modality is unknown, or window or hop is not above zero.
        """
        modality = self.check(modality, window, hop)
        if modality != "audio" and self.checkpoint.branches["face"].config.signal == "action_units":
            raise ModelError(
                f"model {self.name!r} takes action units, which avser cannot measure in {path}; choose a model "
                "that takes pictures, or measure it on tables of OpenFace by 'avser evaluate --corpus openface'"
            )
        path = Path(path)
        info = media.probe(path)
        report = progress or (lambda second: None)
        with torch.inference_mode():
            branches = self.checkpoint.branches
            face = look(branches["face"], path, info, report) if modality != "audio" else None
            seen = face.end if face else 0.0
            voice = (
                listen(branches["audio"], path, info, window, hop, seen, report) if modality != "face" else None
            )
        duration = max(seen, voice.end if voice else 0.0)
        if duration <= 0:
            duration = info.duration or 0.0
        # the windows that were listened to, if any: a grid made anew could differ from them in the last bit
        grid = list(voice.logits) if voice and voice.logits else window_grid(duration, window, hop)
        missing = _missing(info, modality)
        predictions = [self._window(start, end, voice, face, missing) for start, end in grid]
        return Result(
            path=path,
            media=info if info.duration else dataclasses.replace(info, duration=round(duration, 3)),
            labels=self.labels,
            predictions=tuple(predictions),
            overall=self._overall(duration, voice, face, missing),
            model=self.name,
            model_version=self.version,
            modality=modality,
        )

    def check(self, modality: str | None, window: float = 3.0, hop: float = 1.0) -> str:
        """The modality that `predict` would use with these settings; its errors without a file."""
        if not (0 < window < math.inf and 0 < hop < math.inf):
            raise ConfigError(f"window ({window:g} s) and hop ({hop:g} s) must be above zero")
        if modality is None:
            return self.modalities[0]
        if modality not in MODALITIES:
            raise ConfigError(f"unknown modality {modality!r}: choose from {', '.join(MODALITIES)}")
        if modality not in self.modalities:
            raise ModelError(
                f"model {self.name!r} knows the {self.checkpoint.kind} only; choose a fused model for {modality!r}"
            )
        return modality

    def _window(
        self, start: float, end: float, voice: Voice | None, face: Face | None, missing: list[str]
    ) -> Prediction:
        said: dict[str, np.ndarray] = {}
        if voice is not None and (heard := voice.logits.get((start, end))) is not None:
            said["audio"] = self._calibrated("audio", heard)
        inside = slice(*np.searchsorted(face.times, (start, end))) if face is not None else slice(None)
        return self._decide(start, end, said, face, inside, missing)

    def _overall(self, duration: float, voice: Voice | None, face: Face | None, missing: list[str]) -> Prediction:
        said: dict[str, np.ndarray] = {}
        heard = [x for x in voice.logits.values() if x is not None] if voice is not None else []
        if heard:
            said["audio"] = log_softmax(np.mean([self._calibrated("audio", x) for x in heard], axis=0))
        return self._decide(0.0, duration, said, face, slice(None), missing)

    def pool(self, logits: np.ndarray) -> np.ndarray:
        """Logits of frames (N, C) to those of the window (C,)."""
        stacked = torch.from_numpy(logits)[None]
        mask = torch.ones(stacked.shape[:2], dtype=torch.bool)
        return self.checkpoint.branches["face"].network.pool(stacked, mask)[0].numpy()

    def _calibrated(self, name: str, logits: np.ndarray) -> np.ndarray:
        """A branch's logits (C',) as log-probabilities over the model's labels (C,)."""
        return self.fusion.calibrate({name: torch.from_numpy(logits)[None]})[name][0].numpy()

    def _decide(
        self,
        start: float,
        end: float,
        said: dict[str, np.ndarray],
        face: Face | None,
        inside: slice,
        missing: list[str],
    ) -> Prediction:
        """Fuse what the voice said with the face's frames `inside` the window, or abstain."""
        frames = 0 if face is None else len(face.times[inside])
        track = None
        if frames:
            track = int(np.bincount(face.tracks[inside]).argmax())
            said["face"] = self._calibrated("face", self.pool(face.logits[inside]))
        if not said:
            return Prediction(start, end, None, None, None, reason=" and ".join(missing), face_frames=frames)
        names = self.fusion.branches
        absent = np.full(len(self.labels), np.nan)
        logs = torch.from_numpy(np.stack([said.get(name, absent) for name in names]))[None]  # (1, K, C)
        present = torch.tensor([[name in said for name in names]])
        probs = self.fusion(logs, present)[0].exp().numpy()
        weights = self.fusion.weights(present, logs)[0].tolist()
        return Prediction(
            start=start,
            end=end,
            track=track,
            probs=probs,
            label=self.labels[int(probs.argmax())],
            modalities={name: np.exp(said[name]) for name in names if name in said},
            weights={name: weight for name, weight in zip(names, weights, strict=True) if name in said},
            face_frames=frames,
            category=category(self.labels[int(probs.argmax())], self.labels),
        )


def _lone(model: Checkpoint) -> FusionRule:
    """The rule for a model of one branch: that branch, calibrated."""
    meta = model.branches[model.kind].meta
    labels = tuple(meta["labels"])
    return Mean(labels, {model.kind: Calibration(labels, float(meta.get("temperature", 1.0)))})


def _missing(info: MediaInfo, modality: str) -> list[str]:
    """What a window without evidence lacks, in words."""
    reasons = []
    if modality != "face":
        reasons.append("no sound that could be speech" if info.has_audio else "no audio track")
    if modality != "audio":
        reasons.append("no face seen" if info.has_video else "no video")
    return reasons
