"""The page in a real browser: from a file to its result, and everything that can be done with it."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time

import numpy as np
import pytest
from conftest import SAMPLE
from made_results import make_scene

pytest.importorskip("fastapi", reason="needs avser[app]")
pytest.importorskip("httpx", reason="needs httpx")
pytest.importorskip("playwright", reason="needs playwright")

from app_server import serving
from playwright import sync_api as playwright

from avser.app.choices import Choice, revised
from avser.app.jobs import Job, Recording
from avser.app.view import view
from avser.options import Options
from avser.writers.page_data import page_data

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --autoplay-policy=no-user-gesture-required "
    "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
)
LIMIT = 120_000

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def server(tmp_path_factory, cache_folder):
    with serving(tmp_path_factory.mktemp("server") / "tmp", "--max-upload", 1) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=FLAGS.split())
        yield opened
        opened.close()


@pytest.fixture
def page(browser, server):
    """The page, 1100 px wide, of which nothing is complained."""
    with browser.new_context(viewport={"width": 1100, "height": 900}) as context:
        opened = context.new_page()
        opened.set_default_timeout(LIMIT)
        complaints = []
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        opened.goto(server.address)
        opened.wait_for_selector("html[data-ready]")
        yield opened
        assert not [text for text in complaints if "422" not in text]


def upload(page, path=SAMPLE) -> None:
    page.set_input_files("#file", path)


def until(page, true: str) -> None:
    """Wait until an expression is true; the page's policy forbids that it looks itself."""
    deadline = time.monotonic() + LIMIT / 1000
    while not page.evaluate(true):
        assert time.monotonic() < deadline, true
        page.wait_for_timeout(30)


def cards(page, part: str) -> list[str]:
    """The words of the cards in a part of the page."""
    return [card.inner_text() for card in page.query_selector_all(f"#{part} .card")]


def slide(page, share: int) -> None:
    page.evaluate(
        "(share) => { const v = document.getElementById('voice'); v.value = share; "
        "v.dispatchEvent(new Event('input')); }",
        share,
    )
    until(page, f"document.getElementById('shares').value.startsWith('voice {share} %')")


def test_upload_watch_change_and_download(page, server, tmp_path):
    upload(page)
    page.wait_for_selector("#result:not([hidden])")
    assert page.inner_text("#name") == "sample.mp4"
    assert page.evaluate("document.activeElement.id") == "name"
    assert "model av-base" in page.inner_text("#about")
    (now,) = cards(page, "now")
    assert "Person 1" in now
    assert all(word in now for word in ("voice", "face", "fused", "weight 48 %"))
    whole = cards(page, "overall")
    assert whole[0].startswith("The whole recording")

    # the video and the timeline move together
    page.click("#timeline", position={"x": 500, "y": 60})
    at = page.evaluate("media.currentTime")
    assert 1 < at < 5
    assert page.get_attribute("#timeline", "aria-valuenow") == f"{at:.1f}"
    page.evaluate("media.muted = true; media.play()")
    until(page, f"media.currentTime > {at + 0.3} && Math.abs(time - media.currentTime) < 0.2")
    page.evaluate("media.pause()")
    page.focus("#timeline")
    page.keyboard.press("Home")
    assert page.get_attribute("#timeline", "aria-valuenow") == "0.0"

    # another weight, and back
    slide(page, 90)
    until(page, "document.getElementById('now').innerText.includes('weight 90 %')")
    assert cards(page, "overall") != whole
    assert "Your weight" in page.inner_text("#rule")
    page.click("#own")
    until(page, "document.getElementById('now').innerText.includes('weight 48 %')")
    assert cards(page, "overall") == whole

    # one modality off
    page.uncheck("#face")
    until(page, "document.getElementById('shares').value === 'the voice alone'")
    (alone,) = cards(page, "now")
    assert "face" not in alone.split()
    assert page.is_disabled("#audio")
    assert page.is_disabled("#voice")

    with page.expect_download() as waiting:
        page.click("#downloads button:text-is('json')")
    said = json.loads(waiting.value.path().read_text())
    assert waiting.value.suggested_filename == "sample.json"
    assert said["modality"] == "audio"
    assert said["overall"]["weights"] == {"audio": 1}
    until(page, "document.getElementById('made').innerText === 'sample.json is downloaded.'")

    page.click("#forget")
    page.wait_for_selector("#result", state="hidden")
    deadline = time.monotonic() + LIMIT / 1000
    while any(path.name.startswith("recording") for path in server.kept()):
        assert time.monotonic() < deadline, "the recording is kept"


def test_two_models_and_a_narrow_screen(page, tmp_path):
    page.set_viewport_size({"width": 360, "height": 740})
    page.select_option("#beside", "audio-ravdess8")
    page.click("#sample")
    page.wait_for_selector("#result:not([hidden])")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    now = "\n".join(cards(page, "now"))
    assert "Person 1 · av-base" in now
    assert "· audio-ravdess8" in now
    assert "calm" in page.inner_text("#legend")
    assert page.locator("#downloads .formats").count() == 2
    slide(page, 10)
    until(page, "document.getElementById('now').innerText.includes('weight 10 %')")
    small = page.evaluate(
        "[...document.querySelectorAll('main button, select')].filter((b) => b.offsetParent && "
        "b.getBoundingClientRect().height < 24).map((b) => b.outerHTML)"
    )
    assert not small


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("notes.txt", b"only words", "notes.txt is damaged or no media file"),
        ("empty.mp4", b"", "empty.mp4 is empty"),
        ("big.mp4", bytes(1_100_000), "big.mp4 is larger than 1 MB"),
    ],
)
def test_bad_files(page, tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    upload(page, tmp_path / name)
    page.wait_for_selector("#error:not([hidden])")
    assert words in page.inner_text("#error")
    assert page.get_attribute("#error", "role") == "alert"
    assert page.is_hidden("#work")
    assert page.is_hidden("#result")


def test_settings_out_of_range_are_shown(page):
    page.evaluate("document.getElementById('window').value = '0'")
    upload(page)
    assert page.evaluate("document.querySelector('details').open")
    assert page.is_hidden("#work")


def test_recording_from_the_camera(page):
    page.click("#record")
    page.wait_for_selector("#camera:not([hidden])")
    assert page.evaluate("document.activeElement.id") == "begin"
    page.click("#begin")
    until(page, "document.getElementById('taken').value.includes('2 s')")
    page.click("#stop")
    page.wait_for_selector("#result:not([hidden])")
    assert page.inner_text("#name") == "recording.webm"
    assert page.is_hidden("#camera")
    assert page.evaluate("data.end") > 1
    until(page, "Number.isFinite(media.duration) && media.duration > 1")


def test_two_people(page):
    page.click("#conversation")
    page.wait_for_selector("#result:not([hidden])")
    assert page.inner_text("#name") == "conversation.mp4"
    first, second = cards(page, "now")  # at its start the first one speaks
    assert "Person 1" in first
    assert "voice" in first
    assert "Person 2" in second
    assert "voice" not in second
    page.focus("#timeline")
    page.keyboard.press("End")
    first, second = cards(page, "now")
    assert "voice" not in first
    assert "voice" in second


def test_every_control_has_a_name_and_is_reached_by_keyboard(page):
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input, select, progress, [role=slider], video')].filter((one) => "
        "!(one.innerText || one.labels?.length || one.ariaLabel || one.getAttribute('aria-labelledby') "
        "|| one.id === 'media')).map((one) => one.outerHTML)"
    )
    assert not nameless
    order = []
    for _ in range(8):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert order[:8] == ["A", "file", "record", "sample", "conversation", "model", "beside", "SUMMARY"]


# The browser's arithmetic is the server's

CHOICES = [(0.0, None), (0.3, None), (0.77, None), (1.0, None), (None, "audio"), (None, "face"), (0.5, "face")]


@pytest.mark.parametrize("smooth", [0.0, 2.0])
def test_the_page_fuses_as_the_server_does(page, smooth):
    scene = make_scene(30, people=3)
    scene = dataclasses.replace(scene, options=Options("fused", smooth=smooth))
    fusion = {"rule": "weighted", "voice": 0.4, "sharpness": 1.7}
    job = Job("x", Recording(scene.path, "a.mp4", 1), "m", scene.options)
    made = view(job, scene, fusion)
    for voice, without in CHOICES:
        found = page.evaluate(
            "async ([made, choice]) => (await import('./page/fusion.js')).revised(made, choice)",
            [made, {"voice": voice, "without": without}],
        )
        expected = page_data(revised(scene, Choice(voice, without), fusion["sharpness"]))
        for lane, other in zip(found["lanes"], expected["lanes"], strict=True):
            assert lane["times"] == other["times"]
            assert lane["segments"] == other["segments"]
            for i, row in enumerate(other["probs"].get("fused", [None] * len(other["times"]))):
                mine = lane["probs"]["fused"][i] if i < len(lane["probs"]["fused"]) else None
                assert (mine is None) == (row is None)
                if row is not None:
                    np.testing.assert_allclose(mine, row, atol=0.6)  # thousandths, rounded by the server
            for name in other["weights"]:
                np.testing.assert_allclose(
                    [w or 0 for w in lane["weights"][name]], [w or 0 for w in other["weights"][name]], atol=0.6
                )
            reasons = [None if r is None else found["words"][r] for r in lane["reasons"]]
            assert reasons == [None if r is None else expected["words"][r] for r in other["reasons"]]
