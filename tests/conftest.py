"""Media made by ffmpeg for the tests, once a session.

`make_media` runs ffmpeg for one file; `flash_beep` makes clips with a white flash and a beep at known times.
Every fixture skips with a reason where this machine's ffmpeg lacks an encoder.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from avser.media import ffmpeg_binary

hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")  # how long an example takes says how busy the machine is

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a job in a shell's background, whose programs would, too
    signal.signal(signal.SIGINT, signal.default_int_handler)

SAMPLE = Path(__file__).parent / "data" / "sample.mp4"
"""A clip of 5.7 s with a face and a voice that may be shared."""

FLASH = 1.0
"""When the flash and the beep of `flash_beep` begin in the untouched streams, in s; both last 0.2 s."""


@dataclass(frozen=True)
class FlashBeep:
    """A clip with one flash and one beep, and when they begin, in s from the start of the presentation."""

    path: Path
    flash: float
    beep: float


@functools.cache
def encoders() -> frozenset[str]:
    """Names of the encoders that this machine's ffmpeg has."""
    command = [ffmpeg_binary(), "-hide_banner", "-encoders"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return frozenset(line.split()[1] for line in lines if len(line.split()) > 2)


def need_encoder(*names: str) -> str:
    """The first of these encoders that ffmpeg has; skips the test if it has none."""
    for name in names:
        if name in encoders():
            return name
    pytest.skip(f"this ffmpeg has no encoder {' or '.join(names)}")


@pytest.fixture(scope="session")
def make_media(tmp_path_factory) -> Callable[..., Path]:
    """`make_media(name, *arguments)`: run ffmpeg, writing a file of this name in a new folder."""

    def make(name: str, *arguments: str | Path) -> Path:
        path = tmp_path_factory.mktemp("media") / name
        command = [ffmpeg_binary(), "-hide_banner", "-nostdin", "-y", "-loglevel", "error", *map(str, arguments)]
        done = subprocess.run([*command, f"file:{path}"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return path

    return make


@pytest.fixture(scope="session")
def flash_beep(make_media) -> Callable[..., FlashBeep]:
    """`flash_beep(...)`: a clip of 3 s with a flash and a beep at `FLASH`.

    Arguments of the function (all but the first by name):
        name: file name, its suffix says the container.
        fps: frame rate as ffmpeg takes it, for instance `30000/1001`.
        vfr: leave out frames by an irregular pattern.
        video, audio: encoder and its options.
        video_delay, audio_delay: how much later a stream starts, in s.
        size: width x height.
        rate: sampling rate of the sound.
    """

    @functools.cache
    def make(
        name: str = "clip.mp4",
        *,
        fps: str = "25",
        vfr: bool = False,
        video: tuple[str, ...] = ("mpeg4", "-q:v", "5"),
        audio: tuple[str, ...] = ("aac",),
        video_delay: float = 0.0,
        audio_delay: float = 0.0,
        size: str = "160x120",
        rate: int = 44100,
    ) -> FlashBeep:
        when = f"between(t,{FLASH},{FLASH + 0.2})"
        picture = f"color=black:s={size}:r={fps}:d=3,drawbox=color=white:t=fill:enable='{when}'"
        if vfr:
            # of every 7 frames 4 stay, and 1.4 to 1.9 s has none
            picture += ",select='not(eq(mod(n,7),2)+eq(mod(n,7),3)+eq(mod(n,7),5))*not(between(t,1.4,1.9))'"
        sound = f"aevalsrc='0.5*sin(2*PI*880*t)*{when}:s={rate}:d=3'"
        path = make_media(
            *(name, "-itsoffset", f"{video_delay}", "-f", "lavfi", "-i", picture),
            *("-itsoffset", f"{audio_delay}", "-f", "lavfi", "-i", sound),
            *("-map", "0:v", "-map", "1:a", "-pix_fmt", "yuv420p", "-c:v", *video, "-c:a", *audio),
        )
        first = min(video_delay, audio_delay)
        return FlashBeep(path, FLASH + video_delay - first, FLASH + audio_delay - first)

    return make


@pytest.fixture(scope="session")
def video_only(make_media) -> Path:
    """A video of 1 s without a sound stream."""
    return make_media("silent_film.mp4", "-f", "lavfi", "-i", "testsrc=s=160x120:r=25:d=1", "-c:v", "mpeg4")


@pytest.fixture(scope="session")
def audio_only(make_media) -> Path:
    """A WAV file with a tone of 1 s, 16 kHz mono."""
    return make_media("tone.wav", "-f", "lavfi", "-i", "sine=f=440:r=16000:d=1", "-c:a", "pcm_s16le")


@pytest.fixture(scope="session")
def hollow_sound(flash_beep, tmp_path_factory) -> Path:
    """The clip with flash and beep, 75 pictures, whose sound stream holds nothing."""
    path = tmp_path_factory.mktemp("media") / "hollow.mkv"
    command = [ffmpeg_binary(), "-nostdin", "-i", flash_beep().path, "-c", "copy", "-bsf:a", "noise=drop=1", path]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this ffmpeg cannot drop all packets of a stream")
    return path


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with real recordings that AVSER_DATA names; skips without it."""
    root = os.environ.get("AVSER_DATA")
    if not root:
        pytest.skip("AVSER_DATA is not set: it names the folder with the real recordings")
    if not Path(root).is_dir():
        pytest.fail(f"AVSER_DATA names no folder: {root}")
    return Path(root)


# Small models and the command line


@dataclass(frozen=True)
class ModelFiles:
    """Paths of small models with random weights over basic7."""

    audio: Path
    face: Path
    fused: Path


@pytest.fixture(scope="session")
def small_models(tmp_path_factory) -> ModelFiles:
    """One model file of each kind. Sound of 0.1 s counts as speech, for the beeps of the tests are short."""
    import torch

    from avser import checkpoint, config, models
    from avser.labels import LABEL_SETS
    from avser.models.fusion import Calibration, Weighted

    folder = tmp_path_factory.mktemp("models")
    labels = LABEL_SETS["basic7"]
    networks = {
        "audio": {"name": "resnet_attention", "options": {"widths": [4, 4, 8, 8], "features": 16}},
        "face": {"name": "resnet_face", "options": {"widths": [4, 8], "blocks": [1, 1]}},
    }
    branches = {}
    for name, network in networks.items():
        values = {"name": name, "branch": name, "labels": "basic7", "corpora": [], "protocol": "final"}
        settings = config.parse_config({**values, "network": network, "audio": {"min_speech": 0.1}}, "test")
        with torch.random.fork_rng():
            torch.manual_seed(1)
            branch = models.build_model(settings).eval()
        meta = {"labels": list(labels), "corpora": ["savee"], "protocol": "none, random weights"}
        meta |= {"name": f"small-{name}", "version": "1", "temperature": 0.5, "licence": "MIT"}
        checkpoint.save_branch(folder / f"{name}.safetensors", branch, settings, meta)
        branches[name] = checkpoint.load(folder / f"{name}.safetensors").branches[name]
    calibrations = {"audio": Calibration(labels, 0.5), "face": Calibration(labels, 0.8)}
    fusion = Weighted(labels, calibrations, {"audio": 0.6, "face": 0.4}, sharpness=1.5)
    meta = {"name": "small", "version": "1", "corpora": ["savee"], "protocol": "none, random weights"}
    checkpoint.save_fused(folder / "fused.safetensors", branches, fusion, meta)
    return ModelFiles(*(folder / f"{name}.safetensors" for name in ("audio", "face", "fused")))


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The only line on stderr."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("avser: ")
        return lines[0]


@pytest.fixture
def avser_command(monkeypatch, capsys) -> Callable[..., Ended]:
    """`avser_command("predict", path, …)`: run the command line in this process, as its entry point does."""
    from avser import cli

    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["avser", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capsys.readouterr()
        return Ended(stop.value.code or 0, printed.out, printed.err)

    return run


def training_on(avser_command: Callable[..., Ended], data: Path, runs: Path) -> Callable[..., Ended]:
    """`run(config, …)`: `avser train` on a data root, into the folder `runs`."""

    def run(path: Path, *arguments: object) -> Ended:
        return avser_command("train", path, *arguments, "--data-root", data, "-o", runs, "--threads", 1)

    return run


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory) -> Path:
    """A cache that the whole session shares."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, cache_folder) -> None:
    """Nothing is written to the user's cache."""
    monkeypatch.setenv("AVSER_CACHE", str(cache_folder))
