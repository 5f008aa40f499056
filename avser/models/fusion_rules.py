"""The rules of late fusion that a handful of numbers describes; those that are learned lie in `fusion_learned`.

Every rule works on calibrated log-probabilities over one shared label set: a branch's logits are divided by its
temperature, turned into log-probabilities, moved to the shared labels, and freed of its training corpus's label
frequencies. A branch that is alone is returned as it is, so that an absent one never changes its ranking; with no
branch present the outcome is NaN, which callers report as an abstention.

A rule takes numpy's arrays, or torch's tensors where gradients go through it, and gives back the like.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from avser.arrays import Array, beside, double, library, log_softmax, logsumexp
from avser.labels import place
from avser.types import ModelError

Evidence = Mapping[str, Array]
"""What is known besides the logits: cues (B,) by the names of `CUES`; `audio_features`, `face_features` (B, D).

NaN where nobody knows. All of it is optional.
"""


@dataclass(frozen=True)
class Calibration:
    """How one branch's logits become log-probabilities over the shared labels.

    Attributes:
        labels: the branch's own label set.
        temperature: fitted on validation subjects (Guo et al. 2017).
        prior: share of the log-frequencies of its training labels that is taken out again (Menon et al. 2021): 1
            where every emotion is as likely as another, 0 to keep the corpus's habits.
        log_prior: log-frequencies of the shared labels in training, (C,).
    """

    labels: tuple[str, ...]
    temperature: float = 1.0
    prior: float = 0.0
    log_prior: tuple[float, ...] = ()

    def __call__(self, logits: Array, shared: Sequence[str]) -> Array:
        """Logits (B, C') of the branch to log-probabilities (B, C) over the shared labels."""
        logs = log_softmax(double(logits) / self.temperature)
        columns = []
        for target, name in enumerate(shared):
            sources = [i for i, label in enumerate(self.labels) if place(label, shared) == target]
            if not sources:
                raise ModelError(f"a branch without the emotion {name!r} cannot be fused over {', '.join(shared)}")
            columns.append(logsumexp(logs[..., sources]))
        logs = library(logs).stack(columns, -1)
        if self.prior:
            logs = logs - self.prior * beside(self.log_prior, logs)
        return log_softmax(logs)


class FusionRule(abc.ABC):
    """Base of the rules. `branches` and `labels` fix the order of modalities and emotions."""

    name: str

    def __init__(self, labels: Sequence[str], calibrations: Mapping[str, Calibration]) -> None:
        self.labels = tuple(labels)
        self.branches = tuple(calibrations)
        self.calibrations = dict(calibrations)

    def calibrate(self, logits: Mapping[str, Array]) -> dict[str, Array]:
        """Each branch's own logits as log-probabilities over the shared labels, (B, C) each."""
        return {name: self.calibrations[name](logits[name], self.labels) for name in logits}

    def __call__(self, logs: Array, present: Array, evidence: Evidence | None = None) -> Array:
        """Calibrated log-probabilities (B, K, C) and flags (B, K) to fused log-probabilities (B, C).

        One branch alone comes back as it is, and rows without any are NaN.
        """
        lib = library(logs)
        # An absent branch may hold anything, NaN included: it is dropped, not multiplied by zero.
        logs = lib.where(present[..., None], double(logs), 0.0)
        logs = lib.clip(logs, -1e6, None)  # a probability of nought times a weight of nought is no number
        with np.errstate(divide="ignore", invalid="ignore"):  # in rows that are not looked at
            fused = self.combine(logs, present, evidence or {})
        fused = log_softmax(lib.where(present.sum(1, keepdims=True) > 1, fused, logs.sum(1)))
        return lib.where(present.any(1, keepdims=True), fused, math.nan)

    @abc.abstractmethod
    def combine(self, logs: Array, present: Array, evidence: Evidence) -> Array:
        """Scores (B, C) of rows where more than one branch is present; the others' are not looked at.

        Args:
            logs: (B, K, C), zero where absent. present: (B, K).
        """

    def weights(self, present: Array, logs: Array | None = None, evidence: Evidence | None = None) -> Array:
        """Share of each branch (B, K), zero where absent; rows sum to one unless all are absent.

        Rules that weigh no branches give equal shares. Give `logs` (B, K, C) where the shares may follow them.
        """
        return shares_of(double(present), present)

    def settings(self) -> dict:
        """What `build_fusion` needs to build this rule again, as plain values."""
        return {
            "rule": self.name,
            "labels": list(self.labels),
            "calibrations": {
                name: {
                    "labels": list(c.labels),
                    "temperature": c.temperature,
                    "prior": c.prior,
                    "log_prior": list(c.log_prior),
                }
                for name, c in self.calibrations.items()
            },
        }


def shares_of(weight: Array, present: Array) -> Array:
    """Weights (B, K) as shares over the present branches."""
    lib = library(present)
    weight = lib.where(present, weight, 0.0)
    # Where only branches of weight zero are present, they are all there is to go by.
    weight = lib.where(weight.sum(1, keepdims=True) > 0, weight, double(present))
    largest = lib.amax(weight, 1, keepdims=True)
    weight = weight / lib.where(largest > 0, largest, 1.0)  # however small they all are, their shares sum to one
    return weight / lib.clip(weight.sum(1, keepdims=True), 1e-12, None)


class Weighted(FusionRule):
    """Weighted average of log-probabilities, sharpened where more than one branch agrees to speak.

    log p ∝ s · Σ_k w_k log p_k over the present branches k, with the weights renormalised over them. Two branches
    that err independently are together surer than either: `sharpness` s (fitted, used only where more than one is
    present) says how much; s = 1 is the plain weighted geometric mean.
    """

    name = "weighted"

    def __init__(
        self,
        labels: Sequence[str],
        calibrations: Mapping[str, Calibration],
        shares: Mapping[str, float] | None = None,
        sharpness: float = 1.0,
    ) -> None:
        super().__init__(labels, calibrations)
        shares = shares or dict.fromkeys(self.branches, 1.0)
        self.shares = {name: float(shares[name]) for name in self.branches}
        if min(self.shares.values()) < 0 or sum(self.shares.values()) <= 0:
            raise ValueError("fusion weights must not be negative, and one must be above zero")
        self.sharpness = float(sharpness)

    def weights(self, present: Array, logs: Array | None = None, evidence: Evidence | None = None) -> Array:
        share = beside([self.shares[name] for name in self.branches], present)
        return shares_of(library(present).broadcast_to(share, present.shape), present)

    def combine(self, logs: Array, present: Array, evidence: Evidence) -> Array:
        return self.sharpness * (self.weights(present)[..., None] * logs).sum(1)

    def settings(self) -> dict:
        return {**super().settings(), "shares": self.shares, "sharpness": self.sharpness}


class Mean(Weighted):
    """Plain average of log-probabilities over the present branches."""

    name = "mean"

    def __init__(self, labels: Sequence[str], calibrations: Mapping[str, Calibration]) -> None:
        super().__init__(labels, calibrations)

    def settings(self) -> dict:
        return FusionRule.settings(self)


class WeightedPerClass(FusionRule):
    """Sum of log-probabilities with a weight above or equal to zero for each branch and emotion.

    log p(c) ∝ Σ_k w_kc log p_k(c): a voice may tell fear well and a face disgust. `shares` holds w_kc by branch
    and emotion; they carry the sharpness and need not sum to one.
    """

    name = "weighted_per_class"

    def __init__(
        self,
        labels: Sequence[str],
        calibrations: Mapping[str, Calibration],
        shares: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        super().__init__(labels, calibrations)
        even = dict.fromkeys(self.labels, 1 / len(self.branches))
        shares = shares or dict.fromkeys(self.branches, even)
        self.shares = {
            name: {label: float(shares[name][label]) for label in self.labels} for name in self.branches
        }
        self._table = np.array([list(row.values()) for row in self.shares.values()])  # (K, C)
        if self._table.min() < 0:
            raise ValueError("fusion weights must not be negative")

    def weights(self, present: Array, logs: Array | None = None, evidence: Evidence | None = None) -> Array:
        weight = beside(self._table.mean(1), present)
        return shares_of(library(present).broadcast_to(weight, present.shape), present)

    def combine(self, logs: Array, present: Array, evidence: Evidence) -> Array:
        return (beside(self._table, logs) * logs).sum(1)  # (B, C)

    def settings(self) -> dict:
        return {**super().settings(), "shares": self.shares}


class Product(FusionRule):
    """Product of the present branches' probabilities: Bayes where branches err independently and labels are even.

    With `Max` and `Vote` from Kittler et al., "On Combining Classifiers" (1998).
    """

    name = "product"

    def combine(self, logs: Array, present: Array, evidence: Evidence) -> Array:
        return logs.sum(1)


class Max(FusionRule):
    """The highest probability that any present branch gives an emotion, renormalised."""

    name = "max"

    def combine(self, logs: Array, present: Array, evidence: Evidence) -> Array:
        lib = library(logs)
        return lib.amax(lib.where(present[..., None], logs, -math.inf), 1)


class Vote(FusionRule):
    """One vote a branch for its most probable emotion; the mean probability decides between as many votes.

    p(c) ∝ votes(c) + mean_k p_k(c): as two means never differ by more than one, a majority is never overruled.
    Emotions that tie in a branch share its vote.
    """

    name = "vote"

    def combine(self, logs: Array, present: Array, evidence: Evidence) -> Array:
        lib, known = library(logs), double(present)[..., None]
        best = double(logs == lib.amax(logs, -1, keepdims=True))
        votes = (known * best / best.sum(-1, keepdims=True)).sum(1)
        mean = (known * lib.exp(logs)).sum(1) / lib.clip(known.sum(1), 1, None)
        return lib.log(votes + mean)
