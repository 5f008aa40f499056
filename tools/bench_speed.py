"""Measures how fast prediction is, stage by stage, beside the bare decode of the same file and what others do.

    python tools/bench_speed.py --clips FOLDER
    python tools/bench_speed.py --clips FOLDER --long --workers --runs 7 --json speed.json

Of the clips in the folder the first of 720p with sound is taken, and the first of 1080p, or else the other one
enlarged; what others do is measured on the first alone. All contestants run one after the other, again and again,
in one process that has loaded everything; a start from cold is measured in processes of their own. Times are CPU
time, of ffmpeg too, and elapsed time: on a machine that does other work only the first, and its ratios, mean much.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from bench_memory import looped
from stopwatch import STAGES, Stopwatch

import avser.batch.progress  # noqa: F401 (so that it is loaded before anything is measured)
from avser import branches, media, recognizer, windows, writers
from avser.batch.workers import cores
from avser.media import headers
from avser.media.paths import url

LONG = 600.0
"""Length of the long video, s."""
COLD = 3.0
"""Length of the clip for starts from cold, s."""
COPIES = 16
"""Files that workers share."""


def timed(work: Callable[[], object]) -> dict[str, float]:
    """CPU time of this process, CPU time of those that it started and that have ended, and elapsed time, in s."""
    before, start = os.times(), time.perf_counter()
    work()
    after = os.times()
    own = after.user + after.system - before.user - before.system
    others = after.children_user + after.children_system - before.children_user - before.children_system
    return {"own": own, "ffmpeg": others, "cpu": own + others, "wall": time.perf_counter() - start}


def bare(path: Path, fps: float) -> None:
    """The limit: ffmpeg decodes both streams to what prediction takes of them, and nobody takes it."""
    height = f"min(ih\\,{branches.LOOK_HEIGHT})"
    pictures = ["-map", "0:v:0", "-vf", f"fps={fps:g},scale=-2:{height}:flags=area,format=rgb24", "-f", "rawvideo"]
    sound = ["-map", "0:a:0?", "-ar", "16000", "-ac", "1", "-f", "f32le"]
    command = [media.ffmpeg_binary(), "-v", "error", "-nostdin", "-y", "-threads", str(media.THREADS)]
    subprocess.run([*command, "-i", url(path), *pictures, os.devnull, *sound, os.devnull], check=True)


def frame_by_frame(path: Path, model: recognizer.Recognizer) -> None:
    """Every frame by itself: OpenCV reads it, its Haar cascade finds faces, and a network takes one at a time."""
    cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"))
    branch, video = model.checkpoint.branches["face"], cv2.VideoCapture(str(path))
    size = branch.config.face.size
    while (read := video.read())[0]:
        grey = cv2.cvtColor(read[1], cv2.COLOR_BGR2GRAY)
        for x, y, w, h in cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(50, 50)):
            crop = cv2.resize(read[1][y : y + h, x : x + w, ::-1], (size, size))
            with torch.inference_mode():
                branch.network.frames(torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255)
    video.release()


def by_fer(path: Path) -> None:
    """What `fer` does at its defaults, on every frame."""
    from fer import FER

    detector, video = FER(), cv2.VideoCapture(str(path))
    while (read := video.read())[0]:
        detector.detect_emotions(read[1])
    video.release()


def by_librosa(path: Path) -> None:
    """The features that most systems for the voice take from librosa, in the same windows."""
    import librosa

    track = media.read_audio(path)
    for start, end in windows.window_grid(track.end, 3.0, 1.0):
        sound = track.between(start, end).samples
        for feature in (librosa.feature.mfcc, librosa.feature.chroma_stft, librosa.feature.melspectrogram):
            np.mean(feature(y=sound, sr=track.rate), axis=1)


def find_clips(folder: Path, scratch: Path, long: bool) -> dict[str, Path]:
    """The clips to measure on, by name."""
    infos = [media.probe(path) for path in media.find_media(folder)]
    by_height = {}
    for info in infos:
        if info.has_video and info.has_audio:
            by_height.setdefault(min(info.width, info.height), info.path)
    if 720 not in by_height:
        sys.exit(f"{folder} holds no clip of 720p with sound")
    clips = {"720p": by_height[720], "1080p": by_height.get(1080) or _enlarged(by_height[720], scratch)}
    return clips | ({"720p, long": looped(by_height[720], LONG, scratch)} if long else {})


def _enlarged(path: Path, scratch: Path) -> Path:
    target = scratch / f"{path.stem}-1080.mp4"
    command = [media.ffmpeg_binary(), "-v", "error", "-nostdin", "-y", "-i", url(path), "-vf", "scale=-2:1080"]
    subprocess.run([*command, "-c:a", "copy", "-b:v", "12M", url(target)], check=True)
    return target


def measure(model: recognizer.Recognizer, path: Path, runs: int, rivals: bool, scratch: Path) -> dict:
    """All contestants on one clip, in turn."""
    info = media.probe(path)
    fps = model.checkpoint.branches["face"].config.face.fps
    stages: list[Stopwatch] = []

    def whole() -> None:
        headers._read_header.cache_clear()  # every file is new once
        with Stopwatch() as watch:
            writers.write(model.predict(path), scratch / "result.json")
        stages.append(watch)

    contestants: dict[str, Callable[[], object]] = {"bare decode": lambda: bare(path, fps), "prediction": whole}
    if rivals:
        contestants["frame by frame (Haar cascade)"] = lambda: frame_by_frame(path, model)
        for name, package, work in (("fer", "fer", by_fer), ("librosa, voice only", "librosa", by_librosa)):
            if importlib.util.find_spec(package):
                contestants[name] = functools.partial(work, path)
    for work in contestants.values():  # once for what is loaded late
        work()
    stages.clear()
    taken = [{name: timed(work) for name, work in contestants.items()} for _ in range(runs)]
    seconds = info.duration
    table = {
        name: {
            **{kind: statistics.median(run[name][kind] for run in taken) / seconds for kind in taken[0][name]},
            "ratio_cpu": _spread([run[name]["cpu"] / run["bare decode"]["cpu"] for run in taken]),
            "ratio_wall": _spread([run[name]["wall"] / run["bare decode"]["wall"] for run in taken]),
        }
        for name in contestants
    }
    names = dict.fromkeys(name for name, _, _ in STAGES)
    parts = {n: statistics.median(watch.cpu[n] for watch in stages) / seconds for n in names}
    parts["all else"] = table["prediction"]["own"] - sum(parts.values())
    return {"duration": seconds, "contestants": table, "stages": parts | {"ffmpeg": table["prediction"]["ffmpeg"]}}


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def cold(path: Path, runs: int, scratch: Path) -> dict[str, dict[str, float]]:
    """Starts in processes of their own: Python, its imports for a prediction, and a whole `avser predict`."""
    short = looped(path, COLD, scratch)
    faces = "import numpy, avser.faces.seeing as s; s.opencv()\nwith s.later(s.UNUSED): import mediapipe"
    codes = {
        "python itself": "pass",
        "import torch": "import torch",
        "imports of prediction": f"import avser.cli, avser.batch.progress\n{faces}",
        "avser predict": "from avser.cli import main; main()",
    }
    tail = ["predict", str(short), "-o", str(scratch), "-q"]
    commands = {name: [sys.executable, "-c", code, *tail] for name, code in codes.items()}
    taken = [
        {n: timed(lambda c=c: subprocess.run(c, check=True)) for n, c in commands.items()} for _ in range(runs)
    ]
    return {n: {k: statistics.median(run[n][k] for run in taken) for k in ("cpu", "wall")} for n in commands}


def workers(path: Path, runs: int, scratch: Path) -> dict[str, float]:
    """Elapsed time for copies of a clip by one and by two processes, start-up included, and how much two gain."""
    copies = [scratch / f"copy{number}{path.suffix}" for number in range(COPIES)]
    for copy in copies:
        shutil.copyfile(path, copy)
    command = [sys.executable, "-c", "from avser.cli import main; main()", "predict", *map(str, copies), "-q"]
    commands = [[*command, "--workers", str(count)] for count in (1, 2)]
    taken = [[timed(lambda c=c: subprocess.run(c, check=True))["wall"] for c in commands] for _ in range(runs)]
    one, two = (statistics.median(walls) for walls in zip(*taken, strict=True))
    return {"one": one, "two": two, "gain": one / two}


def show(name: str, found: dict) -> None:
    print(f"\n{name}: {found['duration']:.1f} s; a second of video takes")
    print(f"  {'':32}{'CPU, ms':>9}{'elapsed, ms':>13}   times the bare decode, CPU and elapsed (least – most)")
    for contestant, took in found["contestants"].items():
        ratios = [
            f"{r['median']:6.2f} ({r['least']:.2f} – {r['most']:.2f})"
            for r in (took["ratio_cpu"], took["ratio_wall"])
        ]
        print(f"  {contestant:32}{took['cpu'] * 1000:9.1f}{took['wall'] * 1000:13.1f}   {'   '.join(ratios)}")
    print("  of prediction, CPU, ms: " + ", ".join(f"{n} {t * 1000:.1f}" for n, t in found["stages"].items()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the speed of prediction.")
    parser.add_argument("--clips", type=Path, required=True, help="folder with a clip of 720p that has sound")
    parser.add_argument("--long", action="store_true", help="ten minutes, too")
    parser.add_argument("--workers", action="store_true", help="two worker processes against one, too")
    parser.add_argument("--runs", type=int, default=5, help="how often each contestant runs")
    parser.add_argument("--model", default="av-base")
    parser.add_argument("--json", type=Path, help="file for all figures")
    args = parser.parse_args()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(
        f"{cores()} cores, load {load:.1f}, {torch.get_num_threads()} threads of torch, {args.runs} runs of each"
    )
    for package in ("fer", "deepface", "librosa"):
        if importlib.util.find_spec(package) is None:
            print(f"{package} is not installed, so it is not measured")
    if importlib.util.find_spec("deepface"):
        print("deepface is not measured: it downloads its networks when it is first used")
    figures: dict = {"cores": cores(), "load": load, "runs": args.runs, "clips": {}}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        clips = find_clips(args.clips, scratch, args.long)
        figures["cold"] = cold(clips["720p"], args.runs, scratch)
        for what, took in figures["cold"].items():
            print(f"from cold, {what}: {took['cpu']:.2f} s CPU, {took['wall']:.2f} s elapsed")
        model = recognizer.load_model(args.model)
        for what, path in clips.items():
            figures["clips"][what] = measure(model, path, args.runs, what == "720p", scratch)
            show(what, figures["clips"][what])
        if args.workers:
            figures["workers"] = workers(clips["720p"], args.runs, scratch)
            print(
                "\n{} clips: one worker {one:.1f} s, two {two:.1f} s, {gain:.2f} ×".format(
                    COPIES, **figures["workers"]
                )
            )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
