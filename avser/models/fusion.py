"""Late fusion: the branches' logits and presence flags to one distribution (B, C) of log-probabilities.

The rules by name, building one from what a checkpoint holds, and fitting calibrations and weights. What else is
fitted, on out-of-fold logits only, lies in `avser.fusion.rule_fitting`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from avser.labels import place
from avser.models.fusion_learned import Head, Stacking
from avser.models.fusion_reliability import CUES, Reliability
from avser.models.fusion_rules import (
    Calibration,
    Evidence,
    FusionRule,
    Max,
    Mean,
    Product,
    Vote,
    Weighted,
    WeightedPerClass,
)
from avser.types import ModelError

if TYPE_CHECKING:
    import torch

__all__ = [
    "CUES",
    "FUSION_RULES",
    "Calibration",
    "Evidence",
    "FusionRule",
    "Head",
    "Max",
    "Mean",
    "Product",
    "Reliability",
    "Stacking",
    "Vote",
    "Weighted",
    "WeightedPerClass",
    "build_fusion",
    "fit_calibration",
    "fit_gains",
    "fit_weighted",
    "minimise",
]


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

    def loss(choice: Calibration) -> float:
        logs = choice(logits, shared)
        return -float(np.average(logs[np.arange(len(targets)), targets], weights=weight))

    choices = [
        Calibration(tuple(branch_labels), round(float(temperature), 4), prior, shared_prior)
        for prior in (0.0, 0.25, 0.5, 0.75, 1.0)
        for temperature in np.geomspace(0.3, 4.0, 53)
    ]
    return min(choices, key=loss)


def fit_weighted(
    labels: Sequence[str],
    calibrations: Mapping[str, Calibration],
    logs: Mapping[str, np.ndarray],
    targets: np.ndarray,
) -> Weighted:
    """The weights and the sharpness with the least negative log-likelihood.

    Args:
        logs: calibrated log-probabilities of each branch on validation clips, (N, C).
        targets: (N,).
    """
    import torch

    gains = fit_gains(
        torch.from_numpy(np.stack([logs[name] for name in calibrations], 1)), torch.from_numpy(targets)
    )
    sharpness = max(float(gains.sum()), 1e-3)
    shares = {name: round(float(gain) / sharpness, 4) for name, gain in zip(calibrations, gains, strict=True)}
    return Weighted(labels, calibrations, shares, round(sharpness, 4))


def fit_gains(logs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Gains (K,), none below zero, with which the sum of log-probabilities (N, K, C) has the least loss."""
    import torch
    from torch.nn import functional

    logs, roots = logs.double(), torch.full((logs.shape[1],), 0.7, dtype=torch.float64)
    # squares: a gain may well be zero, and the loss is convex in it
    minimise([roots], lambda: functional.cross_entropy(torch.einsum("k,nkc->nc", roots**2, logs), targets))
    return (roots**2).detach()


def minimise(parameters: Sequence[torch.Tensor], loss: Callable[[], torch.Tensor], steps: int = 100) -> None:
    """Move the parameters to the least loss, by L-BFGS over all clips at once."""
    import torch

    for parameter in parameters:
        parameter.requires_grad_()
    optimiser = torch.optim.LBFGS(parameters, max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    with torch.enable_grad():
        optimiser.step(closure)
    for parameter in parameters:
        parameter.requires_grad_(False)


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


FUSION_RULES: dict[str, type[FusionRule]] = {
    rule.name: rule for rule in (Weighted, Mean, WeightedPerClass, Product, Max, Vote, Stacking, Head, Reliability)
}
