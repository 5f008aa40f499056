"""Figures of modalities side by side: shares, repairs, paired tests and draws of people, by closed forms."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from avser import metrics
from avser.benchmark.contributions import Study, common, compare, facts_of, measure, reliability, repairs, shapley
from avser.benchmark.resampling import Draws, interval, is_right, permutation
from avser.logits import LogitTable
from avser.types import DataError

CLASSES = ("neutral", "happy", "sad", "angry")


def table(right: np.ndarray, people: int = 6, seed: int = 0) -> LogitTable:
    """Clips of people in turn, of which those that are marked are judged rightly."""
    rng = np.random.default_rng(seed)
    targets = np.arange(len(right)) // 2 % 4
    said = np.where(right, targets, (targets + 1 + rng.integers(0, 3, len(right))) % 4)
    logits = 2.0 * np.eye(4)[said] + rng.uniform(0, 1, (len(right), 4))
    names = [f"clip{i}" for i in range(len(right))]
    subjects = [f"p{i % people}" if people else "" for i in range(len(right))]
    return LogitTable(names, subjects, ["0"] * len(right), [CLASSES[t] for t in targets], CLASSES, logits)


def some(share: float, seed: int, count: int = 240) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=count) < share


@pytest.mark.parametrize("people", [6, 0])
def test_draws_are_those_of_the_bootstrap(people):
    mine = table(some(0.7, 1), people)
    draws, subjects = Draws(mine), mine.subjects if people else None
    for ours, metric in ((draws.uar, metrics.uar), (draws.accuracy, metrics.accuracy)):
        value, *ends = interval(ours(is_right(mine)))
        assert value == pytest.approx(metric(mine.logits, mine.targets))
        np.testing.assert_allclose(ends, metrics.bootstrap(metric, mine.logits, mine.targets, subjects))


def test_shares_and_chance_add_up_to_the_fused_figure():
    audio, face, fused = some(0.6, 1), some(0.5, 2), some(0.8, 3)
    found = shapley(audio, face, fused, Draws(table(fused)))
    values = [metrics.uar(t.logits, t.targets) for t in map(table, (audio, face, fused))]
    assert found["chance"] == 0.25
    assert found["chance"] + found["audio"][0] + found["face"][0] == pytest.approx(values[2], abs=2e-4)
    assert found["audio"][0] - found["face"][0] == pytest.approx(values[0] - values[1], abs=2e-4)
    for branch in ("audio", "face"):
        assert found[branch][1] <= found[branch][0] <= found[branch][2]


def test_a_modality_that_says_nothing_of_use_adds_nothing():
    audio, chance = some(0.8, 1, 256), np.arange(256) // 8 % 4 == 0  # a quarter of each emotion
    found = shapley(audio, chance, audio, Draws(table(audio)))
    assert found["face"] == pytest.approx([0, *found["face"][1:]], abs=1e-4)
    assert found["audio"][0] == pytest.approx(
        metrics.uar(table(audio).logits, table(audio).targets) - 0.25, abs=2e-4
    )


def test_what_fusion_repairs_and_breaks():
    branch, fused = (
        table(np.array([1, 1, 0, 0, 1, 0, 1, 1], bool)),
        table(np.array([1, 0, 1, 1, 1, 0, 1, 0], bool)),
    )
    assert repairs(fused, branch) == {"fixed": 2, "lost": 2, "of": 8}


def test_a_difference_in_pairs():
    worse, better = table(some(0.5, 1)), table(some(0.5, 1) | some(0.5, 2))
    found = compare(better, worse, Draws(worse))
    assert found["uar"][0] > 0.15
    assert found["uar"][1] > 0
    assert found["p"] == pytest.approx(2 / 64, abs=0.015)  # six people: all or none exchanged
    same = compare(worse, worse, Draws(worse))
    assert (same["uar"], same["accuracy"], same["p"]) == ([0, 0, 0], [0, 0, 0], 1)


def test_clips_are_exchanged_where_nobody_is_known():
    worse, better = table(some(0.5, 1), people=0), table(some(0.5, 1) | some(0.5, 2), people=0)
    assert permutation(better, worse) < 0.001


def test_p_values_are_even_where_nothing_differs():
    values = np.array([permutation(table(some(0.5, 2 * i)), table(some(0.5, 2 * i + 1)), 200) for i in range(120)])
    assert 0.35 < values.mean() < 0.65
    assert (values < 0.1).mean() < 0.2


def test_gaps_of_the_reliability_are_the_calibration_error():
    mine = table(some(0.7, 1))
    bins = reliability(mine)
    gap = sum(part["n"] * abs(part["confidence"] - part["accuracy"]) for part in bins) / len(mine.clips)
    assert gap == pytest.approx(metrics.ece(metrics.softmax(mine.logits), mine.targets), abs=1e-4)
    assert sum(part["n"] for part in bins) == len(mine.clips)


def test_only_clips_that_all_have_are_compared():
    audio, face = table(some(0.7, 1)), table(some(0.7, 2)).rows(range(239, 99, -1))
    both = common({"audio": audio, "face": face})
    assert both["audio"].clips == both["face"].clips == audio.clips[100:]
    with pytest.raises(DataError, match="no clip in common"):
        common({"audio": audio.rows(range(9)), "face": face})


def test_names_of_ravdess_tell_gender_and_intensity():
    found = facts_of(["03-01-04-02-02-01-07", "01-01-04-01-02-01-08", "mine"])
    assert {name: (info["gender"], info["intensity"]) for name, info in found.items()} == {
        "03-01-04-02-02-01-07": ("male", "strong"),
        "01-01-04-01-02-01-08": ("female", "normal"),
    }


def study(**tables: LogitTable) -> Study:
    facts = {f"clip{i}": {"gender": "female" if i % 2 else "male"} for i in range(240)}
    main = next(reversed(tables))
    return Study("a study", "subject5", tables, {name: f"{name}.csv" for name in tables}, facts, main)


def test_a_whole_study():
    audio, face = some(0.6, 1), some(0.5, 2)
    tables = {"audio": table(audio), "face": table(face).rows(range(200)), "mean": table(audio | face)}
    found = measure(study(**tables))
    assert found["on_both"] == 200
    assert found["either_right"] == pytest.approx((audio | face)[:200].mean(), abs=1e-4)
    assert found["repairs"]["mean"]["audio"]["lost"] == 0
    assert found["systems"]["face"]["n"] == 200
    assert {found["systems"][name]["logits"] for name in tables} == {"audio.csv", "face.csv", "mean.csv"}
    assert {found["systems"][name]["protocol"] for name in tables} == {"subject5"}
    women = found["systems"]["audio"]["groups"]["gender"]["female"]
    odd = tables["audio"].rows(range(1, 240, 2))
    assert women["n"] == 120
    assert women["uar"] == pytest.approx(metrics.uar(odd.logits, odd.targets), abs=1e-4)
    assert {(row["system"], row["against"]) for row in found["comparisons"]} == {
        *(("audio", "face"), ("mean", "audio"), ("mean", "face")),
    }


def test_one_branch_alone():
    found = measure(study(audio=table(some(0.6, 1))))
    assert found["main"] == "audio"
    assert "shapley" not in found
    unknown = dataclasses.replace(table(some(0.6, 1)), labels=["happy"] * 240)
    assert measure(study(audio=unknown))["systems"]["audio"]["recalls"]["sad"] is None
