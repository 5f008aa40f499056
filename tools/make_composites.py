"""Makes videos of several people, for which it is known who is where, when, and who is heard.

Clips of single people are put together in one picture: side by side like a call, one after another with hard cuts,
with gaps of black and silence, with somebody who leaves and comes back, with people who cross or come nearer. One
person is heard at a time, in turns. Beside each `<layout>.mp4` comes a `<layout>.json` that tells the truth:

    {"fps", "width", "height", "duration",
     "people": [name],
     "shots":  [time of each hard cut, s],
     "shown":  [{"person", "start", "end", "from": [x1, y1, x2, y2], "to": [...]}],
     "heard":  [{"person", "start", "end"}],
     "listeners": "talking" | "still"}

A picture that moves goes evenly `from` one box (pixels) `to` another; where pictures overlap, later ones lie in
front. Mouths move as the clips have it: with `--listeners still`, only that of the person who is heard.

    python tools/make_composites.py --out composites anna=clips/anna bert=clips/bert.mp4 'carl=clips/c.mov@0-2.4'
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import json
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from composite_layouts import GAP, HEIGHT, LAYOUTS, SHOT, WIDTH, Box, Plan

from avser.media import NoStreamError, ffmpeg_binary, iter_frames, read_audio
from avser.types import MediaError

FPS, RATE = 25, 48000
BACKGROUND = 40  # grey of what no picture covers

Turn = tuple[str, float, float]  # who is heard, from when to when


class Reel:
    """All clips of one person one after another, again and again.

    Args:
        clips: (path, start, end) of each; end None for all of it.
        seconds: how much is wanted; further clips are not read.
    """

    def __init__(self, name: str, clips: list[tuple[Path, float, float | None]], seconds: float) -> None:
        self.name = name
        self.times: list[float] = []
        self.pictures: list[np.ndarray] = []
        self.length = 0.0
        sounds = []
        self.has_sound = False
        for path, start, end in clips:
            frames = list(iter_frames(path, fps=FPS, height=HEIGHT, start=start, end=end))
            begin = frames[0].time
            length = frames[-1].time + (frames[-1].time - begin) / max(len(frames) - 1, 1) - begin
            self.times += [self.length + frame.time - begin for frame in frames]
            self.pictures += [frame.image for frame in frames]
            self.length += length
            sound = np.zeros(round(self.length * RATE) - sum(map(len, sounds)), np.float32)
            try:
                track = read_audio(path, RATE, begin, begin + length)
                held = track.samples[: len(sound)]
                sound[: len(held)] = held
                self.has_sound = True
            except NoStreamError:
                pass
            sounds.append(sound)
            if self.length >= seconds:
                break
        self.samples = np.concatenate(sounds)

    def picture(self, clock: float) -> np.ndarray:
        """The picture at a second of the reel."""
        return self.pictures[max(bisect.bisect_right(self.times, clock % self.length + 1e-6) - 1, 0)]

    def sound(self, clock: float, count: int) -> np.ndarray:
        """So many samples from a second of the reel on."""
        first = round(clock * RATE)
        return self.samples[np.arange(first, first + count) % len(self.samples)]


def heard(
    plan: Plan, reels: dict[str, Reel], turn: float, offscreen: str | None
) -> list[tuple[str, float, float]]:
    """Who is heard from when to when: those who are shown, in turns; silence where nobody is."""
    edges = sorted({0.0, plan.duration, *(t for part in plan.parts for t in (part.start, part.end))})
    stretches, last = [], ""
    for start, end in itertools.pairwise(edges):
        count = max(round((end - start) / turn), 1)
        for i in range(count):
            begin, stop = start + i * (end - start) / count, start + (i + 1) * (end - start) / count
            present = {p.person for p in plan.parts if p.start <= begin < p.end}
            voices = [name for name in reels if reels[name].has_sound and (name in present or name == offscreen)]
            if not present or not voices:
                continue
            later = [name for name in voices if name > last]
            last = min(later or voices)  # round robin by name
            stretches.append((last, begin, stop))
    return stretches


def spoken_before(stretches: list[Turn], person: str, time: float) -> float:
    """How long a person was heard before a time, s: the clock of somebody who moves only while heard."""
    return sum(min(end, time) - start for name, start, end in stretches if name == person and start < time)


def pictures(plan: Plan, reels: dict[str, Reel], clock: Callable[[str, float], float]) -> Iterator[np.ndarray]:
    """The frames, (HEIGHT, WIDTH, 3) uint8 RGB."""
    for number in range(round(plan.duration * FPS)):
        time = number / FPS + 1e-6
        dark = any(start <= time < end for start, end in plan.black)
        canvas = np.full((HEIGHT, WIDTH, 3), 0 if dark else BACKGROUND, np.uint8)
        for part in plan.parts:
            if part.start <= time < part.end:
                place(canvas, reels[part.person].picture(clock(part.person, time)), part.box(time))
        yield canvas


def inside(shape: tuple[int, ...], box: Box | np.ndarray) -> list[int]:
    """The largest box (xyxy, pixels) of a picture's aspect in the middle of another box."""
    x1, y1, x2, y2 = box
    scale = min((x2 - x1) / shape[1], (y2 - y1) / shape[0])
    width, height = scale * shape[1], scale * shape[0]
    x, y = (x1 + x2 - width) / 2, (y1 + y2 - height) / 2
    return [round(v) for v in (x, y, x + width, y + height)]


def place(canvas: np.ndarray, picture: np.ndarray, box: np.ndarray) -> None:
    """Paints a picture into a box of the canvas, in its own aspect."""
    x1, y1, x2, y2 = inside(picture.shape, box)
    shrinks = x2 - x1 < picture.shape[1]
    size = (max(x2 - x1, 1), max(y2 - y1, 1))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    left, top = max(-x1, 0), max(-y1, 0)
    view = canvas[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    view[:] = small[top : top + view.shape[0], left : left + view.shape[1]]


def write(path: Path, frames: Iterator[np.ndarray], samples: np.ndarray) -> None:
    """Encodes frames and sound (S,) as H.264 and AAC."""
    sound = path.with_suffix(".wav")
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    command = [ffmpeg_binary(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "-", "-i", f"file:{sound}", "-threads", "1"]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    encoder = subprocess.Popen([*command, "-movflags", "+faststart", f"file:{path}"], stdin=subprocess.PIPE)
    for frame in frames:
        encoder.stdin.write(frame.tobytes())
    encoder.stdin.close()
    code = encoder.wait()
    sound.unlink()
    if code:
        sys.exit(f"ffmpeg could not write {path}: its message is above")


def make(name: str, out: Path, plan: Plan, reels: dict[str, Reel], settings: argparse.Namespace) -> None:
    """Writes one composite and its truth."""
    stretches = heard(plan, reels, settings.turn, settings.offscreen) if settings.sound == "turns" else []
    still = settings.listeners == "still"

    def clock(person: str, time: float) -> float:
        return spoken_before(stretches, person, time) if still else time

    samples = np.zeros(round(plan.duration * RATE), np.float32)
    for person, start, end in stretches:
        first, last = round(start * RATE), round(end * RATE)
        samples[first:last] = reels[person].sound(clock(person, start), last - first)
    shown = [
        {
            "person": part.person,
            "start": part.start,
            "end": part.end,
            "from": inside(reels[part.person].pictures[0].shape, part.first),
            "to": inside(reels[part.person].pictures[0].shape, part.last),
        }
        for part in plan.parts
    ]
    truth = {"fps": FPS, "width": WIDTH, "height": HEIGHT, "duration": plan.duration}
    truth |= {"people": list(dict.fromkeys(part.person for part in plan.parts)), "shots": list(plan.shots)}
    truth |= {"shown": shown, "heard": [{"person": p, "start": s, "end": e} for p, s, e in stretches]}
    truth["listeners"] = settings.listeners
    write(out / f"{name}.mp4", pictures(plan, reels, clock), samples)
    (out / f"{name}.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    print(f"{out / name}.mp4: {plan.duration:.1f} s, {', '.join(truth['people'])}")


def read_people(named: list[str]) -> dict[str, list[tuple[Path, float, float | None]]]:
    """Clips by person from `name=file`, `name=folder` or `name=file@start-end`."""
    people: dict[str, list[tuple[Path, float, float | None]]] = {}
    for text in named:
        name, given, path = text.partition("=")
        path, cut, span = path.partition("@")
        start, _, end = span.partition("-")
        source = Path(path)
        files = sorted(p for p in source.iterdir() if p.is_file()) if source.is_dir() else [source]
        if not given or not files or not files[0].is_file():
            sys.exit(f"{text!r} names no clip: write name=file, name=folder or name=file@start-end")
        people.setdefault(name, []).extend((f, float(start), float(end)) if cut else (f, 0.0, None) for f in files)
    return people


def main() -> None:
    parser = argparse.ArgumentParser(description="Make videos of several people for which the truth is known.")
    parser.add_argument("people", nargs="+", help="name=file, name=folder, name=file@start-end; the order counts")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--layouts", default=",".join(LAYOUTS), help="which, with commas between")
    parser.add_argument("--seconds", type=float, default=12.0, help="length of a composite")
    parser.add_argument("--turn", type=float, default=3.0, help="how long one person is heard, s")
    parser.add_argument("--sound", choices=("turns", "none"), default="turns", help="one at a time, or silence")
    parser.add_argument("--listeners", choices=("talking", "still"), default="talking", help="who is not heard")
    parser.add_argument("--offscreen", help="name of somebody who takes turns in being heard and is never seen")
    settings = parser.parse_args()
    names = settings.layouts.split(",")
    if unknown := [name for name in names if name not in LAYOUTS]:
        sys.exit(f"there is no layout {unknown[0]!r}: choose from {', '.join(LAYOUTS)}")
    settings.out.mkdir(parents=True, exist_ok=True)
    try:
        people = read_people(settings.people)
        longest = max(settings.seconds, 2 * len(people) * (SHOT + GAP))
        reels = {name: Reel(name, clips, longest) for name, clips in people.items()}
    except MediaError as error:
        sys.exit(str(error))
    if settings.offscreen is not None and settings.offscreen not in reels:
        sys.exit(f"--offscreen {settings.offscreen}: nobody of this name is given")
    seen = [name for name in reels if name != settings.offscreen]
    for name in names:
        needed, plan = LAYOUTS[name]
        if len(seen) < needed:
            print(f"{name} left out: it needs {needed} people, {len(seen)} are given")
        else:
            make(name, settings.out, plan(seen, settings.seconds), reels, settings)


if __name__ == "__main__":
    main()
