"""Late fusion: the branches' logits and presence flags to one distribution (B, C) of log-probabilities.

Every rule works on calibrated log-probabilities over one shared label set: a branch's logits are divided by its
temperature, turned into log-probabilities, moved to the shared labels, and freed of its training corpus's label
frequencies. An absent branch gets weight zero and the rest are renormalised; with no branch present the outcome is
NaN, which callers report as an abstention.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from avser.labels import place
from avser.types import ModelError


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

    def __call__(self, logits: torch.Tensor, shared: Sequence[str]) -> torch.Tensor:
        """Logits (B, C') of the branch to log-probabilities (B, C) over the shared labels."""
        logs = (logits.double() / self.temperature).log_softmax(-1)
        columns = []
        for target, name in enumerate(shared):
            sources = [i for i, label in enumerate(self.labels) if place(label, shared) == target]
            if not sources:
                raise ModelError(f"a branch without the emotion {name!r} cannot be fused over {', '.join(shared)}")
            columns.append(logs[..., sources].logsumexp(-1))
        logs = torch.stack(columns, -1)
        if self.prior:
            logs = logs - self.prior * logs.new_tensor(self.log_prior)
        return logs.log_softmax(-1)


class FusionRule(nn.Module, abc.ABC):
    """Base of the rules. `branches` and `labels` fix the order of modalities and emotions."""

    name: str

    def __init__(self, labels: Sequence[str], calibrations: Mapping[str, Calibration]) -> None:
        super().__init__()
        self.labels = tuple(labels)
        self.branches = tuple(calibrations)
        self.calibrations = dict(calibrations)

    def calibrate(self, logits: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Each branch's own logits as log-probabilities over the shared labels, (B, C) each."""
        return {name: self.calibrations[name](logits[name], self.labels) for name in logits}

    @abc.abstractmethod
    def forward(self, logs: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Calibrated log-probabilities (B, K, C) and flags (B, K) to fused log-probabilities (B, C)."""

    @abc.abstractmethod
    def weights(self, present: torch.Tensor) -> torch.Tensor:
        """Share of each branch (B, K), zero where absent; rows sum to one unless all are absent."""

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

    def weights(self, present: torch.Tensor) -> torch.Tensor:
        share = torch.tensor([self.shares[name] for name in self.branches], dtype=torch.float64)
        weight = torch.where(present, share, torch.zeros_like(share))  # (B, K)
        # Where only branches of share zero are present, they are all there is to go by.
        weight = torch.where(weight.sum(1, keepdim=True) > 0, weight, present.double())
        return weight / weight.sum(1, keepdim=True).clamp(min=1e-12)

    def forward(self, logs: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        weight = self.weights(present).unsqueeze(-1)  # (B, K, 1)
        # An absent branch may hold anything, NaN included: it is dropped, not multiplied by zero.
        logs = torch.where(present.unsqueeze(-1), logs.double(), torch.zeros((), dtype=torch.float64))
        scale = torch.where(present.sum(1) > 1, self.sharpness, 1.0).unsqueeze(1)
        fused = (scale * (weight * logs).sum(1)).log_softmax(-1)  # (B, C)
        return torch.where(present.any(1, keepdim=True), fused, torch.nan)

    def settings(self) -> dict:
        return {**super().settings(), "shares": self.shares, "sharpness": self.sharpness}


class Mean(Weighted):
    """Plain average of log-probabilities over the present branches."""

    name = "mean"

    def __init__(self, labels: Sequence[str], calibrations: Mapping[str, Calibration]) -> None:
        super().__init__(labels, calibrations)

    def settings(self) -> dict:
        return FusionRule.settings(self)


def fit_calibration(
    branch_labels: Sequence[str],
    log_prior: Sequence[float],
    shared: Sequence[str],
    logits: np.ndarray,
    targets: np.ndarray,
) -> Calibration:
    """Temperature and prior of a branch with the least balanced negative log-likelihood on validation clips.

    Balanced: every emotion of the shared labels counts alike, however often it occurs.

    Args:
        log_prior: log-frequencies of the branch's labels in training, (C',).
        logits: (N, C') of validation clips. targets: (N,) over the shared labels.
    """
    frequencies = np.zeros(len(shared))
    for label, log in zip(branch_labels, log_prior, strict=True):
        if (index := place(label, shared)) is not None:
            frequencies[index] += np.exp(log)
    shared_prior = tuple(round(float(x), 4) for x in np.log(frequencies / frequencies.sum()))
    weight = 1 / np.bincount(targets, minlength=len(shared)).clip(1)[targets]
    best: tuple[float, Calibration] | None = None
    for prior in (0.0, 0.25, 0.5, 0.75, 1.0):
        for temperature in np.geomspace(0.3, 4.0, 53):
            choice = Calibration(tuple(branch_labels), round(float(temperature), 4), prior, shared_prior)
            logs = choice(torch.from_numpy(logits), shared).numpy()
            loss = -float(np.average(logs[np.arange(len(targets)), targets], weights=weight))
            if best is None or loss < best[0]:
                best = (loss, choice)
    return best[1]


def fit_weighted(
    labels: Sequence[str],
    calibrations: Mapping[str, Calibration],
    logs: Mapping[str, np.ndarray],
    targets: np.ndarray,
) -> Weighted:
    """The weights and the sharpness with the least negative log-likelihood, by search over a grid.

    Args:
        logs: calibrated log-probabilities of each of two branches on validation pairs, (N, C).
        targets: (N,).
    """
    first, second = calibrations
    stacked = torch.from_numpy(np.stack([logs[first], logs[second]], 1))  # (N, 2, C)
    present = torch.ones(stacked.shape[:2], dtype=torch.bool)
    index = torch.from_numpy(np.asarray(targets))
    best: tuple[float, Weighted] | None = None
    for share in np.linspace(0, 1, 41):
        for sharpness in np.linspace(0.6, 2.4, 37):
            rule = Weighted(labels, calibrations, {first: share, second: 1 - share}, sharpness)
            loss = float(nn.functional.nll_loss(rule(stacked, present), index))
            if best is None or loss < best[0]:
                best = (loss, rule)
    return best[1]


def build_fusion(settings: Mapping) -> FusionRule:
    """A rule from its settings.

    Raises:
        ModelError: the rule is unknown.
    """
    values = dict(settings)
    name = values.pop("rule")
    if name not in FUSION_RULES:
        raise ModelError(f"unknown fusion rule {name!r}: choose from {', '.join(FUSION_RULES)}")
    calibrations = {
        branch: Calibration(tuple(c["labels"]), c["temperature"], c["prior"], tuple(c["log_prior"]))
        for branch, c in values.pop("calibrations").items()
    }
    return FUSION_RULES[name](values.pop("labels"), calibrations, **values)


FUSION_RULES: dict[str, type[FusionRule]] = {rule.name: rule for rule in (Weighted, Mean)}
