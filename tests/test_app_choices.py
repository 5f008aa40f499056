"""Results fused anew: as a model with those weights says it, and as one without the modality."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from conftest import SAMPLE
from hypothesis import given
from hypothesis import strategies as st
from made_results import make_result, make_scene

from avser import checkpoint
from avser.app.choices import Choice, revised
from avser.errors import ConfigError
from avser.models.fusion import Weighted
from avser.recognizer import load_model


@pytest.fixture(scope="module")
def spoken(small_models):
    """A result of the small fused model on the sample clip, smoothed."""
    return load_model(small_models.fused).predict(SAMPLE, hop=0.5, smooth=1.0)


def check_same(one, other):
    for p, q in zip((*one.predictions, one.overall), (*other.predictions, other.overall), strict=True):
        assert (p.start, p.end, p.person, p.label) == (q.start, q.end, q.person, q.label)
        assert p.weights == pytest.approx(q.weights)
        if p.probs is not None:
            np.testing.assert_allclose(p.probs, q.probs, atol=1e-6)
    assert [dataclasses.replace(s, confidence=0) for s in one.segments] == [
        dataclasses.replace(s, confidence=0) for s in other.segments
    ]


@pytest.mark.parametrize("voice", [0.0, 0.25, 0.6, 1.0])
def test_as_a_model_with_these_weights_says_it(tmp_path, small_models, spoken, voice):
    model = checkpoint.load(small_models.fused)
    fusion = Weighted(
        model.fusion.labels, model.fusion.calibrations, {"audio": voice, "face": 1 - voice}, model.fusion.sharpness
    )
    checkpoint.save_fused(tmp_path / "other.safetensors", model.branches, fusion, {"name": "other"})
    expected = load_model(tmp_path / "other.safetensors").predict(SAMPLE, hop=0.5, smooth=1.0)
    again = revised(spoken, Choice(voice), model.fusion.sharpness)
    check_same(again, expected)
    for person, other in zip(again.people, expected.people, strict=True):
        np.testing.assert_allclose(person.overall.probs, other.overall.probs, atol=1e-6)


@pytest.mark.parametrize(("without", "left"), [("audio", "face"), ("face", "audio")])
def test_one_modality_left_out(spoken, without, left):
    again = revised(spoken, Choice(without=without), 1.5)
    assert again.modality == left
    for p, before in zip(again.predictions, spoken.predictions, strict=True):
        assert set(p.modalities) <= {left}
        assert (p.label is None) == (left not in before.modalities)
        if p.label is None and before.modalities:
            assert p.reason == f"the {'voice' if without == 'audio' else 'face'} is left out"
    both = revised(spoken, Choice(0.3, without), 1.5)
    check_same(both, again)


def test_nothing_chosen_changes_nothing(spoken):
    assert revised(spoken, Choice()) is spoken
    alone = dataclasses.replace(spoken, options=dataclasses.replace(spoken.options, modality="audio"))
    assert revised(alone, Choice(0.5)) is alone


def test_closed_form():
    result = make_result()
    said = revised(result, Choice(0.25), 2.0).predictions[0]
    logs = 0.25 * np.log([0.25, 0.5, 0.25]) + 0.75 * np.log([1e-300, 0.99996, 0.00004])
    expected = np.exp(2 * logs) / np.exp(2 * logs).sum()
    np.testing.assert_allclose(said.probs, expected, atol=1e-9)
    assert said.weights == {"audio": 0.25, "face": 0.75}
    assert revised(result, Choice(0.25), 2.0).predictions[1] == result.predictions[1]


@given(st.floats(0, 1), st.sampled_from([None, "audio", "face"]), st.floats(0.1, 5))
def test_a_distribution_comes_out(voice, without, sharpness):
    scene = make_scene(8)
    again = revised(scene, Choice(voice, without), sharpness)
    for p in (*again.predictions, again.overall):
        if p.probs is not None:
            assert p.probs.sum() == pytest.approx(1)
            assert sum(p.weights.values()) == pytest.approx(1)
            assert p.label == again.labels[int(p.probs.argmax())]


@pytest.mark.parametrize("wrong", [{"voice": 1.2}, {"voice": float("nan")}, {"without": "smell"}])
def test_choices_out_of_range(wrong):
    with pytest.raises(ConfigError):
        Choice(**wrong)
