"""A miniature corpus of videos, laid out as the folder corpus is: the emotion shows in sound and picture."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np
from corpora import EMOTIONS, RATE, make_sound, write_wav
from skimage.data import astronaut

from avser.media import ffmpeg_binary

PEOPLE = ("anna", "bert", "cleo", "dora", "emil", "fritz", "gina")
FPS, SIDE = 10, 160
VIEW = (225, 120, 110)  # centre x, y and half the side of what is shown of the portrait, px


def paint(portrait: np.ndarray, emotion: str) -> np.ndarray:
    """The portrait with the emotion painted on: a wide mouth, dark cheeks, or a striped forehead."""
    picture = portrait.copy()
    if emotion == "happy":
        cv2.ellipse(picture, (225, 152), (20, 9), 0, 0, 360, (250, 250, 250), -1)
    elif emotion == "sad":
        for x in (198, 252):
            cv2.circle(picture, (x, 135), 11, (40, 40, 40), -1)
    else:
        for y in range(62, 86, 8):
            cv2.line(picture, (195, y), (255, y), (20, 20, 20), 3)
    return picture


def film(emotion: str, person: int, frames: int, rng: np.random.Generator) -> np.ndarray:
    """A portrait that sways, (N, SIDE, SIDE, 3) uint8; people differ in light, contrast and side."""
    portrait = paint(astronaut(), emotion)
    portrait = np.clip(portrait * (0.7 + 0.08 * person) + 6 * person, 0, 255).astype(np.uint8)
    pictures = []
    for number in range(frames):
        x = VIEW[0] + 3 * np.sin(number / 2) + rng.normal(0, 0.5)
        y, reach = VIEW[1] + rng.normal(0, 0.5), VIEW[2] + 2 * person
        scale = SIDE / (2 * reach)
        matrix = np.float32([[scale, 0, SIDE / 2 - x * scale], [0, scale, SIDE / 2 - y * scale]])
        picture = cv2.warpAffine(portrait, matrix, (SIDE, SIDE), flags=cv2.INTER_AREA)
        pictures.append(picture[:, ::-1] if person % 2 else picture)
    return np.stack(pictures)


def write_clip(path: Path, pictures: np.ndarray | None, samples: np.ndarray | None) -> Path:
    """A video of pictures (N, H, W, 3) and sound (S,), or of one of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [ffmpeg_binary(), "-nostdin", "-y", "-loglevel", "error"]
    with tempfile.TemporaryDirectory() as folder:
        if pictures is not None:
            height, width = pictures.shape[1:3]
            raw = Path(folder) / "pictures.rgb"
            raw.write_bytes(np.ascontiguousarray(pictures).tobytes())
            command += [
                "-f",
                "rawvideo",
                "-pix_fmt",
                "rgb24",
                "-s",
                f"{width}x{height}",
                "-r",
                f"{FPS}",
                "-i",
                raw,
            ]
        if samples is not None:
            command += ["-i", write_wav(Path(folder) / "sound.wav", samples)]
        command += ["-c:v", "mpeg4", "-q:v", "2", "-c:a", "pcm_s16le", "-fflags", "+bitexact", path]
        subprocess.run(list(map(str, command)), check=True)
    return path


def make_av_corpus(root: Path, clips: int = 2, seed: int = 0) -> Path:
    """Each of `PEOPLE` with `clips` of each emotion, as `happy/anna_0.mkv`; some lack a stream.

    The first clip of gina is without a picture, that of fritz without sound.
    """
    rng = np.random.default_rng(seed)
    for emotion in EMOTIONS:
        for person, name in enumerate(PEOPLE):
            for number in range(clips):
                samples = make_sound(emotion, rng)
                pictures = film(emotion, person, max(5, round(FPS * len(samples) / RATE)), rng)
                lacking = name if number == 0 else None
                write_clip(
                    root / emotion / f"{name}_{number}.mkv",
                    None if lacking == "gina" else pictures,
                    None if lacking == "fritz" else samples,
                )
    return root
