"""Fingerprints of sounds, pictures and films: what is a copy, what only resembles it, what is found among many."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import face, film, voice

from avser.audit import twins
from avser.audit.fingerprints import (
    HASH_SIDE,
    HOP,
    SIDE,
    correlation,
    film_likeness,
    hash_bits,
    reduce,
    sound_likeness,
    sound_print,
)

# Sound


def test_a_sound_is_all_itself_and_half_another():
    one, other = sound_print(voice(1)), sound_print(voice(2))
    assert one.words.dtype == np.uint32
    assert one.words.shape == one.active.shape
    assert sound_likeness(one, one, 0) == 1
    assert 0.4 < sound_likeness(one, other, 0) < 0.62


@given(level=st.floats(0.05, 4))
def test_level_changes_nothing(level):
    samples = voice(3, 1.2)
    assert sound_likeness(sound_print(samples), sound_print((samples * level).astype(np.float32)), 0) > 0.99


def test_a_cut_is_found_at_its_offset():
    samples = voice(4)
    cut = sound_print(samples[20 * HOP + 100 :])
    whole = sound_print(samples)
    assert sound_likeness(whole, cut, 20) > 0.85
    assert sound_likeness(whole, cut, 0) < 0.7
    assert sound_likeness(cut, whole, -20) == sound_likeness(whole, cut, 20)


def test_too_little_in_common_is_nothing():
    whole = sound_print(voice(5))
    assert sound_likeness(whole, whole, len(whole.words) - 20) == 0
    assert sound_likeness(whole, sound_print(voice(5)[:6000]), 0) == 0


@pytest.mark.parametrize("samples", [np.zeros(0, np.float32), np.zeros(50_000, np.float32), voice(6)[:4000]])
def test_silence_and_scraps_have_nothing_to_compare(samples):
    assert not sound_print(samples).active.any()
    assert twins.near_sounds([sound_print(samples)] * 2) == []


def test_a_long_sound_has_the_words_of_its_parts():
    samples = voice(7, 12)
    whole, tail = sound_print(samples), sound_print(samples[600 * HOP :])
    np.testing.assert_array_equal(whole.words[600:], tail.words)


def test_copies_are_found_among_many_sounds():
    sounds = [sound_print(voice(seed)) for seed in range(20, 60)]
    noise = np.random.default_rng(0).normal(0, 0.004, 40_000).astype(np.float32)
    sounds.append(sound_print(0.5 * voice(31) + noise))
    sounds.append(sound_print(voice(52)[3000:]))
    sounds.append(sound_print(noise))  # the noise alone is no copy of what it lies over
    found = twins.near_sounds(sounds)
    assert {pair[:2] for pair in found} == {(11, 40), (32, 41)}
    assert all(score > 0.8 for _, _, score in found)


# Pictures


def test_a_picture_that_is_saved_again_is_the_same():
    picture = face(1)
    _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 40])
    again = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    darker = (picture * 0.6).astype(np.uint8)
    pictures = [reduce(x) for x in (picture, face(2), again, darker, cv2.resize(picture, (60, 60)))]
    assert {pair[:2] for pair in twins.near_pictures(pictures)} == {
        (i, j) for i in (0, 2, 3, 4) for j in (2, 3, 4) if i < j
    }


def test_bits_of_a_picture_are_signs_of_its_slopes():
    ramp = np.tile(np.arange(SIDE, dtype=np.uint8), (SIDE, 1))
    assert (hash_bits(ramp) == 1).all()
    assert (hash_bits(ramp[:, ::-1]) == -1).all()
    assert hash_bits(ramp).shape == (HASH_SIDE**2,)


def test_correlation_in_closed_form():
    x = np.array([[0, 1], [2, 3]], np.uint8)
    assert correlation(x, 10 * x + 5) == pytest.approx(1)
    assert correlation(x, 3 - x) == pytest.approx(-1)
    assert correlation(x, x.T) == pytest.approx(0.8)
    assert correlation(x, np.full((2, 2), 7, np.uint8)) == 0


def test_flat_pictures_are_no_copies():
    assert twins.near_pictures([np.full((SIDE, SIDE), grey, np.uint8) for grey in (10, 10, 200)]) == []


# Films


def test_films_are_told_apart_by_what_moves():
    assert film_likeness(film(1), film(1)) == pytest.approx(1)
    assert film_likeness(film(1), film(2)) < 0.6
    assert correlation(film(1).mean(0), film(2).mean(0)) > 0.5  # which their pictures alone would not tell


def test_a_film_that_begins_later_is_the_same():
    assert film_likeness(film(1), film(1, 18, 6)) > twins.SAME_FILM
    assert film_likeness(film(1, 18, 6), film(1)) == pytest.approx(
        film_likeness(film(1), film(1, 18, 6)), abs=1e-5
    )


def test_stills_are_compared_by_their_picture():
    still = np.repeat(reduce(face(3), 32)[None], 10, 0)
    assert film_likeness(still, still[:4]) == pytest.approx(1)
    assert film_likeness(still, np.repeat(reduce(face(4), 32)[None], 10, 0)) < 0.5


def test_copies_are_found_among_many_films():
    films = [film(seed) for seed in range(12)]
    films.append(np.clip(film(7) * 0.8 + 10, 0, 255).astype(np.uint8))
    assert [pair[:2] for pair in twins.near_films(films)] == [(7, 12)]


# Joining


def test_nothing_to_compare_gives_nothing():
    assert twins.near_sounds([]) == twins.near_pictures([]) == twins.near_films([]) == twins.join(3, []) == []


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=15))
def test_groups_are_what_pairs_reach(pairs):
    groups = twins.join(10, pairs)
    reached = {i: {i} for i in range(10)}
    for _ in range(10):
        for one, other in pairs:
            both = reached[one] | reached[other]
            for i in both:
                reached[i] = both
    assert {tuple(group) for group in groups} == {tuple(sorted(s)) for s in reached.values() if len(s) > 1}
