"""Cameras and microphones, each read by an ffmpeg of its own that is ended with its reader."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np

from avser.media import every_frame
from avser.media.processes import Process
from avser.types import MediaError

SIZE = (1280, 720)
"""Width and height in px of a camera's picture: larger ones are scaled, others get a border."""

FORMATS = {
    "camera": {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"},
    "microphone": {"linux": "alsa", "darwin": "avfoundation", "win32": "dshow"},
}
"""ffmpeg's input format by system."""

FOREVER = 10**8
"""CPU time that ffmpeg may use for a device, s."""


def camera(name: str, fps: float) -> Generator[np.ndarray]:
    """Pictures (H, W, 3) uint8 RGB of a camera as they come, at most `fps` a second.

    Args:
        name: number or name of the camera as the system has it, or FORMAT:NAME for another of ffmpeg's formats.

    Raises:
        MediaError: it cannot be read, or stops.
    """
    width, height = SIZE
    fit = f"scale='min({width},iw)':'min({height},ih)':force_original_aspect_ratio=decrease"
    middle = f"pad={width}:{height}:(ow-iw)/2:(oh-ih)/2"
    # thinned before it is scaled, and no picture is shown twice
    filters = f"select='isnan(prev_selected_t)+gte(t-prev_selected_t,{0.9 / fps:.4f})',{fit},{middle}"
    every = [part for option, value in every_frame().items() for part in (f"-{option}", value)]
    output = ["-an", "-vf", filters, "-pix_fmt", "rgb24", "-f", "rawvideo", *every]
    with _Device("camera", name, output) as device:
        while True:
            image = np.empty((height, width, 3), np.uint8)
            if device.read_into(image) < image.nbytes:
                raise device.failure()
            yield image


def microphone(name: str, rate: int, block: float) -> Generator[np.ndarray]:
    """Sound of a microphone as it comes: blocks of `block` s, (S,) float32 in [-1, 1], mono; see `camera`."""
    output = ["-vn", "-ac", "1", "-ar", str(rate), "-f", "f32le"]
    with _Device("microphone", name, output) as device:
        while True:
            samples = np.empty(round(block * rate), "<f4")
            if device.read_into(samples) < samples.nbytes:
                raise device.failure()
            yield np.nan_to_num(samples).clip(-1.0, 1.0)


class _Device(Process):
    """ffmpeg on a device."""

    def __init__(self, kind: str, name: str, output: Sequence[str]) -> None:
        self.kind, self.name = kind, name
        source = _input(kind, name)
        missing = source[-1].startswith("/dev/") and not Path(source[-1]).exists()
        if missing:
            raise self.failure("there is no such device")
        super().__init__(["-fflags", "nobuffer", *source, *output, "pipe:"], Path(name), FOREVER)

    def failure(self, why: str | None = None) -> MediaError:
        """What is said of a device that gives nothing more."""
        if why is None:
            self.wait()
            complaints = [
                m for m in self.messages if re.search("error|invalid|cannot|unknown|no such|busy", m, re.I)
            ]
            why = (
                re.sub(r"^(\[[^]]*\] *)+", "", complaints[-1]).rstrip(". ")
                if complaints
                else "it gives nothing more"
            )
        return MediaError(
            f"{self.kind} {self.name!r} cannot be read ({why}): check that it is there, that you may use it and "
            "that no other program does"
        )


def _input(kind: str, name: str) -> list[str]:
    """How ffmpeg is told to read a device.

    >>> _input("camera", "lavfi:testsrc")
    ['-f', 'lavfi', '-i', 'testsrc']
    """
    given = re.fullmatch(r"([a-z0-9_]+):(.+)", name, re.S)
    if given and given[1] in (
        "lavfi",
        "pulse",
        "jack",
        *FORMATS["camera"].values(),
        *FORMATS["microphone"].values(),
    ):
        return ["-f", given[1], "-i", given[2]]
    system = sys.platform if sys.platform in FORMATS[kind] else "linux"
    if system == "linux":
        source = f"/dev/video{name}" if kind == "camera" and name.isdigit() else name
    elif system == "darwin":
        source = f"{name}:none" if kind == "camera" else f":{name}"
    else:
        source = f"{'video' if kind == 'camera' else 'audio'}={name}"
    return ["-f", FORMATS[kind][system], "-i", source]
