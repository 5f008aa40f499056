"""Fusion: closed forms by hand, and what holds for every rule: sums, absent branches, saving and loading."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from avser import checkpoint
from avser.labels import LABEL_SETS
from avser.models.fusion import (
    FUSION_RULES,
    Calibration,
    FusionRule,
    Head,
    Max,
    Mean,
    Product,
    Reliability,
    Stacking,
    Vote,
    Weighted,
    WeightedPerClass,
    build_fusion,
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
    """A rule whose parameters, if it has any, are not its defaults, and follow the labels wherever they stand."""
    shares = {"audio": 0.3, "face": 0.9}
    tilt = {label: 1 + 0.1 * len(label) for label in labels}  # something that differs from label to label
    matrix = [[(row == column) * tilt[row] + 0.01 * len(row + column) for column in labels] for row in labels]
    size = len(labels)
    network = {
        "inputs": ["audio", "face"],
        "centre": [-1.0] * 2 * size,
        "scale": [2.0] * 2 * size,
        "layers": [([[0.5 * x for x in row] * 2 for row in matrix], list(tilt.values()))],
    }
    options = {
        "weighted": {"shares": shares, "sharpness": 1.4},
        "weighted_per_class": {
            "shares": {"audio": tilt, "face": {label: 2 - tilt[label] / 2 for label in labels}}
        },
        "stacking": {"matrices": {"audio": matrix, "face": matrix}, "bias": [0.1 * x for x in tilt.values()]},
        "reliability": {"shares": shares, "sharpness": 1.4, "certainty": 2.0, "exponents": {"snr": 0.5}},
        "head": {
            "shares": shares,
            "sharpness": 1.4,
            "gains": {"audio": 0.5, "face": 0.7, "network": 0.4},
            "network": network,
        },
    }
    return FUSION_RULES[name](labels, calibrations, **options.get(name, {}))


def logs_of(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).log()


def test_arrays_and_tensors_give_the_same():
    """numpy predicts and measures, torch fits."""
    rng = np.random.default_rng(0)
    given = {name: rng.normal(size=(6, 3)) for name in PLAIN}
    present = np.array([[True, True], [True, False], [False, True], [False, False], [True, True], [True, True]])
    cues = {"snr": np.array([3.0, 5.0, np.nan, 0.0, -9.0, 50.0]), "face_share": rng.uniform(size=6)}
    by_torch = [{name: torch.from_numpy(x) for name, x in values.items()} for values in (given, cues)]
    calibrations = {name: Calibration(LABELS, 1.3, 0.5, (-1.0, -0.5, -2.0)) for name in PLAIN}
    for name in FUSION_RULES:
        rule = rule_of(name, calibrations=calibrations)
        ours, theirs = (list(rule.calibrate(values).values()) for values in (given, by_torch[0]))
        logs, tensors = np.stack(ours, 1), torch.stack(theirs, 1)
        fused, shares = rule(logs, present, cues), rule.weights(present, logs, cues)
        assert isinstance(fused, np.ndarray)
        flags = torch.from_numpy(present)
        np.testing.assert_allclose(fused, rule(tensors, flags, by_torch[1]).numpy(), atol=1e-12)
        np.testing.assert_allclose(shares, rule.weights(flags, tensors, by_torch[1]).numpy(), atol=1e-12)
        np.testing.assert_allclose(rule(logs, present), rule(tensors, flags).numpy(), atol=1e-12)


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


AUDIO, FACE = (0.5, 0.3, 0.2), (0.1, 0.8, 0.1)


def fused_by(rule: FusionRule, **evidence) -> np.ndarray:
    """Probabilities (3,) of one clip of which the voice says AUDIO and the face FACE."""
    given = {name: torch.tensor([value], dtype=torch.float64) for name, value in evidence.items()}
    return rule(logs_of([[AUDIO, FACE]]), BOTH, given).exp()[0].numpy()


def even(values) -> np.ndarray:
    return np.array(values) / sum(values)


def test_product_by_hand():
    expected = even([a * f for a, f in zip(AUDIO, FACE, strict=True)])
    np.testing.assert_allclose(fused_by(Product(LABELS, PLAIN)), expected)


def test_max_by_hand():
    np.testing.assert_allclose(fused_by(Max(LABELS, PLAIN)), even([0.5, 0.8, 0.2]))


def test_vote_by_hand():
    # one vote each for the first two; the mean probabilities are 0.3, 0.55 and 0.15
    np.testing.assert_allclose(fused_by(Vote(LABELS, PLAIN)), even([1.3, 1.55, 0.15]))


def test_a_majority_is_never_overruled():
    third = {name: Calibration(LABELS) for name in ("audio", "face", "text")}
    logs = logs_of([[(0.34, 0.33, 0.33), (0.34, 0.33, 0.33), (0.0005, 0.999, 0.0005)]])
    fused = Vote(LABELS, third)(logs, torch.ones(1, 3, dtype=torch.bool))
    assert fused.argmax() == 0


def test_weights_per_class_by_hand():
    shares = {
        "audio": {"neutral": 1.0, "happy": 0.5, "sad": 0.0},
        "face": {"neutral": 0.0, "happy": 0.5, "sad": 2.0},
    }
    expected = even([0.5, math.sqrt(0.3 * 0.8), 0.1**2])
    np.testing.assert_allclose(fused_by(WeightedPerClass(LABELS, PLAIN, shares)), expected)


def test_stacking_by_hand():
    swap = [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    rule = Stacking(LABELS, PLAIN, {"audio": np.eye(3).tolist(), "face": swap}, [math.log(2), 0.0, 0.0])
    np.testing.assert_allclose(fused_by(rule), even([2 * 0.5 * 0.8, 0.3 * 0.1, 0.2 * 0.1]))


def test_reliability_by_hand():
    def entropy(probs):
        return -sum(p * math.log(p) for p in probs)

    rule = Reliability(LABELS, PLAIN, {"audio": 1.0, "face": 2.0}, 1.5, certainty=3.0)
    weights = [1 * math.exp(3 * (1 - entropy(AUDIO) / math.log(3))) * 0.4]  # 5 dB: 10 of the 25 from -5 to 20
    weights += [2 * math.exp(3 * (1 - entropy(FACE) / math.log(3))) * 0.5]
    audio, face = even(weights)
    scale = 1 + 0.5 * (1 / (audio**2 + face**2) - 1)
    expected = even([a ** (scale * audio) * f ** (scale * face) for a, f in zip(AUDIO, FACE, strict=True)])
    np.testing.assert_allclose(fused_by(rule, snr=5.0, face_share=0.5), expected)


def test_a_face_that_was_never_found_has_no_weight():
    np.testing.assert_allclose(fused_by(rule_of("reliability"), face_share=0.0), AUDIO)
    known = fused_by(rule_of("reliability"), face_share=math.nan)
    np.testing.assert_allclose(known, fused_by(rule_of("reliability")))  # nobody knows: no reason to doubt


@given(snr=st.floats(-30, 50), score=st.floats(0, 1))
def test_reliability_follows_the_cues(snr, score):
    rule, logs = rule_of("reliability"), logs_of([[AUDIO, FACE]])
    cues = {"snr": torch.tensor([snr]), "face_score": torch.tensor([score])}
    better = {**cues, "snr": torch.tensor([snr + 5])}
    weights = rule.weights(BOTH, logs, cues)
    np.testing.assert_allclose(weights.sum(), 1)
    assert rule.weights(BOTH, logs, better)[0, 0] >= weights[0, 0]


def test_a_head_by_hand():
    network = {
        "inputs": ["face_features"],
        "centre": [1.0, 0.0],
        "scale": [2.0, 1.0],
        "layers": [
            ([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.5]),
            ([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], [0.0, 0.0, 0.0]),
        ],
    }
    gains = {"audio": 1.0, "face": 0.5, "network": 2.0}
    rule = Head(LABELS, PLAIN, {"audio": 1.0, "face": 3.0}, 1.0, gains, network)
    q = even(np.exp([math.tanh((3 - 1) / 2), math.tanh(9 - 5 + 0.5), 0.0]))  # nine deviations count as four
    expected = even([a * f**0.5 * x**2 for a, f, x in zip(AUDIO, FACE, q, strict=True)])
    np.testing.assert_allclose(fused_by(rule, face_features=[3.0, 9.0]), expected)
    plain = even([a**0.25 * f**0.75 for a, f in zip(AUDIO, FACE, strict=True)])
    np.testing.assert_allclose(fused_by(rule), plain)  # without features the network has no say
    np.testing.assert_allclose(fused_by(rule, face_features=[3.0, math.nan]), plain)
    with pytest.raises(ModelError, match=r"fitted on 2 values of face_features, but 3 are given"):
        fused_by(rule, face_features=[3.0, 9.0, 1.0])


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        (WeightedPerClass, {"shares": dict.fromkeys(PLAIN, dict.fromkeys(LABELS, -1.0))}),
        (Stacking, {"bias": [0.0]}),
        (Reliability, {"exponents": {"weather": 1.0}}),
        (Reliability, {"exponents": {"snr": -1.0}}),
        (Head, {"gains": {"audio": 1.0, "face": 1.0, "network": 1.0}}),
    ],
)
def test_settings_that_fit_no_rule(rule, options):
    with pytest.raises(ValueError, match=r"weights|stacking|cue|head"):
        rule(LABELS, PLAIN, **options)


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
@settings(max_examples=30, deadline=None)
@given(values=logits, present=flags)
def test_probabilities_and_weights_sum_to_one(name, values, present):
    rule, present = rule_of(name), torch.from_numpy(present)
    fused = rule(torch.from_numpy(values).log_softmax(-1), present)
    some = present.any(1)
    assert fused.shape == (5, 3)
    np.testing.assert_allclose(fused[some].exp().sum(1), 1.0)
    assert fused[~some].isnan().all()  # with no branch there is nothing to say
    for weights in (rule.weights(present), rule.weights(present, torch.from_numpy(values).log_softmax(-1))):
        np.testing.assert_allclose(weights.sum(1), some.double())
        assert (weights[~present] == 0).all()
        assert (weights >= 0).all()


@every_rule
@settings(max_examples=30, deadline=None)
@given(values=logits, junk=st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1e30]), absent=st.integers(0, 1))
def test_an_absent_branch_never_changes_the_outcome_of_the_other(name, values, junk, absent):
    rule = rule_of(name)
    logs = torch.from_numpy(values).log_softmax(-1)
    alone = logs[:, 1 - absent].clone()
    logs[:, absent] = junk
    present = torch.ones(5, 2, dtype=torch.bool)
    present[:, absent] = False
    cues = {"snr": torch.full((5,), 0.0), "face_share": torch.full((5,), 0.1), "face_features": logs[:, absent]}
    torch.testing.assert_close(rule(logs, present, cues), alone)


@every_rule
@settings(max_examples=30, deadline=None)
@given(values=logits, present=flags, order=st.permutations(range(3)))
def test_permuting_the_classes_permutes_the_result(name, values, present, order):
    logs, present = torch.from_numpy(values).log_softmax(-1), torch.from_numpy(present)
    labels = [LABELS[i] for i in order]
    permuted = rule_of(name, labels, {b: Calibration(tuple(labels)) for b in PLAIN})(logs[..., order], present)
    torch.testing.assert_close(permuted, rule_of(name)(logs, present)[:, order], equal_nan=True)


@every_rule
@settings(max_examples=30, deadline=None)
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
    with pytest.raises(ModelError, match=f"unknown fusion rule 'none': choose from {', '.join(FUSION_RULES)}"):
        build_fusion({**rule_of("mean").settings(), "rule": "none"})


@every_rule
def test_a_model_file_carries_the_rule(name, small_models, tmp_path):
    branches = checkpoint.load(small_models.fused).branches
    calibrations = {branch: Calibration(BASIC7, 0.8) for branch in branches}
    rule = rule_of(name, BASIC7, calibrations)
    checkpoint.save_fused(tmp_path / "model.safetensors", branches, rule, {"name": "test"})
    again = checkpoint.load(tmp_path / "model.safetensors").fusion
    assert again.settings() == rule.settings()
    logs = torch.randn(4, 2, 7).log_softmax(-1)
    present = torch.tensor([[True, True], [True, False], [False, True], [True, True]])
    torch.testing.assert_close(again(logs, present), rule(logs, present), rtol=0, atol=0)
