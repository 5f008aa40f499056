"""What is printed of a result: who, what, notes and speech, within 80 columns."""

from __future__ import annotations

import dataclasses
import io
import re

import numpy as np
import pytest
from made_results import make_result, make_scene
from rich.console import Console

from avser import console
from avser.palette import EMOTION_COLOURS
from avser.results import Prediction, Result


def printed(result: Result) -> str:
    out = Console(width=80, file=io.StringIO())
    console.print_result(result, out)
    return out.file.getvalue()


def lines_with(text: str, *words: str) -> list[str]:
    return [line for line in text.splitlines() if all(word in line for word in words)]


def test_one_person_needs_no_column():
    result = make_result()
    alone = dataclasses.replace(result, predictions=(dataclasses.replace(result.predictions[0], person=0),) * 2)
    text = printed(alone)
    assert "who" not in text.split("whole file")[0]
    assert lines_with(text, "0.0 – 3.0", "happy¹", "70%", "happy 50% ×0.60", "happy 100% ×0.40")
    assert lines_with(text, "whole file", "happy")
    assert text.rstrip().endswith("speech: 0:01.5 of 0:03.0\n¹ a note")


def test_several_people_have_a_column_and_a_row_each():
    scene = make_scene(people=3)
    text = printed(scene)
    assert lines_with(text, "time (s)", "who", "emotion")
    for person in scene.people:
        assert lines_with(
            text,
            "all windows",
            f" {person.person + 1} ",
            person.overall.label,
            f"{person.overall.confidence:.0%}",
        )
    assert len(lines_with(text, "whole file")) == 1
    assert len(lines_with(text, "¹ it is unclear who speaks")) == 1
    assert len(lines_with(text, "¹")) > 1


def test_abstention_says_why():
    text = " ".join(printed(make_result()).split())
    assert "–" in text
    assert "no audio track" in text


def test_speech_is_told_where_it_was_looked_for():
    result = make_result()
    assert "speech" not in printed(dataclasses.replace(result, speech=None))
    assert "speech: none" in printed(dataclasses.replace(result, speech=()))


@pytest.mark.parametrize("label", EMOTION_COLOURS)
@pytest.mark.parametrize("people", [(0,), (0, 11)])
def test_eighty_columns_hold_every_emotion(label, people):
    """No line is longer, and none is broken but for the longest names."""
    labels, probs = (label, "sad"), np.array([1.0, 0.0])
    said, shares = {"audio": probs, "face": probs}, {"audio": 0.5, "face": 0.5}
    window = Prediction(990.0, 993.0, 0, probs, label, said, shares, 75, note="it is unclear who speaks")
    windows = tuple(dataclasses.replace(window, person=person) for person in people)
    text = printed(
        dataclasses.replace(make_scene(), labels=labels, predictions=windows, people=(), overall=window)
    )
    assert all(len(line) <= 80 for line in text.splitlines())
    if len(label) < 9:
        found = lines_with(text, "990.0 – 993.0", f"{label}¹", f"{label} 100% ×0.50  {label} 100% ×0.50")
        assert len(found) == len(people)


def test_long_file_is_cut_short():
    text = printed(make_scene(7200))
    rows = len(make_scene(7200).predictions)
    assert (
        sum(re.match(r" *[\d.]+ – [\d.]+ ", line) is not None for line in text.splitlines()) == console.MOST_ROWS
    )
    assert f"… and {rows - console.MOST_ROWS} more rows" in text
