"""Label sets, spellings, and how distributions move between sets."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from avser.labels import (
    ALIASES,
    EMOTIONS,
    FOLDED,
    FOLDED_IN,
    LABEL_SETS,
    canonical,
    distribution,
    label_set,
    place,
    project,
)
from avser.types import ConfigError, DataError

sets = st.sampled_from(sorted(LABEL_SETS))


def probabilities(size: int) -> st.SearchStrategy[np.ndarray]:
    """Distributions without a class of probability zero, (size,)."""
    return hnp.arrays(float, size, elements=st.floats(0.01, 1)).map(lambda x: x / x.sum())


def test_sets_hold_distinct_known_emotions_in_one_order():
    for labels in LABEL_SETS.values():
        assert len(set(labels)) == len(labels)
        assert list(labels) == sorted(labels, key=EMOTIONS.index)
    assert set(ALIASES.values()) | set(FOLDED) | set(FOLDED.values()) <= set(EMOTIONS)
    assert not set(ALIASES) & set(EMOTIONS)


def test_a_set_is_known_by_its_emotions():
    assert len({frozenset(labels) for labels in LABEL_SETS.values()}) == len(LABEL_SETS)
    assert set(FOLDED_IN) <= set(LABEL_SETS)
    for name, folds in FOLDED_IN.items():
        assert not set(folds) & set(LABEL_SETS[name])  # what a set has needs no fold
        assert set(folds.values()) - {None} <= set(LABEL_SETS[name])


@pytest.mark.parametrize("name", EMOTIONS)
def test_a_canonical_name_stays(name):
    assert canonical(name) == canonical(f" {name.upper()} ") == name


@pytest.mark.parametrize(("other", "name"), ALIASES.items())
def test_other_spellings(other, name):
    assert canonical(other.title()) == name


def test_unknown_names_list_the_choices():
    with pytest.raises(DataError, match="unknown emotion 'hangry': choose from neutral, calm"):
        canonical("hangry")
    with pytest.raises(ConfigError, match="unknown label set 'basic6': choose from basic7"):
        label_set("basic6")


def test_place():
    assert [place(name, LABEL_SETS["ravdess8"]) for name in LABEL_SETS["ravdess8"]] == list(range(8))
    assert place("calm", LABEL_SETS["basic7"]) == place("neutral", LABEL_SETS["basic7"]) == 0
    assert place("calm", LABEL_SETS["ckplus7"]) is None  # which has no neutral either
    assert place("bored", LABEL_SETS["basic7"]) is None
    assert place(None, LABEL_SETS["basic7"]) is None


FOLDS = {
    "anxious": dict.fromkeys(("basic7", "ravdess8", "ferplus8", "ckplus7", "emodb7"), "fearful"),
    "bored": {"fser8": "calm"},
    "calm": dict.fromkeys(("basic7", "ferplus8", "emodb7"), "neutral"),
    "excited": dict.fromkeys(LABEL_SETS, "happy"),
    "fearful": {"fser8": "anxious"},
}
"""Emotion by emotion: into what it folds in which label set. Anything else that is lacking has no place."""


@pytest.mark.parametrize("name", EMOTIONS)
def test_every_fold_of_every_set(name):
    for labels, emotions in LABEL_SETS.items():
        expected = name if name in emotions else FOLDS.get(name, {}).get(labels)
        index = place(name, emotions)
        assert (None if index is None else emotions[index]) == expected, labels
        assert place(name, list(emotions)) == index  # as a model's header has them


def test_fear_and_anxiety_are_one_class_in_fser():
    votes = {"fearful": 1, "anxious": 1, "bored": 1, "calm": 1, "guilt": 3, "frustrated": 2}
    np.testing.assert_allclose(distribution(votes, LABEL_SETS["fser8"]), [0, 0.5, 0, 0, 0, 0.5, 0, 0])
    np.testing.assert_allclose(distribution(votes, LABEL_SETS["ravdess8"]), [0, 1 / 3, 0, 0, 0, 2 / 3, 0, 0])
    probs = np.array([0.1, 0.2, 0.1, 0.1, 0.1, 0.3, 0.05, 0.05])
    np.testing.assert_allclose(project(probs, LABEL_SETS["fser8"], LABEL_SETS["ravdess8"]), probs)
    np.testing.assert_allclose(project(probs, LABEL_SETS["ravdess8"], LABEL_SETS["fser8"]), probs)
    np.testing.assert_allclose(
        project(probs, LABEL_SETS["fser8"], LABEL_SETS["basic7"]), [0.3, 0.1, 0.1, 0.1, 0.3, 0.05, 0.05]
    )


def test_votes_as_a_distribution():
    votes = {"neutral": 2, "calm": 1, "happy": 1, "contempt": 6}
    np.testing.assert_allclose(distribution(votes, LABEL_SETS["basic7"]), [0.75, 0.25, 0, 0, 0, 0, 0])
    assert distribution({"contempt": 1.0}, LABEL_SETS["basic7"]) is None
    assert distribution({}, LABEL_SETS["basic7"]) is None


def test_calm_folds_into_neutral_by_hand():
    probs = np.array([0.1, 0.2, 0.3, 0.4, 0, 0, 0, 0])
    expected = [0.3, 0.3, 0.4, 0, 0, 0, 0]
    np.testing.assert_allclose(project(probs, LABEL_SETS["ravdess8"], LABEL_SETS["basic7"]), expected)


def test_what_has_no_place_is_dropped_and_the_rest_renormalised():
    probs = np.array([0.5, 0.25, 0, 0, 0, 0, 0.25])  # a quarter is bored
    expected = [2 / 3, 1 / 3, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(project(probs, LABEL_SETS["emodb7"], LABEL_SETS["basic7"]), expected)


@given(st.data(), sets, sets)
def test_projections_are_distributions_and_keep_ratios(data, source, target):
    source, target = LABEL_SETS[source], LABEL_SETS[target]
    probs = data.draw(probabilities(len(source)))
    out = project(probs[None], source, target)[0]
    assert out.shape == (len(target),)
    assert out.sum() == pytest.approx(1)
    folded = {target[index] for name in set(source) - set(target) if (index := place(name, target)) is not None}
    lone = [name for name in source if name in target and name not in folded]
    for a, b in itertools.pairwise(lone):
        ratio = probs[source.index(a)] / probs[source.index(b)]
        assert out[target.index(a)] / out[target.index(b)] == pytest.approx(ratio)
    for name in set(target) - set(source) - folded:
        assert out[target.index(name)] == 0


@given(st.data(), sets)
def test_projecting_onto_itself_changes_nothing(data, name):
    probs = data.draw(probabilities(len(LABEL_SETS[name])))
    np.testing.assert_allclose(project(probs, LABEL_SETS[name], LABEL_SETS[name]), probs)
