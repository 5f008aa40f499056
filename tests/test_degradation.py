"""What is done to sound, faces and frames: each does what it says, by degrees, and the same thing every time."""

from __future__ import annotations

import numpy as np
import pytest

from avser.benchmark.degradation import COVERS, DEGRADATIONS, FRAMES, OFFSETS, PICTURES, SOUND, at_ratio, thin
from avser.config import AudioInput
from avser.features import spoken

RATE = 16_000


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """A second of syllables between silences."""
    t = np.arange(2 * RATE) / RATE
    voice = sum(np.sin(2 * np.pi * 180 * k * t) / k for k in range(1, 30)) * (np.sin(2 * np.pi * 4 * t) > -0.5)
    return (0.1 * voice * ((t > 0.5) & (t < 1.5))).astype(np.float32)


@pytest.fixture(scope="module")
def others(sound) -> list[np.ndarray]:
    return [np.roll(sound, 999 * k)[::-1].copy() for k in range(4)]


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(30, 220, (3, 48, 48, 3)).astype(np.uint8)


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.parametrize("name", SOUND)
def test_sound_stays_sound_and_the_same_chance_gives_the_same(name, sound, others):
    kind = SOUND[name]
    before = sound.copy()
    for level in kind.levels:
        made = kind.change(sound, level, np.random.default_rng(1), RATE, others)
        again = kind.change(sound, level, np.random.default_rng(1), RATE, others)
        assert made.shape == sound.shape
        assert made.dtype == np.float32
        assert np.isfinite(made).all()
        np.testing.assert_array_equal(made, again)
        assert not np.array_equal(made, sound)
    np.testing.assert_array_equal(sound, before)


@pytest.mark.parametrize("name", ["white", "babble", "recorded"])
@pytest.mark.parametrize("level", [20.0, 0.0, -5.0])
def test_noise_lies_at_the_ratio_to_the_spoken_part(name, level, sound, others):
    made = SOUND[name].change(sound, level, np.random.default_rng(1), RATE, others)
    speech = rms(sound[spoken(sound, AudioInput(rate=RATE))])
    assert 20 * np.log10(speech / rms(made - sound)) == pytest.approx(level, abs=0.05)


def test_noise_on_silence_is_no_number_out_of_nothing():
    silence = np.zeros(RATE, np.float32)
    np.testing.assert_array_equal(at_ratio(silence, np.ones(RATE), 0, RATE), silence)


def test_an_echo_decays_in_its_time():
    click = np.zeros(2 * RATE, np.float32)
    click[0] = 1
    made = SOUND["reverberation"].change(click, 0.8, np.random.default_rng(0), RATE, [])
    assert rms(made[1:]) * np.sqrt(len(made) - 1) == pytest.approx(1, rel=0.01)  # as strong as the direct sound
    early, late = rms(made[1600:3200]), rms(made[8000:9600])  # 0.4 s apart
    assert 20 * np.log10(early / late) == pytest.approx(30, abs=2)


@pytest.mark.parametrize(("level", "inside", "outside"), [(2.0, 1000, 5000), ("telephone", 1000, 120)])
def test_bands(level, inside, outside):
    t = np.arange(RATE) / RATE

    def left(hertz: float) -> float:
        tone = np.sin(2 * np.pi * hertz * t).astype(np.float32)
        return rms(SOUND["band"].change(tone, level, np.random.default_rng(0), RATE, [])) / rms(tone)

    assert left(inside) == pytest.approx(1, abs=0.05)
    assert left(outside) < 0.05


@pytest.mark.parametrize("level", [75.0, 25.0, 0.0])
def test_a_share_of_the_speech_is_heard(level, sound):
    made = SOUND["sound_share"].change(np.abs(sound) + 1e-4, level, np.random.default_rng(0), RATE, [])
    part = spoken(np.abs(sound) + 1e-4, AudioInput(rate=RATE))
    assert np.count_nonzero(made) == pytest.approx((part.stop - part.start) * level / 100, abs=2)


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_stay_pictures_and_get_worse(name, crops):
    kind = PICTURES[name]
    gaps = []
    for level in kind.levels:
        made = kind.change(crops, level, np.random.default_rng(1))
        assert (made.shape, made.dtype) == (crops.shape, np.uint8)
        np.testing.assert_array_equal(made, kind.change(crops, level, np.random.default_rng(1)))
        gaps.append(np.abs(made.astype(float) - crops).mean())
    assert gaps[0] > 0.5
    if name != "occlusion":
        assert gaps == sorted(gaps)


def test_eyes_and_mouth_lie_where_they_are_covered(crops):
    eyes, mouth = (PICTURES["occlusion"].change(crops, level, None) for level in ("eyes", "mouth"))
    row, column = round(0.40 * 48), round(0.32 * 48)
    assert (eyes[:, row, column] == 40).all()
    assert (eyes[:, row, 47 - column] == 40).all()
    np.testing.assert_array_equal(eyes[:, 30:], crops[:, 30:])
    np.testing.assert_array_equal(mouth[:, :30], crops[:, :30])
    assert (mouth[:, 39, 24] == 40).all()
    both = PICTURES["occlusion"].change(crops, "both", None)
    np.testing.assert_array_equal(both == 40, (eyes == 40) | (mouth == 40))
    assert set(COVERS) == set(PICTURES["occlusion"].levels)


def test_frames_are_thinned_to_a_rate():
    times = np.arange(90) / 29.97
    for level in FRAMES["frame_rate"].levels:
        kept = FRAMES["frame_rate"].change(times, level, None)
        assert kept[0]
        assert kept.sum() == pytest.approx(3 * level, abs=1)
    assert thin(np.zeros(0), 5.0).shape == (0,)


def test_frames_lose_the_face_one_after_the_other():
    times, before = np.arange(20) / 10, np.ones(20, bool)
    for level in FRAMES["missing_frames"].levels:
        kept = FRAMES["missing_frames"].change(times, level, np.random.default_rng(3))
        assert kept.sum() == round(20 * (1 - level / 100))
        assert not (kept & ~before).any()
        before = kept


def test_offsets_go_both_ways_and_through_nothing():
    levels = OFFSETS["offset"].levels
    assert 0.0 in levels
    assert sorted(levels) == list(levels) == [-level for level in reversed(levels)]
    np.testing.assert_array_equal(OFFSETS["offset"].change(np.array([1.0]), 0.5, None), [1.5])


def test_every_degradation_has_a_title():
    assert all(kind.title and kind.levels for kind in DEGRADATIONS.values())
