"""TextGrids, read back by the library that wrote them and by hand."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_results import make_result, make_scene

from avser.results import Segment
from avser.writers import write

textgrid = pytest.importorskip("praatio.textgrid", reason="needs avser[textgrid]", exc_type=ImportError)


def read(result, path):
    return textgrid.openTextgrid(str(write(result, path)), includeEmptyIntervals=False)


def test_tiers_of_a_scene(tmp_path):
    scene = make_scene(70)
    grid = read(scene, tmp_path / "x.textgrid")
    assert grid.tierNames == ("whole file", "Person 1", "Person 2", "Voice", "speech", "cuts")
    assert (grid.minTimestamp, grid.maxTimestamp) == (0, 70)
    for person, name in ((0, "Person 1"), (1, "Person 2"), (None, "Voice")):
        theirs = [(s.start, s.end, s.label) for s in scene.segments if s.person == person]
        assert [tuple(entry) for entry in grid.getTier(name).entries] == theirs
    assert [(start, end) for start, end, _ in grid.getTier("speech").entries] == list(scene.speech)
    assert [time for time, _ in grid.getTier("cuts").entries] == list(scene.cuts)


def test_praat_finds_no_gaps(tmp_path):
    """Praat wants each tier of intervals filled from the first to the last moment."""
    grid = textgrid.openTextgrid(str(write(make_scene(), tmp_path / "x.textgrid")), includeEmptyIntervals=True)
    for tier in grid.tiers[:-1]:
        entries = tier.entries
        assert (entries[0].start, entries[-1].end) == (0, 40)
        assert all(one.end == two.start for one, two in itertools.pairwise(entries))


def test_nothing_found(tmp_path):
    result = make_result()
    nothing = dataclasses.replace(
        result, segments=(), speech=None, cuts=(), predictions=(), overall=result.predictions[1]
    )
    grid = read(nothing, tmp_path / "x.textgrid")
    assert grid.tierNames == ("whole file",)
    assert grid.getTier("whole file").entries == ()


@given(
    lengths=st.lists(st.floats(0, 5), max_size=8),
    word=st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=8).filter(
        str.strip
    )
    | st.sampled_from(['"', 'a "b" c', "two\nlines"]),
)
def test_any_times_and_words(tmp_path_factory, lengths, word):
    start, segments = 0.0, []
    for length in lengths:
        segments.append(Segment(start, start + length, 0, word, 0.5))
        start += length
    folder = tmp_path_factory.mktemp("grids")
    grid = read(dataclasses.replace(make_result(), segments=tuple(segments)), folder / "x.textgrid")
    rounded = [(round(s.start, 3), round(s.end, 3)) for s in segments]
    expected = [(a, b, " ".join(word.split())) for a, b in rounded if a < b]
    found = [tuple(entry) for entry in grid.getTier("Person 1").entries] if segments else []
    assert found == expected
