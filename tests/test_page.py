"""The report: nothing from elsewhere, hostile names harmless, and in a browser a timeline that can be used."""

from __future__ import annotations

import dataclasses
import html.parser
import json
import os
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from conftest import SAMPLE
from hypothesis import given
from hypothesis import strategies as st
from made_results import make_result, make_scene

from avser.results import Result
from avser.wording import percent, person_name
from avser.writers import lanes, page_data, write
from avser.writers.page import media_address, page


class Parser(html.parser.HTMLParser):
    """Elements of a page, (name, attributes), and the text that is shown."""

    VOID = ("meta", "input", "img", "br", "link")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.inside: list[str] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.inside, self.inside

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.inside.append(tag)

    def handle_endtag(self, tag):
        assert self.inside.pop() == tag

    def handle_data(self, data):
        inside = self.inside[-1] if self.inside else ""
        if inside == "script":
            self.scripts.append(data)
        elif inside != "style":
            self.words.append(data)

    def data(self) -> dict:
        return json.loads(self.scripts[0])


def parsed(result: Result, folder: Path = Path("/somewhere")) -> Parser:
    return Parser(page(result, folder))


def test_everything_is_in_the_page():
    scene = make_scene()
    found = parsed(scene)
    addresses = [a[key] for _, a in found.elements for key in ("src", "href") if key in a]
    assert [a for a in addresses if not a.startswith("data:")] == [media_address(scene.path, Path("/somewhere"))]
    text = page(scene, Path("/somewhere"))
    assert not re.search(r"https?:|@import|url\(|fetch\(|XMLHttp|WebSocket|innerHTML|eval\(", text)
    assert not [key for _, a in found.elements for key in a if key.startswith("on")]
    assert "default-src 'none'" in text


def test_words_of_a_scene():
    scene = make_scene()
    shown = " ".join(parsed(scene).words)
    for words in ("a b.mp4", "1280 × 720, 25 fps, h264", "Everybody together", "Person 2", "av-test 0.1"):
        assert words in shown
    assert "no sound that could be speech and no face seen" in shown
    assert "it is unclear who speaks" in shown
    elements = parsed(scene).elements
    assert len([1 for tag, a in elements if tag == "tr" and "data-who" in a]) == len(scene.segments)
    assert [a["id"] for tag, a in elements if tag == "img"] == ["face-0", "face-1"]


def test_data_are_those_of_the_result():
    scene = make_scene()
    data = parsed(scene).data()
    assert [lane["name"] for lane in data["lanes"]] == ["Person 1", "Person 2", "Voice"]
    for lane, of in zip(data["lanes"], lanes.lanes(scene), strict=True):
        times = np.array(lane["times"]).reshape(-1, 2)
        np.testing.assert_allclose(times, [(start, end) for start, end, _ in of.moments], atol=1e-3)
        for i, (*_, window) in enumerate(of.moments):
            for name in ("fused", "audio", "face"):
                probs = lanes.distribution(window, name)
                row = lane["probs"].get(name, [None] * len(times))[i]
                assert (row is None) == (probs is None)
                if probs is not None:
                    np.testing.assert_allclose(np.array(row) / 1000, probs, atol=5.1e-4)
            reason = lane["reasons"][i]
            assert (None if reason is None else data["words"][reason]) == window.reason
    assert data["speech"] == [list(span) for span in scene.speech]


HOSTILE = [
    "</script><script>alert(1)</script>.mp4",
    "<img src=x onerror=alert(1)>.mp4",
    "a\" onerror='alert(1)'.mp4",
    "javascript:alert(1)",
    "-->]]>.mp4",
    "%2e%2e#?&amp;.mp4",
    "\u202egnp.mp4",
    "caf\udce9.mp4",
    "two\nlines.mp4",
]


def check_harmless(name: str) -> None:
    result = make_result()
    words = name.replace("\udce9", "")
    prediction = dataclasses.replace(result.predictions[1], reason=words or "x")
    result = dataclasses.replace(
        result, path=Path("in") / name, predictions=(result.predictions[0], prediction), model=words
    )
    found = parsed(result, Path.cwd())
    plain = parsed(make_result(), Path.cwd())
    assert [tag for tag, _ in found.elements] == [tag for tag, _ in plain.elements]
    assert [sorted(a) for _, a in found.elements] == [sorted(a) for _, a in plain.elements]
    source = next(a["src"] for tag, a in found.elements if a.get("id") == "media")
    assert unquote_to_bytes(source) == os.fsencode(os.path.normpath(Path("in") / name))
    assert not re.search(r"[^A-Za-z0-9_.~/%-]", source)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_only_text(name):
    check_harmless(name)


@given(st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_any_name_is_only_text(name):
    if name not in (".", ".."):
        check_harmless(name)


def test_address_is_relative_to_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert media_address(Path("in/a b.mp4"), tmp_path / "out" / "deep") == "../../in/a%20b.mp4"
    assert media_address(tmp_path / "a.mp4", Path()) == "a.mp4"


def test_two_hours_stay_small(tmp_path):
    scene = make_scene(7200, people=4)
    began = time.process_time()
    path = write(scene, tmp_path / "long.html")
    assert time.process_time() - began < 15
    assert path.stat().st_size < 5_000_000
    rows = [a for tag, a in Parser(path.read_text(encoding="utf-8")).elements if tag == "tr"]
    assert len(rows) < 7000


def test_many_windows_are_averaged(monkeypatch):
    monkeypatch.setattr(page_data, "MOST_ROWS", 100)
    scene = make_scene(200)
    data = page_data.page_data(scene)
    joined = page_data.join_count(len(scene.predictions))
    assert joined > 1
    assert "windows are averaged to one" in " ".join(parsed(scene).words)
    for lane, of in zip(data["lanes"], lanes.lanes(scene), strict=True):
        assert len(lane["times"]) // 2 < len(of.moments)
        lengths = np.diff(np.array(lane["times"]).reshape(-1, 2))[:, 0]
        assert lengths.sum() == pytest.approx(sum(end - start for start, end, _ in of.moments), abs=0.1)
        there = [row is not None for row in lane["probs"]["fused"]]
        mean = np.average([row for row in lane["probs"]["fused"] if row], axis=0, weights=lengths[there]) / 1000
        said = [(end - start, w.probs) for start, end, w in of.moments if w.probs is not None]
        expected = np.average([p for _, p in said], axis=0, weights=[length for length, _ in said])
        np.testing.assert_allclose(mean, expected, atol=2e-3)


# In a browser

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

ACT = """
<script>
addEventListener("load", () => setTimeout(async () => {
  const say = {}, key = (k) => timeline.dispatchEvent(new KeyboardEvent("keydown", { key: k, cancelable: true }));
  const at = () => [clockOut.textContent, now.querySelectorAll(".card").length,
    timeline.getAttribute("aria-valuetext")];
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  say.colours = new Set(pixels.reduce((all, _, i) => i % 4 ? all : (all.push(
    pixels[i] << 16 | pixels[i + 1] << 8 | pixels[i + 2]), all), [])).size;
  say.wide = document.documentElement.scrollWidth <= innerWidth;
  say.start = at();
  key("ArrowRight"); say.right = at();
  key("End"); say.end = at();
  key("Home"); say.home = at();
  const box = timeline.getBoundingClientRect();
  timeline.setPointerCapture = () => {};
  const middle = box.left + GUTTER + (box.width - GUTTER) / 2;
  timeline.dispatchEvent(new PointerEvent("pointerdown", { clientX: middle }));
  say.click = at();
  key("+"); say.zoomed = [view.end - view.start, pan.hidden];
  key("0"); say.all = [view.end - view.start, pan.hidden];
  const button = document.querySelectorAll("#segments button")[1];
  if (button) { button.click(); say.button = [button.dataset.t, time]; }
  say.marked = document.querySelectorAll("#segments tr.at").length;
  say.duration = media.duration; say.lost = document.getElementById("lost").hidden;
  if (media.readyState) {
    seek(1.5); await wait(500); say.media = media.currentTime;
    media.muted = true; await media.play(); await wait(1200); media.pause(); await wait(200);
    say.played = [media.currentTime, time];
  }
  console.log("said " + JSON.stringify(say));
}, 300));
</script>
"""


def browse(path: Path, tmp_path: Path, width: int = 1000) -> tuple[dict, str]:
    """What a script finds that uses the page, and what the browser complains about."""
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", ACT + "</body>"), encoding="utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --enable-logging=stderr --v=0 "
        f"--autoplay-policy=no-user-gesture-required --window-size={width},1200"
    ).split()
    command = [BROWSER, *flags, f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
    complaints = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as browser:
        limit = threading.Timer(120, browser.terminate)
        limit.start()
        try:
            for line in browser.stderr:
                if said := re.search(r'CONSOLE.*"said (.*)", source:', line):
                    return json.loads(said[1]), "\n".join(complaints)
                if "CONSOLE" in line:
                    complaints.append(line)
        finally:
            limit.cancel()
            browser.terminate()
    pytest.fail(f"the page said nothing: {complaints}")


needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")


@needs_browser
@pytest.mark.parametrize("width", [1000, 500])
def test_timeline_in_a_browser(tmp_path, width):
    scene = make_scene()
    said, complaints = browse(write(scene, tmp_path / "x.html"), tmp_path, width)
    assert complaints.count("\n") == 0  # none but that there is no such video
    assert said["colours"] > len(scene.labels)
    assert said["wide"], "the page is wider than the screen"
    assert said["start"][:2] == ["0:00.0 of 0:40.0", 2]
    first = [p for p in scene.predictions if p.start == 0]
    words = ", ".join(f"{person_name(p.person)} {p.label} {percent(p.confidence)}" for p in first)
    assert said["start"][2] == f"0:00.0: {words}"
    assert said["right"][0] == "0:01.0 of 0:40.0"
    assert said["end"][0] == "0:40.0 of 0:40.0"
    assert said["end"][1] == 0
    assert said["home"] == said["start"]
    assert said["click"][0] == "0:20.0 of 0:40.0"
    assert said["zoomed"] == [20, False]
    assert said["all"] == [40, True]
    assert float(said["button"][0]) == said["button"][1]
    assert said["marked"] > 0
    assert said["lost"] is False


@needs_browser
def test_player_and_timeline_keep_time(tmp_path):
    video = Path(shutil.copyfile(SAMPLE, tmp_path / "odd #name?%20 'x'.mp4"))
    scene = make_scene(6, path=str(video))
    said, complaints = browse(write(scene, tmp_path / "out" / "x.html"), tmp_path)
    assert complaints == ""
    assert said["lost"] is True
    assert said["duration"] == pytest.approx(5.7, abs=0.2)
    assert said["media"] == pytest.approx(1.5, abs=0.05)
    assert said["played"][0] > 1.8
    assert said["played"][1] == pytest.approx(said["played"][0], abs=0.05)
