"""Clips to fit a fusion on: logits of both branches, which of them are there, and what is known besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from avser.models.fusion import Calibration, Evidence, FusionRule, Weighted, fit_weighted
from avser.types import DataError

INNER = 5
"""Groups of clips that strengths are chosen by, at most."""


@dataclass(frozen=True)
class Examples:
    """Clips to fit a fusion on.

    Attributes:
        labels: the C shared emotions.
        sources: each branch's own labels.
        logits: (N, C') of each branch; what an absent one holds does not matter.
        present: (N, K) which branches there are, in the order of `sources`.
        targets: (N,) over the shared emotions.
        groups: (N,) whatever must stay together where a strength is chosen: folds, or people.
        evidence: what else is known of the clips.
    """

    labels: tuple[str, ...]
    sources: Mapping[str, tuple[str, ...]]
    logits: Mapping[str, np.ndarray]
    present: np.ndarray
    targets: np.ndarray
    groups: np.ndarray
    evidence: Evidence

    def rows(self, chosen: np.ndarray) -> Examples:
        """Some of the clips, by a mask (N,) or by numbers."""
        return Examples(
            self.labels,
            self.sources,
            {name: logits[chosen] for name, logits in self.logits.items()},
            self.present[chosen],
            self.targets[chosen],
            self.groups[chosen],
            {name: values[chosen] for name, values in self.evidence.items()},
        )

    def stack(self, calibrations: Mapping[str, Calibration]) -> torch.Tensor:
        """Calibrated log-probabilities (N, K, C)."""
        logs = [calibrations[name](torch.from_numpy(self.logits[name]), self.labels) for name in self.sources]
        return torch.stack(logs, 1)

    def inner(self) -> list[np.ndarray]:
        """Masks of the groups that are left out in turn, at most `INNER` of them."""
        names, counts = np.unique(self.groups, return_counts=True)
        if len(names) < 2:
            raise DataError("a fusion cannot be fitted on clips of a single fold or person: give it more of them")
        dealt = {name: number % INNER for number, name in enumerate(names[np.argsort(-counts, kind="stable")])}
        numbers = np.array([dealt[name] for name in self.groups])
        return [numbers == number for number in range(min(INNER, len(names)))]


@dataclass(frozen=True)
class Fit:
    """What a fitter works with: complete clips, their calibrated log-probabilities (N, K, C), targets (N,)."""

    examples: Examples
    calibrations: Mapping[str, Calibration]
    logs: torch.Tensor
    targets: torch.Tensor

    def rows(self, mask: np.ndarray) -> Fit:
        chosen = torch.from_numpy(mask)
        return Fit(self.examples.rows(mask), self.calibrations, self.logs[chosen], self.targets[chosen])

    def loss(self, rule: FusionRule) -> float:
        """Sum of the negative log-likelihood over the clips."""
        fused = rule(self.logs, torch.ones(self.logs.shape[:2], dtype=torch.bool), self.examples.evidence)
        return float(cross_entropy(fused, self.targets, reduction="sum"))

    def weighted(self) -> Weighted:
        """The weights and the sharpness of these clips."""
        logs = dict(zip(self.calibrations, self.logs.numpy().transpose(1, 0, 2), strict=True))
        return fit_weighted(self.examples.labels, self.calibrations, logs, self.examples.targets)
