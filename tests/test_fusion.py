"""Fusion: closed forms by hand, what an absent branch may not do, and weights that are found again."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from avser.labels import LABEL_SETS
from avser.models.fusion import (
    FUSION_RULES,
    Calibration,
    FusionRule,
    Mean,
    Weighted,
    build_fusion,
    fit_calibration,
    fit_weighted,
)
from avser.types import ModelError

BASIC7 = LABEL_SETS["basic7"]
LABELS = ("neutral", "happy", "sad")
PLAIN = {"audio": Calibration(LABELS), "face": Calibration(LABELS)}
BOTH = torch.tensor([[True, True]])

every_rule = pytest.mark.parametrize("name", FUSION_RULES)
flags = hnp.arrays(bool, (5, 2))
# From a seed and a scale: arrays that are drawn number by number take minutes to shrink when a test fails.
logits = st.builds(
    lambda seed, scale: scale * np.random.default_rng(seed).normal(size=(5, 2, 3)),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 1.0, 10.0, 300.0]),
)


def rule_of(name: str, labels=LABELS, calibrations=PLAIN) -> FusionRule:
    """A rule whose parameters, if it has any, are not its defaults."""
    if name == "weighted":
        return Weighted(labels, calibrations, {"audio": 0.3, "face": 0.9}, sharpness=1.4)
    return FUSION_RULES[name](labels, calibrations)


def logs_of(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).log()


# Closed forms


def test_weighted_by_hand():
    audio, face = (0.5, 0.3, 0.2), (0.1, 0.8, 0.1)
    rule = Weighted(LABELS, PLAIN, {"audio": 1.0, "face": 3.0})
    product = [a**0.25 * f**0.75 for a, f in zip(audio, face, strict=True)]
    fused = rule(logs_of([[audio, face]]), BOTH).exp()[0]
    np.testing.assert_allclose(fused, np.array(product) / sum(product))
    np.testing.assert_allclose(rule.weights(BOTH), [[0.25, 0.75]])


def test_sharpness_by_hand():
    audio, face = (0.5, 0.3, 0.2), (0.2, 0.6, 0.2)
    rule = Weighted(LABELS, PLAIN, {"audio": 1.0, "face": 1.0}, sharpness=2.0)
    product = [a * f for a, f in zip(audio, face, strict=True)]  # (a f) ** (0.5 · 2): Bayes for independent errors
    np.testing.assert_allclose(rule(logs_of([[audio, face]]), BOTH).exp()[0], np.array(product) / sum(product))
    alone = rule(logs_of([[audio, face]]), torch.tensor([[True, False]])).exp()[0]
    np.testing.assert_allclose(alone, audio)  # one branch has nobody to agree with


def test_mean_by_hand():
    audio, face = (0.5, 0.3, 0.2), (0.1, 0.8, 0.1)
    product = [math.sqrt(a * f) for a, f in zip(audio, face, strict=True)]
    fused = Mean(LABELS, PLAIN)(logs_of([[audio, face]]), BOTH).exp()[0]
    np.testing.assert_allclose(fused, np.array(product) / sum(product))


def test_a_branch_without_weight_still_speaks_where_it_is_alone():
    rule = Weighted(LABELS, PLAIN, {"audio": 1.0, "face": 0.0})
    logs = logs_of([[(0.5, 0.3, 0.2), (0.1, 0.8, 0.1)]]).expand(2, -1, -1)
    fused = rule(logs, torch.tensor([[True, True], [False, True]])).exp()
    np.testing.assert_allclose(fused, [[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])


@pytest.mark.parametrize("shares", [{"audio": -1, "face": 2}, {"audio": 0, "face": 0}])
def test_weights_that_are_none(shares):
    with pytest.raises(ValueError, match="fusion weights"):
        Weighted(LABELS, PLAIN, shares)


# Calibration


def test_calm_folds_into_neutral_by_probability():
    probs = torch.tensor([[0.1, 0.2, 0.3, 0.15, 0.05, 0.05, 0.05, 0.1]])
    logs = Calibration(LABEL_SETS["ravdess8"])(probs.log() + 7.0, BASIC7)  # logits know no constant
    np.testing.assert_allclose(logs.exp(), [[0.3, 0.3, 0.15, 0.05, 0.05, 0.05, 0.1]], rtol=1e-6)


def test_emotions_that_are_not_shared_are_left_out():
    source = (*BASIC7, "contempt")
    probs = torch.tensor([[0.1, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2]])
    np.testing.assert_allclose(Calibration(source)(probs.log(), BASIC7).exp()[0], probs[0, :7] / 0.8, rtol=1e-6)


def test_temperature_and_prior_by_hand():
    probs, prior = np.array([0.5, 0.3, 0.2]), np.array([0.6, 0.3, 0.1])
    calibration = Calibration(LABELS, 2.0, 0.5, tuple(np.log(prior)))
    expected = np.sqrt(probs) / np.sqrt(prior)
    out = calibration(torch.tensor(probs).log()[None], LABELS).exp()[0]
    np.testing.assert_allclose(out, expected / expected.sum())


def test_a_branch_that_lacks_an_emotion_cannot_be_fused():
    with pytest.raises(ModelError, match="without the emotion 'surprised' cannot be fused"):
        Calibration(LABEL_SETS["emodb7"])(torch.zeros(1, 7), BASIC7)


def test_each_branch_is_calibrated_by_its_own():
    rule = Mean(BASIC7, {"audio": Calibration(LABEL_SETS["ravdess8"], 2.0), "face": Calibration(BASIC7)})
    given_logits = {"audio": torch.randn(2, 8), "face": torch.randn(2, 7)}
    logs = rule.calibrate(given_logits)
    for name in rule.branches:
        torch.testing.assert_close(logs[name], rule.calibrations[name](given_logits[name], BASIC7))
    assert set(rule.calibrate({"face": given_logits["face"]})) == {"face"}  # the other may be absent


# What holds for every rule


@every_rule
@given(values=logits, present=flags)
def test_probabilities_and_weights_sum_to_one(name, values, present):
    rule, present = rule_of(name), torch.from_numpy(present)
    fused = rule(torch.from_numpy(values).log_softmax(-1), present)
    some = present.any(1)
    assert fused.shape == (5, 3)
    np.testing.assert_allclose(fused[some].exp().sum(1), 1.0)
    assert fused[~some].isnan().all()  # with no branch there is nothing to say
    weights = rule.weights(present)
    np.testing.assert_allclose(weights.sum(1), some.double())
    assert (weights[~present] == 0).all()
    assert (weights >= 0).all()


@every_rule
@given(values=logits, junk=st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1e30]), absent=st.integers(0, 1))
def test_an_absent_branch_never_changes_the_outcome_of_the_other(name, values, junk, absent):
    rule = rule_of(name)
    logs = torch.from_numpy(values).log_softmax(-1)
    alone = logs[:, 1 - absent].clone()
    logs[:, absent] = junk
    present = torch.ones(5, 2, dtype=torch.bool)
    present[:, absent] = False
    torch.testing.assert_close(rule(logs, present), alone)


@every_rule
@given(values=logits, present=flags, order=st.permutations(range(3)))
def test_permuting_the_classes_permutes_the_result(name, values, present, order):
    logs, present = torch.from_numpy(values).log_softmax(-1), torch.from_numpy(present)
    labels = [LABELS[i] for i in order]
    permuted = rule_of(name, labels, {b: Calibration(tuple(labels)) for b in PLAIN})(logs[..., order], present)
    torch.testing.assert_close(permuted, rule_of(name)(logs, present)[:, order], equal_nan=True)


@every_rule
@given(values=logits)
def test_clips_of_a_batch_do_not_touch_one_another(name, values):
    rule, logs = rule_of(name), torch.from_numpy(values).log_softmax(-1)
    present = torch.tensor([[True, True], [True, False], [False, False], [False, True], [True, True]])
    alone = torch.cat([rule(logs[i : i + 1], present[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(rule(logs, present), alone, equal_nan=True)


@every_rule
def test_branches_that_agree_are_not_outvoted(name):
    logs = logs_of([[(0.2, 0.7, 0.1), (0.3, 0.6, 0.1)]])
    assert rule_of(name)(logs, BOTH).argmax() == 1


@every_rule
def test_settings_build_the_same_rule(name):
    calibrations = {
        "audio": Calibration(LABEL_SETS["ravdess8"], 1.7, 0.5, (-1.0, *[-2.0] * 6)),
        "face": Calibration(BASIC7, 0.8),
    }
    rule = rule_of(name, BASIC7, calibrations)
    again = build_fusion(json.loads(json.dumps(rule.settings())))
    assert type(again) is FUSION_RULES[name]
    assert (again.labels, again.branches, again.settings()) == (rule.labels, rule.branches, rule.settings())
    branches = {"audio": torch.randn(4, 8), "face": torch.randn(4, 7)}
    both = torch.ones(4, 2, dtype=torch.bool)
    outcomes = [r(torch.stack(list(r.calibrate(branches).values()), 1), both) for r in (rule, again)]
    torch.testing.assert_close(*outcomes, rtol=0, atol=0)


def test_an_unknown_rule_lists_the_choices():
    with pytest.raises(ModelError, match=f"unknown fusion rule 'vote': choose from {', '.join(FUSION_RULES)}"):
        build_fusion({**rule_of("mean").settings(), "rule": "vote"})


# Fitting


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
