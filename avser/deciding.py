"""From what the branches say to one distribution: frames pooled, logits calibrated, modalities fused."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from avser import evidence
from avser.checkpoint import Checkpoint
from avser.labels import category
from avser.models.fusion import Calibration, FusionRule, Mean
from avser.models.pooling import expressive_of, pool_frames
from avser.results import Prediction


class Decider:
    """The part of a model that comes after its networks.

    Attributes:
        fusion: the model's rule; of a model of one branch, that branch as it is.
        labels: the emotions, in the order of every distribution.
    """

    def __init__(self, model: Checkpoint) -> None:
        self._checkpoint = model
        self.fusion: FusionRule = model.fusion or _lone(model)
        self.labels: tuple[str, ...] = self.fusion.labels

    @property
    def needs(self) -> bool:
        """Whether the fusion goes by evidence besides the logits (see `avser.evidence`)."""
        return bool(evidence.NEEDED.get(self.fusion.name))

    def pool(self, logits: np.ndarray) -> np.ndarray:
        """Logits of frames (N, C) to those of the window (C,)."""
        branch = self._checkpoint.branches["face"]
        mask = np.ones((1, len(logits)), bool)
        return pool_frames(
            logits[None].astype(float), mask, branch.config.network.pool, expressive_of(branch.labels)
        )[0]

    def calibrated(self, name: str, logits: np.ndarray) -> np.ndarray:
        """A branch's logits (..., C') as log-probabilities over the model's labels (..., C)."""
        return self.fusion.calibrate({name: logits})[name]

    def decide(
        self,
        start: float,
        end: float,
        said: Mapping[str, np.ndarray],
        person: int | None = None,
        reason: str = "",
        known: Mapping[str, float | np.ndarray] | None = None,
        **facts,
    ) -> Prediction:
        """Fuse what the branches said, or abstain where they said nothing.

        Args:
            said: calibrated log-probabilities by branch, (C,) each; an absent branch is left out.
            reason: what is missing, in words.
            known: evidence that the fusion goes by (see `needs`).
            facts: other fields of the `Prediction`.
        """
        if not said:
            return Prediction(start, end, person, None, None, reason=reason, **facts)
        names = self.fusion.branches
        absent = np.full(len(self.labels), np.nan)
        logs = np.stack([said.get(name, absent) for name in names])[None]  # (1, K, C)
        present = np.array([[name in said for name in names]])
        known = evidence.stack([known or {}])
        probs = np.exp(self.fusion(logs, present, known)[0])
        weights = self.fusion.weights(present, logs, known)[0].tolist()
        label = self.labels[int(probs.argmax())]
        return Prediction(
            start=start,
            end=end,
            person=person,
            probs=probs,
            label=label,
            modalities={name: np.exp(said[name]) for name in names if name in said},
            weights={name: weight for name, weight in zip(names, weights, strict=True) if name in said},
            category=category(label, self.labels),
            **facts,
        )


def _lone(model: Checkpoint) -> FusionRule:
    """The rule for a model of one branch: that branch, calibrated."""
    meta = model.branches[model.kind].meta
    labels = tuple(meta["labels"])
    return Mean(labels, {model.kind: Calibration(labels, float(meta.get("temperature", 1.0)))})
