"""Cues of how well one hears and sees, and features, of one window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import voice

from avser import evidence
from avser.audit.fingerprints import RATE
from avser.metrics import log_softmax
from avser.models.fusion import CUES, Calibration, Reliability

LABELS = ("happy", "sad", "angry")


def noisy(seed: int, snr: float) -> np.ndarray:
    """A made-up voice with pauses, in white noise at this ratio to what is spoken, dB."""
    clean = voice(seed)
    spoken = np.abs(clean) > 0.01
    noise = np.random.default_rng(seed).standard_normal(len(clean))
    return clean + noise * np.sqrt(np.mean(clean[spoken] ** 2)) * 10 ** (-snr / 20)


@pytest.mark.parametrize("snr", [0, 5, 10, 20])
def test_the_ratio_of_signal_to_noise_is_found(snr):
    found = np.mean([evidence.voice_cues(noisy(seed, snr), RATE)["snr"] for seed in range(5)])
    assert found == pytest.approx(snr, abs=5)


def test_more_noise_is_a_lower_ratio():
    found = [evidence.voice_cues(noisy(1, snr), RATE)["snr"] for snr in (30, 20, 10, 5, 0, -5)]
    assert found == sorted(found, reverse=True)


def test_the_share_of_speech_is_found():
    t = np.arange(3 * RATE) / RATE
    rng = np.random.default_rng(0)
    tone = 0.3 * np.sin(2 * np.pi * 300 * t) * (t < 1) + 0.001 * rng.standard_normal(len(t))
    assert evidence.voice_cues(tone, RATE)["speech"] == pytest.approx(1 / 3, abs=0.02)


def test_silence_and_steady_noise_hold_no_speech():
    nothing = {"speech": 0.0, "snr": evidence.SNR[0]}
    assert evidence.voice_cues(np.zeros(RATE, np.float32), RATE) == nothing
    hiss = evidence.voice_cues(np.random.default_rng(0).standard_normal(RATE), RATE)
    assert hiss == nothing
    assert np.isnan(list(evidence.voice_cues(np.zeros(3, np.float32), RATE).values())).all()


@settings(max_examples=30)
@given(st.integers(0, 4000), st.floats(0, 1), st.integers(0, 99))
def test_cues_of_any_sound_lie_in_their_range(size, level, seed):
    cues = evidence.voice_cues(level * np.random.default_rng(seed).uniform(-1, 1, size), RATE)
    if size >= evidence.FRAME * RATE:
        assert 0 <= cues["speech"] <= 1
        assert evidence.SNR[0] <= cues["snr"] <= evidence.SNR[1]
    else:
        assert all(np.isnan(value) for value in cues.values())


def test_cues_of_a_face():
    boxes = np.array([[0, 0, 40, 50], [10, 0, 70, 50]], np.float32)
    cues = evidence.face_cues(8, boxes, np.array([0.8, 0.9], np.float32))
    assert cues == pytest.approx({"face_share": 0.25, "face_score": 0.85, "face_size": 50.0})
    assert evidence.face_cues(8, boxes[:0], np.zeros(0))["face_share"] == 0
    assert all(np.isnan(value) for value in evidence.face_cues(0, boxes[:0], np.zeros(0)).values())


def test_all_cues_have_names_that_the_rule_knows():
    cues = evidence.voice_cues(voice(0), RATE) | evidence.face_cues(1, np.ones((1, 4)), np.ones(1))
    assert cues.keys() == CUES.keys() == set(evidence.NEEDED["reliability"])


def test_features():
    sound = voice(3)
    features = evidence.voice_features(sound, RATE)["audio_features"]
    assert features.shape == (2 * evidence.BANDS,)
    louder = evidence.voice_features(0.3 * sound, RATE)["audio_features"]
    np.testing.assert_allclose(features, louder, atol=0.01)  # how loud it is says nothing
    assert np.isnan(evidence.voice_features(np.zeros(RATE, np.float32), RATE)["audio_features"]).all()
    logits = np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    seen = evidence.face_features(logits)["face_features"]
    assert seen.shape == (9,)
    np.testing.assert_allclose(seen[6:], log_softmax(logits).max(0))
    np.testing.assert_allclose(seen, evidence.face_features(logits + 5.0)["face_features"])
    assert np.isnan(evidence.face_features(np.zeros((0, 3)))["face_features"]).all()


def test_a_file_is_the_mean_of_the_windows_that_know():
    windows = [{"snr": 2.0, "audio_features": np.ones(2)}, {"snr": float("nan")}, {"snr": 4.0}]
    whole = evidence.average(windows)
    assert whole["snr"] == 3.0
    assert whole["audio_features"].tolist() == [1.0, 1.0]
    assert np.isnan(evidence.average([{"snr": float("nan")}])["snr"])


def test_a_face_that_is_hardly_seen_weighs_less():
    rule = Reliability(LABELS, {name: Calibration(LABELS) for name in ("audio", "face")})
    boxes = np.tile(np.float32([0, 0, 60, 60]), (10, 1))
    rows = [evidence.face_cues(looked, boxes, np.full(10, 0.9)) | {"snr": 15.0} for looked in (10, 20, 100)]
    weights = rule.weights(np.ones((3, 2), bool), np.zeros((3, 2, 3)), evidence.stack(rows))[:, 1]
    assert weights.tolist() == sorted(weights.tolist(), reverse=True)
    assert weights[2] < weights[0] / 3
