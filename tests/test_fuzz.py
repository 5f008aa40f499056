"""A few hundred damaged copies of small files of every container; `tools/fuzz_media.py` does it at length."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import encoders

TOOLS = Path(__file__).parents[1] / "tools"

SAMPLES = {
    "a.mp4": ("mpeg4", "aac"),
    "b.mov": ("mpeg4", "pcm_s16le"),
    "c.mkv": ("mpeg4", "flac"),
    "d.webm": ("libvpx", "libopus"),
    "e.avi": ("mjpeg", "pcm_s16le"),
    "f.ts": ("mpeg2video", "mp2"),
    "g.mpg": ("mpeg1video", "mp2"),
    "h.flv": ("flv", "aac"),
    "i.wav": (None, "pcm_s16le"),
    "j.ogg": (None, "flac"),
    "k.mp3": (None, "libmp3lame"),
}
"""Names of the small files, with the encoders of picture and sound."""

ROUNDS = 300


@pytest.fixture(scope="module")
def fuzz():
    """The tool as a module; its worker finds it by the same path."""
    sys.path.insert(0, str(TOOLS))
    try:
        import fuzz_media

        yield fuzz_media
    finally:
        sys.path.remove(str(TOOLS))


@pytest.fixture(scope="module")
def samples(make_media) -> list[Path]:
    picture = ("-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=0.6")
    sound = ("-f", "lavfi", "-i", "sine=r=16000:d=0.6")
    paths = []
    for name, (video, audio) in SAMPLES.items():
        if {video, audio} - {None} <= encoders():
            rate = ("-ar", "44100") if name in ("f.ts", "g.mpg", "h.flv") else ()
            codecs = ("-c:v", video, "-c:a", audio) if video else ("-c:a", audio)
            paths.append(make_media(name, *(picture if video else ()), *sound, *codecs, *rate))
    assert len(paths) > 6
    return paths


def test_damaged_files_give_a_result_or_one_error(fuzz, samples, tmp_path):
    rounds = fuzz.fuzz(samples, seed=7, numbers=range(ROUNDS), keep=tmp_path / "kept")
    assert len(rounds) == ROUNDS
    assert not [r for r in rounds if r.failed], fuzz.report(rounds)
    assert not (tmp_path / "kept").exists()
    outcomes = [r.outcome for r in rounds]
    assert 20 < outcomes.count("result") < ROUNDS - 20  # neither harmless nor hopeless
    assert len(set(outcomes)) > 8


def test_every_mutation_is_repeatable_and_does_something(fuzz, samples):
    import media_mutations

    for name, mutation in media_mutations.MUTATIONS.items():
        changed = 0
        for seed, path in enumerate(samples * 4):
            data = path.read_bytes()
            other = samples[(seed + 1) % len(samples)].read_bytes()
            first, again = (bytes(mutation(bytearray(data), other, random.Random(seed))) for _ in range(2))
            assert first == again
            changed += first != data
        assert changed > len(samples), f"{name}: {changed}"
    assert fuzz.damaged(samples, 1, 5) == fuzz.damaged(samples, 1, 5)
    assert fuzz.damaged(samples, 1, 5) != fuzz.damaged(samples, 2, 5)


@pytest.mark.skipif(sys.platform != "linux", reason="what is left behind is told by /proc")
def test_what_breaks_the_promise_is_seen(fuzz, samples, tmp_path):
    """A round without end and a worker that dies are failures; so is each thing that may be left."""
    worker = fuzz.Worker(samples, 1, False)
    try:
        assert worker.ask(0, 0.0) == ("hang", True)
        worker.process.kill()
        worker.process.join()
        answers = [worker.ask(1, 1.0) for _ in range(2)]  # the first may be what it had still said
        assert answers[-1] == ("crash: exit code -9", True)
    finally:
        worker.end()
    before = fuzz.Held.now()
    with subprocess.Popen(["sleep", "9"]) as child:
        assert str(child.pid) in fuzz.left_behind(tmp_path, before)
        child.kill()
    with (tmp_path / "a").open("w"):
        assert "open files" in fuzz.left_behind(tmp_path, before)
    assert fuzz.left_behind(tmp_path, before) == ""
    (tmp_path / "b").touch()
    assert fuzz.left_behind(tmp_path, before) == "files ['a', 'b']"
