"""Fitting a fusion rule by name, on logits of clips that the branches had not learned from.

All of it happens inside the clips that are given: temperatures first, then weights, regressions and heads on the
calibrated log-probabilities. What has a strength to choose (of shrinkage, of weight decay) chooses it by the loss
on groups of clips (folds, or people) that each fit has left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from avser.fusion.examples import Examples, Fit
from avser.fusion.head_fitting import fit_head
from avser.models.fusion import (
    CUES,
    FUSION_RULES,
    Calibration,
    FusionRule,
    Reliability,
    Stacking,
    WeightedPerClass,
    fit_gains,
    minimise,
)
from avser.types import DataError, ModelError

SHRINKAGE = (0.01, 0.1, 1.0)
"""Strengths that per-class weights and regressions may be drawn with towards plain weights."""


def fit_fusion(name: str, examples: Examples) -> FusionRule:
    """A rule of `FUSION_RULES` with all that it has to learn, temperatures included.

    The clips must be ones that neither branch has learned from. Weights are fitted on those with all branches.

    Raises:
        ModelError: the rule is unknown.
        DataError: a branch or all of them together have too few clips.
    """
    if name not in FUSION_RULES:
        raise ModelError(f"unknown fusion rule {name!r}: choose from {', '.join(FUSION_RULES)}")
    for column, branch in enumerate(examples.sources):
        if not examples.present[:, column].any():
            raise DataError(f"branch {branch} is present in none of the clips that the fusion is fitted on")
    calibrations = {
        branch: fit_temperature(
            examples.sources[branch],
            examples.labels,
            examples.logits[branch][examples.present[:, column]],
            examples.targets[examples.present[:, column]],
        )
        for column, branch in enumerate(examples.sources)
    }
    if name not in FITTERS:
        return FUSION_RULES[name](examples.labels, calibrations)
    whole = examples.rows(np.all(examples.present, 1))
    if not len(whole.targets):
        raise DataError(f"no clip that fusion {name!r} is fitted on has every branch: choose mean")
    fit = Fit(whole, calibrations, whole.stack(calibrations), torch.from_numpy(whole.targets))
    return FITTERS[name](fit)


def cross_fit(name: str, examples: Examples) -> float:
    """Mean loss of a rule on groups of the clips that each fit of it has left out: what rules are compared by."""
    total = 0.0
    for mask in examples.inner():
        rule, left = fit_fusion(name, examples.rows(~mask)), examples.rows(mask)
        known = torch.from_numpy(left.present)
        chosen = known.any(1)
        fused = rule(left.stack(rule.calibrations), known, left.evidence)[chosen]
        total += float(cross_entropy(fused, torch.from_numpy(left.targets)[chosen], reduction="sum"))
    return total / max(int(examples.present.any(1).sum()), 1)


def fit_temperature(
    source: Sequence[str], shared: Sequence[str], logits: np.ndarray, targets: np.ndarray
) -> Calibration:
    """The temperature, on a grid in steps of 4 %, with the least loss over the shared labels."""
    said, wanted = torch.from_numpy(logits), torch.from_numpy(targets)
    choices = [Calibration(tuple(source), round(float(t), 4)) for t in np.geomspace(0.05, 20, 151)]
    return min(choices, key=lambda choice: float(cross_entropy(choice(said, shared), wanted)))


def _choose(fit: Fit, choices: Sequence[float], build: Callable[[Fit, float], FusionRule]) -> FusionRule:
    """The rule of the choice with the least loss on groups that it is not built on, built on all clips."""
    masks = fit.examples.inner()

    def loss(choice: float) -> float:
        return sum(fit.rows(mask).loss(build(fit.rows(~mask), choice)) for mask in masks)

    return build(fit, min(choices, key=loss))


def _per_class(fit: Fit, strength: float) -> WeightedPerClass:
    """Weights of each emotion, drawn towards those of the branch as a whole."""
    common = fit_gains(fit.logs, fit.targets).clamp(min=1e-3)  # (K,)
    apart = torch.zeros(fit.logs.shape[1:], dtype=torch.float64)  # (K, C), of logarithms

    def loss() -> torch.Tensor:
        scores = (common[:, None] * apart.exp() * fit.logs).sum(1)
        return cross_entropy(scores, fit.targets) + strength * (apart**2).sum()

    minimise([apart], loss)
    labels = fit.examples.labels
    weights = (common[:, None] * apart.exp()).tolist()
    shares = {
        name: {label: round(weight, 5) for label, weight in zip(labels, row, strict=True)}
        for name, row in zip(fit.calibrations, weights, strict=True)
    }
    return WeightedPerClass(labels, fit.calibrations, shares)


def _stacking(fit: Fit, strength: float) -> Stacking:
    """A regression, drawn towards the weighted sum of log-probabilities rather than towards nothing."""
    plain = fit_gains(fit.logs, fit.targets)[:, None, None] * torch.eye(fit.logs.shape[2], dtype=torch.float64)
    change, bias = torch.zeros_like(plain), torch.zeros(fit.logs.shape[2], dtype=torch.float64)

    def loss() -> torch.Tensor:
        scores = torch.einsum("kcd,bkd->bc", plain + change, fit.logs) + bias
        return cross_entropy(scores, fit.targets) + strength * ((change**2).sum() + (bias**2).sum())

    minimise([change, bias], loss)
    matrices = {
        name: np.round(matrix, 5).tolist()
        for name, matrix in zip(fit.calibrations, (plain + change).numpy(), strict=True)
    }
    return Stacking(fit.examples.labels, fit.calibrations, matrices, np.round(bias.numpy(), 5).tolist())


def _reliability(fit: Fit) -> Reliability:
    """Shares, sharpness, certainty and exponents of the cues that vary, by descent on the rule's own formula."""
    start = fit.weighted()
    cues = [
        cue
        for cue in CUES
        if cue in fit.examples.evidence and fit.examples.evidence[cue].nan_to_num(nan=-1.0).unique().numel() > 1
    ]
    best = start.settings() | {"certainty": 0.0, "exponents": dict.fromkeys(cues, 0.0)}

    def build(values: Sequence[float]) -> Reliability:
        share, sharpness, certainty, *exponents = values
        first, *rest = fit.calibrations
        shares = {first: share} | dict.fromkeys(rest, (1 - share) / max(len(rest), 1))
        return Reliability(
            fit.examples.labels,
            fit.calibrations,
            shares,
            sharpness,
            certainty,
            dict(zip(cues, exponents, strict=True)),
        )

    values = [best["shares"][next(iter(fit.calibrations))], best["sharpness"], 0.0, *[0.0] * len(cues)]
    steps = [0.1, 0.2, 0.5, *[0.25] * len(cues)]
    lows, highs = [0.0, 0.05, -4.0, *[0.0] * len(cues)], [1.0, 4.0, 4.0, *[4.0] * len(cues)]
    least = fit.loss(build(values))
    while max(steps) > 0.01:  # from each value a step up or down while that helps, then half the step
        for index, step in enumerate(steps):
            moved = False
            for direction in (step, -step):
                trial = list(values)
                trial[index] = round(min(max(trial[index] + direction, lows[index]), highs[index]), 5)
                if (loss := fit.loss(build(trial))) < least - 1e-6:
                    values, least, moved = trial, loss, True
                    break
            if not moved:
                steps[index] /= 2
    return build(values)


FITTERS: dict[str, Callable[[Fit], FusionRule]] = {
    "weighted": Fit.weighted,
    "weighted_per_class": lambda fit: _choose(fit, SHRINKAGE, _per_class),
    "stacking": lambda fit: _choose(fit, SHRINKAGE, _stacking),
    "head": fit_head,
    "reliability": _reliability,
}
"""How the rules that learn something besides temperatures are fitted; the others need nothing else."""
