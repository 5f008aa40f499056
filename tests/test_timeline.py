"""Overlapping windows as a timeline without overlaps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_results import make_scene

from avser.results import Prediction
from avser.timeline import moments, segments


def window(start: float, end: float, label: str | None = "happy", person: int | None = 0) -> Prediction:
    probs = None if label is None else np.array([0.75, 0.25]) if label == "happy" else np.array([0.25, 0.75])
    return Prediction(start, end, person, probs, label, reason="nothing seen" if label is None else None)


def test_changes_lie_halfway_between_centres():
    windows = [window(0, 3), window(1, 4, None), window(2, 5, "sad"), window(9, 12)]
    assert [(start, end) for start, end, _ in moments(windows)[0]] == [(0, 2), (2, 3), (3, 5), (9, 12)]
    assert [(s.start, s.end, s.label) for s in segments(windows)] == [
        (0, 2, "happy"),
        (3, 5, "sad"),
        (9, 12, "happy"),
    ]


def test_people_are_kept_apart_and_the_voice_comes_last():
    found = moments([window(0, 3, person=None), window(0, 3, person=2), window(0, 3, person=0)])
    assert list(found) == [0, 2, None]


@given(st.floats(0.5, 6), st.floats(0.1, 6), st.integers(1, 30))
def test_moments_fill_what_windows_cover(length, hop, count):
    windows = [window(i * hop, i * hop + length) for i in range(count)]
    shares = moments(windows)[0]
    assert all(w.start - 1e-9 <= start < end <= w.end + 1e-9 for start, end, w in shares)
    assert all(one[1] <= two[0] + 1e-9 for one, two in itertools.pairwise(shares))
    covered = length + (count - 1) * min(hop, length)
    assert sum(end - start for start, end, _ in shares) == pytest.approx(covered)


def test_segments_of_a_scene_are_its_moments():
    scene = make_scene(200)
    said = {p: sum(b - a for a, b, w in shares if w.label) for p, shares in moments(scene.predictions).items()}
    for person, seconds in said.items():
        assert sum(s.end - s.start for s in scene.segments if s.person == person) == pytest.approx(seconds)
