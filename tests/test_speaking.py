"""Who speaks: mouths that move with the sound, and mouths that do not."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import SAMPLE
from hypothesis import given, settings
from hypothesis import strategies as st

from avser import media
from avser.faces import FaceDetector
from avser.faces.mouths import MouthMeter
from avser.speaking import LEAST, MARGIN, score, who_speaks
from avser.speech import Envelope, EnvelopeFinder, SpeechFinder

SCORES = st.dictionaries(st.integers(0, 9), st.none() | st.floats(0, 1), max_size=6)


def talk(seed: int = 0, seconds: float = 30.0) -> Envelope:
    """Syllables of different loudness, about three a second, with pauses; 100 values a second."""
    rng = np.random.default_rng(seed)
    starts = np.cumsum(rng.choice([0.25, 0.3, 0.4, 1.0], round(seconds * 4)))
    t = np.arange(round(seconds * 100)) / 100
    bumps = np.exp(-np.square((t[:, None] - starts) / 0.08)) * rng.uniform(0.05, 0.25, len(starts))
    return Envelope(bumps.sum(axis=1).astype(np.float32), 100.0)


def mouth(envelope: Envelope, times: np.ndarray, seed: int = 1) -> np.ndarray:
    """A mouth that opens with the sound, with the jitter of landmarks."""
    return 0.03 + envelope.around(times, 0.05) + np.random.default_rng(seed).normal(0, 0.002, len(times))


TIMES = np.arange(10, 16, 0.1)
ALWAYS = ((0.0, 30.0),)


@pytest.mark.parametrize("seed", range(5))
def test_a_mouth_that_moves_with_the_sound_speaks(seed):
    voice = talk(seed)
    scores = {0: score(TIMES, mouth(talk(seed + 100), TIMES), voice, ALWAYS)}
    scores |= {1: score(TIMES, mouth(voice, TIMES), voice, ALWAYS), 2: score(TIMES, 0 * TIMES, voice, ALWAYS)}
    assert scores[1] > 0.7
    assert scores[2] < 0.3
    assert who_speaks(scores) == 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shift", [-1.5, 1.5])
def test_a_shifted_sound_is_another_voice(seed, shift):
    voice = talk(seed)
    moved = Envelope(voice.values, voice.rate, voice.start + shift)
    openings = mouth(voice, TIMES)
    assert score(TIMES, openings, moved, ALWAYS) < score(TIMES, openings, voice, ALWAYS) - MARGIN


def test_loudness_as_such_does_not_matter():
    voice = talk()
    quiet = Envelope(voice.values / 50, voice.rate)
    openings = mouth(voice, TIMES)
    assert score(TIMES, openings, quiet, ALWAYS) == pytest.approx(score(TIMES, openings, voice, ALWAYS), abs=1e-3)


@settings(max_examples=60)
@given(
    st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=40),
    st.lists(st.floats(0, 1, width=32), max_size=300),
    st.floats(0, 5),
    st.floats(0, 5),
)
def test_scores_lie_between_0_and_1(openings, values, start, length):
    times = np.arange(len(openings)) / 10
    envelope = Envelope(np.array(values, np.float32), 100.0)
    found = score(times, np.array(openings), envelope, [(start, start + length)])
    assert found is None or 0 <= found <= 1


def test_too_little_to_tell():
    voice = talk()
    openings = mouth(voice, TIMES)
    assert score(TIMES, openings, voice, ()) is None
    assert score(TIMES, np.full(len(TIMES), np.nan), voice, ALWAYS) is None
    assert score(TIMES[:5], openings[:5], voice, ALWAYS) is None
    assert score(TIMES, openings, voice, [(20.0, 30.0)]) is None


def test_unknown_mouths_are_left_out():
    voice = talk()
    openings = mouth(voice, TIMES)
    some = np.where(np.arange(len(TIMES)) % 4 == 0, np.nan, openings)
    known = np.isfinite(some)
    assert score(TIMES, some, voice, ALWAYS) == score(TIMES[known], openings[known], voice, ALWAYS)


def test_no_sound_tells_nobody_apart():
    silence = Envelope(np.zeros(0, np.float32), 100.0)
    scores = {i: score(TIMES, mouth(talk(i), TIMES), silence, ALWAYS) for i in range(3)}
    assert who_speaks(scores) is None


@given(SCORES)
def test_the_one_who_speaks_is_clearly_ahead(scores):
    best = who_speaks(scores)
    values = {person: 0.5 if value is None else value for person, value in scores.items()}
    if best is None:
        ranked = sorted(values.values(), reverse=True)
        assert not ranked or ranked[0] < LEAST or (len(ranked) > 1 and ranked[0] - ranked[1] < MARGIN)
    else:
        assert values[best] >= LEAST
        assert all(values[best] - value >= MARGIN for person, value in values.items() if person != best)


@given(SCORES, st.randoms())
def test_numbers_of_people_do_not_matter(scores, random):
    people = list(scores)
    others = random.sample(range(100, 200), len(people))
    renamed = dict(zip(people, others, strict=True))
    shuffled = {renamed[person]: scores[person] for person in random.sample(people, len(people))}
    assert who_speaks(shuffled) == renamed.get(who_speaks(scores))


# Real pictures


@pytest.fixture(scope="module")
def sample_mouth() -> tuple[np.ndarray, np.ndarray]:
    """Times and openings of the mouth in the sample clip."""
    with FaceDetector() as detector, MouthMeter() as meter:
        frames = list(media.iter_frames(SAMPLE, fps=10))
        openings = [meter.opening(f.image, np.array(detector.detect(f.image)[0].box)) for f in frames]
    return np.array([frame.time for frame in frames]), np.array(openings)


def test_the_sample_speaks_with_its_own_voice(sample_mouth):
    track = media.read_audio(SAMPLE)
    speech, envelope = SpeechFinder(), EnvelopeFinder(track.rate)
    speech.update(track)
    envelope.update(track)
    spans, voice = speech.finish(), envelope.finish()
    times, openings = sample_mouth
    own = score(times, openings, voice, spans)
    assert own > LEAST
    assert who_speaks({0: own, 1: score(times, np.full(len(times), openings[0]), voice, spans)}) == 0
    assert score(times, openings[::-1].copy(), voice, spans) < own


def test_openings_are_shares_of_the_distance_of_the_eyes(sample_mouth):
    _, openings = sample_mouth
    assert np.isfinite(openings).all()
    assert 0 < openings.min() < openings.max() < 1


def test_size_of_the_picture_does_not_matter(sample_mouth):
    import cv2

    image = next(media.iter_frames(SAMPLE, start=2.0)).image
    large = cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    with FaceDetector() as detector, MouthMeter() as meter:
        box = np.array(detector.detect(image)[0].box)
        assert meter.opening(large, 3 * box) == pytest.approx(meter.opening(image, box), abs=0.02)


@pytest.mark.parametrize("box", [(0, 0, 100, 100), (-90, -90, -10, -10), (10, 10, 10, 10)])
def test_no_face_no_opening(box):
    with MouthMeter() as meter:
        assert np.isnan(meter.opening(np.full((120, 160, 3), 90, np.uint8), np.array(box, float)))
