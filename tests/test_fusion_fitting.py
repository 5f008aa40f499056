"""Fitting fusion: what is known to be best is found again, and what a fit has not met is predicted well."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from avser.fusion.examples import Examples
from avser.fusion.rule_fitting import cross_fit, fit_fusion
from avser.metrics import log_softmax
from avser.models.fusion import (
    FUSION_RULES,
    Calibration,
    FusionRule,
    Mean,
    build_fusion,
    fit_calibration,
    fit_weighted,
)
from avser.types import DataError, ModelError

LABELS = ("neutral", "happy", "sad")
PLAIN = {"audio": Calibration(LABELS), "face": Calibration(LABELS)}
BOTH = {"audio": LABELS, "face": LABELS}

every_rule = pytest.mark.parametrize("name", FUSION_RULES)


def branch_logs(rng: np.random.Generator, targets: np.ndarray, strength: float) -> np.ndarray:
    """Calibrated log-probabilities (N, 3): exact posteriors of an observation with Gaussian noise."""
    seen = strength * np.eye(3)[targets] + rng.normal(size=(len(targets), 3))
    scores = strength * seen
    return scores - np.log(np.exp(scores).sum(1, keepdims=True))


def nll(logs: torch.Tensor, targets: np.ndarray) -> float:
    return float(torch.nn.functional.nll_loss(logs, torch.from_numpy(targets)))


def fuse(rule: FusionRule, logs: dict[str, np.ndarray]) -> torch.Tensor:
    stacked = torch.from_numpy(np.stack([logs[name] for name in rule.branches], 1))
    return rule(stacked, torch.ones(stacked.shape[:2], dtype=torch.bool))


def test_a_useless_branch_gets_no_weight():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 600)
    logs = {"audio": branch_logs(rng, targets, 1.5), "face": branch_logs(rng, rng.permutation(targets), 1.5)}
    rule = fit_weighted(LABELS, PLAIN, logs, targets)
    assert rule.shares["face"] <= 0.05
    assert rule.shares["audio"] + rule.shares["face"] == pytest.approx(1)
    swapped = fit_weighted(LABELS, PLAIN, {"audio": logs["face"], "face": logs["audio"]}, targets)
    assert swapped.shares["audio"] <= 0.05


def test_two_independent_branches_beat_either():
    rng = np.random.default_rng(1)
    targets, fresh = rng.integers(0, 3, (2, 1200))
    rule = fit_weighted(LABELS, PLAIN, {name: branch_logs(rng, targets, 1.2) for name in PLAIN}, targets)
    # By Bayes the log-probabilities of independent observations add up: equal shares, sharpness 2.
    assert rule.shares["audio"] == pytest.approx(0.5, abs=0.1)
    assert rule.sharpness == pytest.approx(2.0, abs=0.3)
    logs = {name: branch_logs(rng, fresh, 1.2) for name in PLAIN}  # clips that the fit has not seen
    fused = fuse(rule, logs)
    for alone in logs.values():
        assert nll(fused, fresh) < nll(torch.from_numpy(alone), fresh) - 0.05
        assert (fused.argmax(1).numpy() == fresh).mean() > (alone.argmax(1) == fresh).mean() + 0.03
    assert nll(fused, fresh) < nll(fuse(Mean(LABELS, PLAIN), logs), fresh)


def test_a_copy_of_a_branch_makes_it_no_surer():
    rng = np.random.default_rng(2)
    targets = rng.integers(0, 3, 1200)
    logs = branch_logs(rng, targets, 1.2)
    assert fit_weighted(LABELS, PLAIN, {"audio": logs, "face": logs}, targets).sharpness == pytest.approx(
        1, abs=0.15
    )


def test_calibration_finds_temperature_and_prior_again():
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 3, 3000)  # balanced, whereas the branch was trained on mostly neutral clips
    prior = np.log([0.2, 0.5, 0.2, 0.1])
    likelihood = branch_logs(rng, targets, 1.2)
    split = likelihood[:, :1] + np.log([0.4, 0.6])  # the branch knows calm besides
    others = likelihood[:, 1:] + prior[2:] - np.log(0.7)
    logits = 2.5 * np.concatenate([split, others], 1)
    found = fit_calibration(("neutral", "calm", "happy", "sad"), prior, LABELS, logits, targets)
    assert found.temperature == pytest.approx(2.5, rel=0.1)
    assert found.prior == 1.0
    np.testing.assert_allclose(np.exp(found.log_prior), [0.7, 0.2, 0.1], atol=1e-3)  # calm counts as neutral
    calibrated = found(torch.from_numpy(logits), LABELS)
    assert nll(calibrated, targets) < nll(torch.from_numpy(likelihood), targets) + 0.02


def test_calibration_keeps_a_prior_that_is_right():
    rng = np.random.default_rng(4)
    targets = rng.integers(0, 3, 3000)
    even = np.log([1 / 3, 1 / 3, 1 / 3])
    found = fit_calibration(LABELS, even, LABELS, branch_logs(rng, targets, 1.2), targets)
    assert found.temperature == pytest.approx(1.0, rel=0.1)


# Any rule, by its name


def examples(seed: int = 0, n: int = 600, strengths=(1.2, 1.2), scale=(2.5, 0.5), **evidence) -> Examples:
    """Two branches of given strengths that err independently, over- and under-confident, from six people."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, n)
    logits = {
        name: factor * branch_logs(rng, targets, strength)
        for name, strength, factor in zip(PLAIN, strengths, scale, strict=True)
    }
    present = np.ones((n, 2), bool)
    return Examples(LABELS, BOTH, logits, present, targets, np.arange(n) % 6, evidence)


def loss(rule: FusionRule, clips: Examples) -> float:
    logs = rule(clips.stack(rule.calibrations), torch.from_numpy(clips.present), clips.evidence)
    return nll(logs, clips.targets)


@every_rule
def test_every_rule_beats_either_branch_on_new_clips(name):
    rule, fresh = fit_fusion(name, examples(0)), examples(1)
    alone = [nll(torch.from_numpy(log_softmax(values)), fresh.targets) for values in fresh.logits.values()]
    assert loss(rule, fresh) < min(alone) - 0.02
    assert rule.calibrations["audio"].temperature == pytest.approx(2.5, rel=0.2)
    assert rule.calibrations["face"].temperature == pytest.approx(0.5, rel=0.2)
    again = build_fusion(json.loads(json.dumps(rule.settings())))
    assert loss(again, fresh) == loss(rule, fresh)


@pytest.mark.parametrize("name", ["weighted_per_class", "stacking", "head", "reliability"])
def test_what_learns_more_is_not_worse_than_plain_weights(name):
    """Where nothing but weights is to be learned, shrinkage chosen inside keeps the others near them."""
    fresh = examples(1, 3000)
    assert loss(fit_fusion(name, examples(0)), fresh) < loss(fit_fusion("weighted", examples(0)), fresh) + 0.02


@pytest.mark.parametrize("name", ["weighted_per_class", "stacking"])
def test_a_branch_that_knows_but_one_emotion_is_used_for_it(name):
    def clips(seed: int) -> Examples:
        rng = np.random.default_rng(seed)
        found = examples(seed, 1500, (1.0, 1.0))
        sad = (found.targets == 2)[:, None]
        blind = branch_logs(rng, np.where(sad[:, 0], 2, rng.integers(0, 2, len(sad))), 2.0)
        return dataclasses.replace(found, logits={**found.logits, "face": blind})

    fresh = clips(1)
    assert loss(fit_fusion(name, clips(0)), fresh) < loss(fit_fusion("weighted", clips(0)), fresh) - 0.01


def test_a_head_learns_from_features_and_ignores_noise():
    def clips(seed: int, telling: float) -> Examples:
        found = examples(seed, 400, (1.0, 0.7))
        rng = np.random.default_rng(seed + 10)
        features = telling * np.eye(3)[found.targets] @ np.ones((3, 5)).cumsum(0) + rng.normal(size=(400, 5))
        features[:30, 0] = np.nan  # clips without features
        return dataclasses.replace(found, evidence={"face_features": torch.from_numpy(features)})

    plain = loss(fit_fusion("weighted", clips(0, 1.0)), clips(1, 1.0))
    assert loss(fit_fusion("head", clips(0, 1.0)), clips(1, 1.0)) < plain - 0.1
    assert loss(fit_fusion("head", clips(0, 0.0)), clips(1, 0.0)) < plain + 0.03


def test_a_head_whose_features_nobody_knows_falls_back_to_its_logits():
    unknown = torch.full((600, 4), torch.nan, dtype=torch.float64)
    rule = fit_fusion("head", examples(0, face_features=unknown))
    assert rule.network is None
    assert loss(rule, examples(1, face_features=unknown)) < 0.9 * loss(Mean(LABELS, PLAIN), examples(1))


def test_reliability_finds_that_a_cue_tells():
    def clips(seed: int) -> Examples:
        found = examples(seed, 900)
        rng = np.random.default_rng(seed + 20)
        noisy = rng.random(900) < 0.5
        logits = found.logits["audio"].copy()
        logits[noisy] = rng.permutation(logits[noisy])  # in noise the voice tells nothing
        snr = torch.from_numpy(np.where(noisy, 0.0, 20.0))
        return dataclasses.replace(found, logits={**found.logits, "audio": logits}, evidence={"snr": snr})

    rule = fit_fusion("reliability", clips(0))
    assert rule.exponents["snr"] > 0.3
    assert loss(rule, clips(1)) < loss(fit_fusion("weighted", clips(0)), clips(1)) - 0.02


def test_rules_are_compared_on_clips_that_they_were_not_fitted_on():
    clips = examples(0, 300)
    assert cross_fit("weighted", clips) < cross_fit("max", clips)
    random = dataclasses.replace(clips, targets=np.random.default_rng(5).integers(0, 3, 300))
    assert cross_fit("stacking", random) > np.log(3) - 0.02  # nothing to learn, and nothing learned by heart


@every_rule
def test_fitting_where_branches_are_absent(name):
    clips = examples(0)
    clips.present[:200, 0] = False
    clips.present[200:300, 1] = False
    for values, there in zip(clips.logits.values(), clips.present.T, strict=True):
        values[~there] = np.nan
    rule = fit_fusion(name, clips)
    fused = rule(clips.stack(rule.calibrations), torch.from_numpy(clips.present))
    assert fused.isfinite().all()
    assert rule.calibrations["audio"].temperature == pytest.approx(2.5, rel=0.25)


def test_what_cannot_be_fitted():
    clips = examples(0)
    with pytest.raises(ModelError, match="unknown fusion rule 'none': choose from weighted, mean"):
        fit_fusion("none", clips)
    with pytest.raises(DataError, match="branch face is present in none"):
        fit_fusion("mean", dataclasses.replace(clips, present=clips.present & [True, False]))
    apart = np.stack([np.arange(600) < 300, np.arange(600) >= 300], 1)
    with pytest.raises(DataError, match="has every branch: choose mean"):
        fit_fusion("weighted", dataclasses.replace(clips, present=apart))
    with pytest.raises(DataError, match="clips of a single fold or person"):
        fit_fusion("stacking", dataclasses.replace(clips, groups=np.zeros(600, int)))
