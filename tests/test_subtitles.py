"""Subtitles: golden files, and every moment of every segment shown, whatever the times and the words."""

from __future__ import annotations

import dataclasses
import html
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_results import make_result, make_scene

from avser.palette import colour
from avser.results import Result, Segment
from avser.writers import write
from avser.writers.subtitles import cues

GOLDEN_SRT = """\
1
00:00:00,000 --> 00:00:01,250
Person 1: happy (82 %)

2
00:00:01,250 --> 00:00:02,000
Person 1: happy (82 %)
Person 2: sad (50 %)

3
00:00:02,000 --> 00:00:03,500
Person 2: sad (50 %)

4
01:00:00,000 --> 01:00:59,999
Voice: neutral (100 %)

"""
GOLDEN_VTT = """\
WEBVTT - Emotions in a b.mp4, by av-test 0.1

STYLE
::cue(.e-neutral) { background-color: #656565; color: #ffffff; }
::cue(.e-happy) { background-color: #ffdb2e; color: #000000; }
::cue(.e-sad) { background-color: #0661d6; color: #ffffff; }

1
00:00:00.000 --> 00:00:01.250 line:0
Person 1: <c.e-happy>happy</c> (82 %)

2
00:00:01.250 --> 00:00:02.000 line:0
Person 1: <c.e-happy>happy</c> (82 %)
Person 2: <c.e-sad>sad</c> (50 %)

3
00:00:02.000 --> 00:00:03.500 line:0
Person 2: <c.e-sad>sad</c> (50 %)

4
01:00:00.000 --> 01:00:59.999 line:0
Voice: <c.e-neutral>neutral</c> (100 %)

"""


def with_segments(*segments: Segment) -> Result:
    return dataclasses.replace(make_result(), segments=segments)


@pytest.fixture
def two_people() -> Result:
    return with_segments(
        Segment(0.0, 2.0, 0, "happy", 0.82),
        Segment(1.25, 3.4999, 1, "sad", 0.5),
        Segment(3600.0, 3659.9991, None, "neutral", 0.999),
    )


@pytest.mark.parametrize(("name", "golden"), [("srt", GOLDEN_SRT), ("vtt", GOLDEN_VTT)])
def test_golden(two_people, tmp_path, name, golden):
    assert write(two_people, tmp_path / f"x.{name}").read_bytes().decode() == golden


def test_one_person_has_no_name(tmp_path):
    one = with_segments(Segment(0.0, 2.0, 0, "happy", 0.7), Segment(2.0, 3.0, 0, "sad", 0.6))
    assert [words for *_, words in read(write(one, tmp_path / "x.srt"))] == [["happy (70 %)"], ["sad (60 %)"]]


def test_one_of_two_people_has_a_name(tmp_path):
    scene = make_scene(people=2)
    first = dataclasses.replace(scene, segments=(Segment(0.0, 2.0, 0, "happy", 0.7),))
    assert read(write(first, tmp_path / "x.srt"))[0][2] == ["Person 1: happy (70 %)"]


def test_nothing_to_say(tmp_path):
    assert write(with_segments(), tmp_path / "x.srt").read_bytes() == b""
    assert write(with_segments(), tmp_path / "x.vtt").read_text(encoding="utf-8").startswith("WEBVTT - ")


def seconds(stamp: str) -> float:
    hours, minutes, rest = stamp.replace(",", ".").split(":")
    assert re.fullmatch(r"\d\d\.\d{3}", rest), stamp
    assert int(minutes) < 60
    assert float(rest) < 60
    return 3600 * int(hours) + 60 * int(minutes) + float(rest)


def read(path) -> list[tuple[float, float, list[str]]]:
    """Cues of a file as (start, end, lines of text), as a player reads them."""
    blocks = path.read_text(encoding="utf-8").split("\n\n")
    found = []
    for block in filter(None, blocks[2:] if path.suffix == ".vtt" else blocks):
        number, times, *lines = block.strip("\n").split("\n")
        assert int(number) == len(found) + 1
        start, arrow, end, *placed = times.split(" ")
        assert arrow == "-->"
        assert placed == (["line:0"] if path.suffix == ".vtt" else [])
        if path.suffix == ".vtt":
            assert not any(set("<>") & set(re.sub(r"</?c[^<>]*>", "", text)) for text in lines)
            lines = [html.unescape(re.sub(r"</?c[^<>]*>", "", text)) for text in lines]
        found.append((seconds(start), seconds(end), lines))
    return found


TIMES = st.floats(0, 20_000)
WORDS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=12
) | st.sampled_from(["a --> b", "<b>", "&amp;", "two\nlines", "x\n\ny", "</c>"])
SEGMENTS = st.lists(
    st.builds(
        lambda start, length, person, label, share: Segment(start, start + length, person, label, share),
        TIMES,
        st.floats(0, 50),
        st.none() | st.integers(0, 3),
        WORDS.filter(str.strip),
        st.floats(0, 1),
    ),
    max_size=8,
)


@given(SEGMENTS)
def test_every_moment_is_shown_once(tmp_path_factory, segments):
    result = with_segments(*segments)
    found = list(cues(result))
    assert all(cue.start < cue.end for cue in found)
    assert all(one.end <= two.start for one, two in itertools.pairwise(found))
    for segment in segments:
        start, end = round(1000 * segment.start), round(1000 * segment.end)
        shown = [cue for cue in found if any(s is segment for s in cue.segments)]
        assert sum(cue.end - cue.start for cue in shown) == max(0, end - start)
        assert not shown or (shown[0].start, shown[-1].end) == (start, end)
    folder = tmp_path_factory.mktemp("subtitles")
    for name in ("srt", "vtt"):
        cued = read(write(result, folder / f"x.{name}"))
        assert [round(1000 * start) for start, *_ in cued] == [cue.start for cue in found]
        assert [round(1000 * end) for _, end, _ in cued] == [cue.end for cue in found]
        for (*_, lines), cue in zip(cued, found, strict=True):
            assert len(lines) == len(cue.segments)
            for text, segment in zip(lines, cue.segments, strict=True):
                assert f"{' '.join(segment.label.split())} (" in text


def test_header_of_a_hostile_name(tmp_path):
    result = make_result("x\n\n1\n00:00:00.000 --> 00:01:00.000\nforged.mp4")
    lines = write(result, tmp_path / "x.vtt").read_text(encoding="utf-8").split("\n")
    assert lines[0].count("-->") == 0
    assert lines[1:3] == ["", "STYLE"]
    assert colour("happy").hex in lines[4]
