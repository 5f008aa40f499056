"""A file in real time gives what it gives at once, with a bounded delay; a slow machine drops frames."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import SAMPLE

from avser import branches, media, recognizer
from avser.live import devices, feeds
from avser.live.feeds import Clock, Feed
from avser.live.session import GRACE, LATE, Live, Source
from avser.options import Options
from avser.speech import EnvelopeFinder, SpeechFinder
from avser.types import AudioTrack, ConfigError, Frame, MediaError


@pytest.fixture(scope="module")
def model(small_models):
    return recognizer.load_model(small_models.fused)


@pytest.mark.parametrize("modality", ["fused", "audio", "face"])
def test_a_file_in_real_time_is_the_file(model, modality):
    options = Options(modality=modality, window=2.0, hop=0.8)
    began = time.monotonic()
    live = Live(model, Source(SAMPLE), options)
    moments = list(live.run())
    took = time.monotonic() - began
    wanted = model.run(SAMPLE, model.check(options))
    assert took > wanted.predictions[-1].end  # it was not read faster than it plays
    found = {(round(m.start, 3), round(m.end, 3)): m for m in moments}
    for p in wanted.predictions:
        moment = found.pop((round(p.start, 3), round(p.end, 3)), None)
        if moment is None or moment.dropped:  # a very busy machine
            continue
        (seen,) = moment.predictions
        assert seen.label == p.label
        assert seen.probs == pytest.approx(p.probs, abs=0.05 if live._dropped else 1e-4)
    assert not found
    assert len(moments) + sum(m.skipped for m in moments) == len(wanted.predictions)
    # the last window ends when its last picture does, which came at that picture's beginning
    assert all(-0.15 <= moment.delay < GRACE + LATE + 3 for moment in moments)


def test_a_slow_machine_drops_frames_and_keeps_time(model, monkeypatch):
    whole = branches.Watcher.update

    def slow(self, frame):
        time.sleep(0.4)
        whole(self, frame)

    monkeypatch.setattr(branches.Watcher, "update", slow)
    live = Live(model, Source(SAMPLE), Options(modality="face", window=1.0, hop=0.2))
    moments = list(live.run())
    assert live._dropped > 5
    assert sum(moment.dropped for moment in moments) == pytest.approx(live._dropped, abs=10)
    assert len(live._pictures._kept) <= live._pictures._kept.maxlen
    assert max(moment.delay for moment in moments) < GRACE + LATE + 3


def test_memory_does_not_grow(model, make_media):
    long = make_media("long.mkv", "-stream_loop", "1", "-i", SAMPLE, "-c", "copy")
    live = Live(model, Source(long), Options(window=1.0, hop=0.5))
    kept = []
    for _ in live.run():
        rows = len(live._watcher._seen)
        kept.append((rows, len(live._sound._kept), len(live._envelope._values)))
    face = model.checkpoint.branches["face"].config.face
    assert len(kept) > 5
    rows, blocks, values = (max(numbers) for numbers in zip(*kept, strict=True))
    assert rows <= 4 * face.fps
    assert blocks <= live._sound._kept.maxlen
    assert values <= 500  # of the envelope, 100 a second


def test_closing_ends_what_was_started(model):
    live = Live(model, Source(SAMPLE), Options(window=0.5, hop=0.5))
    before = threading.active_count()
    moments = live.run()
    next(moments)
    moments.close()
    limit = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < limit:
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_nothing_to_watch(model, audio_only):
    with pytest.raises(ConfigError, match="there is nothing to find face emotions in"):
        Live(model, Source(audio_only), Options(modality="face"))


# Devices; ffmpeg's lavfi stands in for the hardware


@pytest.mark.parametrize("kind", ["camera", "microphone"])
@pytest.mark.parametrize("name", ["/dev/nowhere", "lavfi:nowhere"])
def test_a_missing_device_is_one_sentence(kind, name):
    items = devices.camera(name, 10) if kind == "camera" else devices.microphone(name, 16000, 0.1)
    with pytest.raises(MediaError) as caught:
        next(items)
    assert str(caught.value).startswith(f"{kind} {name!r} cannot be read (")
    assert "\n" not in str(caught.value)


def test_a_camera_and_a_microphone(model):
    source = Source(camera="lavfi:testsrc=s=640x480:r=25,realtime", microphone="lavfi:sine=f=300,arealtime")
    live = Live(model, source, Options(window=1.0, hop=0.5))
    moments = list(itertools.islice(live.run(), 3))
    assert (moments[0].start, moments[0].end) == (0.0, 1.0)
    assert all(moment.delay < GRACE + LATE + 3 for moment in moments)
    for (p,) in (moment.predictions for moment in moments):
        assert set(p.modalities) <= {"audio"}
        assert p.person is None


def test_pictures_of_a_camera_fit():
    images = devices.camera("lavfi:testsrc=s=1920x1080:r=25,realtime", 10)
    image = next(images)
    images.close()
    assert image.shape == (*devices.SIZE[::-1], 3)
    assert image.std() > 20


# Speech as it is heard


def test_speech_so_far_is_that_of_the_sound_so_far():
    finders = SpeechFinder(16000), EnvelopeFinder(16000)
    whole = media.read_audio(SAMPLE)
    for block in media.iter_audio(SAMPLE, block=0.1):
        for finder in finders:
            finder.update(block)
        if 2.05 < block.end < 2.15 or 4.05 < block.end < 4.15:
            fresh = SpeechFinder(16000), EnvelopeFinder(16000)
            for finder in fresh:
                finder.update(whole.between(0.0, block.end))
            assert finders[0].so_far() == fresh[0].finish()
            assert finders[1].so_far().values == pytest.approx(fresh[1].finish().values, abs=1e-6)
    spans, envelope = finders[0].so_far(), finders[1].so_far()
    for finder in finders:
        finder.forget(3.0)
    assert finders[0].finish() == tuple(span for span in spans if span[1] > 3.0)
    late = finders[1].finish()
    assert late.start == pytest.approx(3.0, abs=0.011)
    assert late.values == pytest.approx(envelope.values[-len(late.values) :], abs=1e-6)
    times = np.arange(3.2, 5.0, 0.1)
    assert late.around(times, 0.1) == pytest.approx(envelope.around(times, 0.1), abs=1e-6)


# Feeds


def frames(*times: float):
    return (Frame(t, np.zeros((2, 2, 3), np.uint8)) for t in times)


def test_a_feed_keeps_the_latest():
    clock = Clock(1)
    feed = Feed(feeds.played_frames(frames(*np.arange(10) / 100), clock), clock, most=3)
    feed.start()
    feed.join()
    assert (feed.dropped, feed.end, feed.over) == (7, 0.09, True)
    assert [feed.take(0).time for _ in range(3)] == [0.07, 0.08, 0.09]
    assert feed.empty


def test_a_stream_that_comes_to_nothing_does_not_hold_the_other_up():
    clock = Clock(2)
    none = Feed(feeds.played_frames(frames(), clock), clock, most=3)
    sound = Feed(feeds.played_sound((AudioTrack(np.zeros(10), 100) for _ in range(1)), clock), clock, most=3)
    for feed in (sound, none):
        feed.start()
    for feed in (sound, none):
        feed.join(10)
        assert feed.over
    assert sound.end == 0.1


def test_a_microphone_is_held_to_the_clock():
    clock = Clock(1)
    blocks = (np.zeros(10, np.float32) for _ in range(6))

    def late():
        for number, block in enumerate(blocks):
            time.sleep(0.1 if number != 3 else 0.6)  # as if samples had been lost
            yield block

    starts = [track.start for track in feeds.live_sound(late(), 100, clock)]
    steps = np.diff(starts)
    assert steps[:2] == pytest.approx(0.1)
    assert steps[2] > 0.4


# The command


def test_lines_and_summary(avser_command, small_models):
    done = avser_command("live", "--file", SAMPLE, "--model", small_models.fused, "--window", "2", "--json")
    assert done.code == 0
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert lines[0].keys() == {"start", "end", "delay", "dropped", "skipped", "predictions"}
    assert lines[-1]["end"] > 5
    assert lines[0]["predictions"][0].keys() >= {"label", "probs", "person", "modalities"}
    assert "delay" in done.err
    assert "frames dropped" in done.err


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is no signal there")
def test_an_interrupt_ends_with_a_summary(small_models):
    command = [sys.executable, "-m", "avser.cli", "live", "--camera", "lavfi:testsrc=s=320x240:r=25,realtime"]
    command += ["--microphone", "lavfi:sine=f=300,arealtime", "--model", str(small_models.fused), "--window", "1"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parent.parent,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a runner in the background ignores it
    )
    first = process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert first.strip().startswith("0.0 – 1.0 s")
    assert "Traceback" not in said
    assert "frames dropped" in said.splitlines()[-1]


def test_a_missing_camera_is_misuse(avser_command, small_models):
    done = avser_command("live", "--camera", "/dev/nowhere", "--model", small_models.fused, "--modality", "face")
    assert (done.code, done.out) == (2, "")
    assert "camera '/dev/nowhere' cannot be read (there is no such device)" in done.complaint
