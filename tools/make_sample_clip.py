"""Makes the sample clips in `tests/data`: a public-domain portrait that moves and speaks.

The picture is scikit-image's astronaut (Eileen Collins, NASA, public domain), moved by a slow zoom, a tilt of the
head and a mouth that opens with the loudness of the voice. `conversation` shows her twice, the second time turned
round and in other colours; one speaks after the other. The voices are espeak-ng's, which has to be installed to
rebuild the clips (Debian and Ubuntu: `apt-get install espeak-ng`). The same versions give the same file.

    python tools/make_sample_clip.py sample
    python tools/make_sample_clip.py conversation --out two.mp4
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
from skimage.data import astronaut

SENTENCES = {
    "sample": [("en-us+f3", "Good morning. This is a short test of the voice, and of the face.")],
    "conversation": [
        ("en-us+f3", "Good morning! How did it go?"),
        ("en-us+m7", "Oh, it was wonderful, thank you."),
    ],
}
"""What is said in each clip, one after the other: a voice and its sentence."""
WORDS_PER_MINUTE = 140
FPS, WIDTH, HEIGHT = 25, 480, 360
PAUSE = 0.4  # silence before and after a sentence, in s
OTHER_COLOURS = np.array([0.8, 0.62, 0.55])  # of the second person, as shares of the first one's RGB
WIDER = 1.5  # how much wider two people open their mouths, so that it is plain who speaks

# Places in the portrait, in its pixels.
VIEW = (232.0, 132.0, 340.0)  # centre x, y and width of what is shown at first
NECK = (226.0, 195.0)
LIPS = (225.0, 148.0)
LIP_WIDTH, CHIN, GAPE = 17.0, 182.0, 6.0  # half width of the mouth, the chin's y, widest opening
INSIDE_OF_MOUTH = np.array([60, 22, 24], np.float32)


def speak(voice: str, sentence: str) -> tuple[np.ndarray, int]:
    """A sentence as int16 samples (S,) with a pause around it, and their rate in Hz."""
    if shutil.which("espeak-ng") is None:
        sys.exit("espeak-ng is missing: install it (Debian and Ubuntu: apt-get install espeak-ng) and try again")
    command = ["espeak-ng", "-v", voice, "-s", str(WORDS_PER_MINUTE), "--stdout", sentence]
    sound = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(sound)) as file:
        rate = file.getframerate()
    samples = np.frombuffer(sound[44:], "<i2")  # the header of a stream does not know its length
    pause = np.zeros(round(PAUSE * rate), np.int16)
    return np.concatenate([pause, samples, pause]), rate


def mouth_opening(samples: np.ndarray, rate: int) -> np.ndarray:
    """How far the mouth is open in each frame, (N,) from 0 to 1: the loudness, slightly smoothed."""
    step = rate / FPS
    edges = np.round(np.arange(int(len(samples) / step) + 1) * step).astype(int)
    loudness = np.array([np.sqrt(np.mean(np.square(samples[a:b], dtype=np.float64))) for a, b in pairwise(edges)])
    loudness = np.convolve(loudness, (0.25, 0.5, 0.25), "same")
    return np.clip(loudness / np.percentile(loudness, 95), 0, 1)


def frames(opening: np.ndarray) -> Iterator[np.ndarray]:
    """The pictures of the clip, (HEIGHT, WIDTH, 3) uint8 RGB."""
    portrait = astronaut()
    columns, rows = np.meshgrid(np.arange(WIDTH) - WIDTH / 2, np.arange(HEIGHT) - HEIGHT / 2)
    for number, open_by in enumerate(opening):
        time = number / FPS
        centre_x, centre_y, width = VIEW
        scale = width / WIDTH * (1 - 0.10 * number / len(opening))  # the zoom, portrait pixels per pixel
        x = centre_x + 4 * np.sin(2 * np.pi * time / 5.3) + columns * scale
        y = centre_y - 6 * number / len(opening) + rows * scale
        x, y = tilt_head(x, y, np.radians(3.0) * np.sin(2 * np.pi * time / 2.9))
        y, gap = open_mouth(x, y, GAPE * open_by)
        image = cv2.remap(portrait, np.float32(x), np.float32(y), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        image = image * (1 - gap) + INSIDE_OF_MOUTH * gap
        yield np.clip(np.round(image), 0, 255).astype(np.uint8)


def beside(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The middle halves of two pictures (H, W, 3) uint8 side by side, (H, W, 3): the second as another person."""
    left, right = (picture[:, WIDTH // 4 : WIDTH // 4 + WIDTH // 2] for picture in (first, second[:, ::-1]))
    return np.hstack([left, np.round(right * OTHER_COLOURS).astype(np.uint8)])


def tilt_head(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Turns places around the neck: the head fully, the shoulders not at all, in radians."""
    share = np.clip((NECK[1] + 25 - y) / 70, 0, 1)
    turn = angle * share * share * (3 - 2 * share) * np.exp(-(((x - NECK[0]) / 170) ** 2))
    dx, dy = x - NECK[0], y - NECK[1]
    return NECK[0] + np.cos(turn) * dx - np.sin(turn) * dy, NECK[1] + np.sin(turn) * dx + np.cos(turn) * dy


def open_mouth(x: np.ndarray, y: np.ndarray, gape: float) -> tuple[np.ndarray, np.ndarray]:
    """Moves the lower lip and the chin down by up to `gape` pixels.

    Returns:
        The new y of each place, and the share (H, W, 1) of the dark between the lips.
    """
    arch = LIPS[1] - 5.5 * ((x - LIPS[0]) / LIP_WIDTH) ** 2  # the edge of the upper teeth, a smile
    drop = gape * np.clip(1 - ((x - LIPS[0]) / LIP_WIDTH) ** 2, 0, 1)
    below = y - arch
    gap = np.clip(below + 0.5, 0, 1) * np.clip(drop - below, 0, 1)
    fade = np.clip((CHIN + 12 - y) / (CHIN + 12 - LIPS[1]), 0, 1)
    moved = np.where(below > 0, np.maximum(y - drop * fade, np.minimum(arch, y)), y)
    return moved, gap[..., None]


def write(pictures: Iterator[np.ndarray], samples: np.ndarray, rate: int, out: Path) -> None:
    """Encodes pictures and sound as H.264 and AAC."""
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "voice.wav"
        with wave.open(str(sound), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(samples.tobytes())
        command = [shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error"]
        command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "-"]
        command += ["-i", str(sound), "-map", "0:v", "-map", "1:a", "-map_metadata", "-1", "-threads", "1"]
        command += ["-c:v", "libx264", "-preset", "veryslow", "-crf", "26", "-pix_fmt", "yuv420p", "-g", "50"]
        command += ["-c:a", "aac", "-b:a", "64k", "-ar", "44100", "-fflags", "+bitexact", "-flags", "+bitexact"]
        command += ["-movflags", "+faststart", str(out)]
        encoder = subprocess.Popen(command, stdin=subprocess.PIPE)
        for picture in pictures:
            encoder.stdin.write(picture.tobytes())
        encoder.stdin.close()
        if encoder.wait():
            sys.exit(f"ffmpeg could not write {out}: its message is above")


def pictures_of(voices: list[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """The pictures of a clip in which one person speaks, or two do, one after the other.

    Args:
        voices: int16 samples of each, (S,).
    """
    if len(voices) == 1:
        return frames(mouth_opening(voices[0], rate))
    silences = [np.zeros_like(voice) for voice in voices]
    spoken = [np.concatenate([voices[0], silences[1]]), np.concatenate([silences[0], voices[1]])]
    return map(beside, *(frames(WIDER * mouth_opening(samples, rate)) for samples in spoken))


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a sample clip from a portrait and synthetic voices.")
    parser.add_argument("name", nargs="?", choices=SENTENCES, default="sample")
    parser.add_argument("--out", type=Path, help="where to write it, instead of tests/data")
    args = parser.parse_args()
    out = args.out or Path(f"tests/data/{args.name}.mp4")
    spoken = [speak(*said) for said in SENTENCES[args.name]]
    voices, rate = [samples for samples, _ in spoken], spoken[0][1]
    out.parent.mkdir(parents=True, exist_ok=True)
    write(pictures_of(voices, rate), np.concatenate(voices), rate, out)
    print(f"{out}: {sum(map(len, voices)) / rate:.1f} s, {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
