"""The timeline as a picture: what is where in it, whatever the length and the file's name."""

from __future__ import annotations

import dataclasses
import time
import zlib

import numpy as np
import pytest
from made_results import make_result, make_scene

from avser.palette import colour
from avser.results import Result
from avser.wording import percent
from avser.writers import lanes, plot, write

pytest.importorskip("matplotlib", reason="needs avser[plots]", exc_type=ImportError)


def size(path) -> tuple[int, int]:
    """Width and height of a PNG that is whole."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.endswith(zlib.crc32(b"IEND").to_bytes(4, "big"))
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def texts(result: Result) -> list[str]:
    """All words in the picture."""
    from matplotlib.text import Text

    return [t.get_text() for t in plot.draw(result).findobj(Text) if t.get_text()]


def test_words_of_a_scene():
    scene = make_scene(people=2)
    found = texts(scene)
    assert f"a b.mp4: {scene.overall.label} {percent(scene.overall.confidence)} over the whole file" in found
    assert any(text.startswith("Person 1: ") for text in found)
    assert "Voice on its own, or nobody" in found
    for words in ("voice", "face", "fused", "speech", "abstains", "0:30", *scene.labels):
        assert words in found
    longest = max(scene.segments, key=lambda s: s.end - s.start)
    assert found.count(longest.label) > 1  # in the legend, and on its segment


def test_row_shows_the_likeliest_emotion():
    result = make_result()
    axes = plot.draw(result).axes
    strips = next(a for a in axes if a.images and len(a.get_yticks()) == 3)
    pixels = strips.images[0].get_array()  # (3, T, 3)
    said = pixels[:, 10]
    happy = [int(colour("happy").hex[i : i + 2], 16) for i in (1, 3, 5)]
    assert (said == happy).all()
    assert (pixels[:, -10] == 240).all()  # nobody is seen there


def test_thinning_keeps_the_mean():
    scene = make_scene(300)
    lane = lanes.lanes(scene)[0]
    edges = np.linspace(0, 300, 41)
    coarse = lanes.thinned(lane.moments, "fused", edges, len(scene.labels))
    seen = np.isfinite(coarse[:, 0])
    np.testing.assert_allclose(coarse[seen].sum(1), 1, atol=1e-5)
    middle = int(np.flatnonzero(seen)[3])
    inside = [
        (min(end, edges[middle + 1]) - max(start, edges[middle]), w.probs)
        for start, end, w in lane.moments
        if end > edges[middle] and start < edges[middle + 1]
    ]
    expected = np.average([probs for _, probs in inside], axis=0, weights=[length for length, _ in inside])
    np.testing.assert_allclose(coarse[middle], expected, atol=1e-6)


def test_two_hours(tmp_path):
    scene = make_scene(7200, people=4)
    assert len(scene.predictions) > 7000
    began = time.process_time()
    path = write(scene, tmp_path / "long.png")
    assert time.process_time() - began < 30
    assert path.stat().st_size < 1_500_000
    width, height = size(path)
    assert width == 1560
    assert height < 2500
    assert any("averaged over 22.2 s" in text for text in texts(scene))


def test_many_people_are_not_all_drawn(tmp_path):
    scene = make_scene(people=12)
    assert any("more people are not drawn" in text for text in texts(scene))
    assert size(write(scene, tmp_path / "x.png"))[1] < 2600


@pytest.mark.parametrize("name", ["$\\frac{1}$.mp4", "a\nb\x07.mp4", "映画.mp4", "caf\udce9 $x.mp4", "%s{}.mp4"])
def test_hostile_names(tmp_path, name):
    size(write(make_result(name), tmp_path / "x.png"))


def test_nothing_found(tmp_path):
    result = make_result()
    none = dataclasses.replace(
        result, predictions=(), segments=(), speech=None, cuts=(), overall=result.predictions[1]
    )
    size(write(none, tmp_path / "none.png"))
    size(write(dataclasses.replace(result, predictions=result.predictions[1:]), tmp_path / "abstains.png"))
