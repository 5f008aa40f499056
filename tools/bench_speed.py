"""Measures how fast prediction is, stage by stage, beside the bare decode of the same file and what others do.

    python tools/bench_speed.py --clips FOLDER
    python tools/bench_speed.py --clips FOLDER --long --workers --runs 7 --json speed.json
    python tools/bench_speed.py --clips FOLDER --against other-venv/bin/python   # with fer or librosa in it

Of the clips in the folder the first of 720p with sound is taken, and the first of 1080p, or else the other one
enlarged; what others do is measured on the first alone. The limit and the prediction run in turn, again and
again, in one process that has loaded everything; starts from cold are measured in processes of their own, and so
is what is installed elsewhere. Times are CPU time, of ffmpeg too, and elapsed time: on a machine that does other
work only the first, and its ratios, mean much. Stages are measured apart, with nothing beside anything else.
"""

from __future__ import annotations

import argparse
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
from bench_memory import looped
from stopwatch import STAGES, Stopwatch

import avser.batch.progress  # noqa: F401 (so that it is loaded before anything is measured)
from avser import beside, branches, inputs, media, recognizer, writers
from avser.batch import affinity
from avser.media import headers
from avser.media.paths import url
from avser.runtime import cores

LONG = 600.0
"""Length of the long video unless another is given, s."""
COLD = 3.0
"""Length of the clip for starts from cold, s."""
COPIES = 64
"""Files that workers share."""
SLOW_RUNS = 3
"""Most runs of what is slow or needs no spread: the stages, the workers, an analysis frame by frame."""
LONG_FROM = 60.0
"""A video of so many s needs no run ahead of those that count."""
LONG_SHARE = 5
"""Of so many runs one is with the long video."""


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
            branch.run(inputs.pictures_of(crop[None]))
    video.release()


def find_clips(folder: Path, scratch: Path, long: float | None) -> dict[str, Path]:
    """The clips to measure on, by name."""
    infos = [media.probe(path) for path in media.find_media(folder)]
    by_height = {}
    for info in infos:
        if info.has_video and info.has_audio:
            by_height.setdefault(min(info.width, info.height), info.path)
    if 720 not in by_height:
        sys.exit(f"{folder} holds no clip of 720p with sound")
    clips = {"720p": by_height[720], "1080p": by_height.get(1080) or _enlarged(by_height[720], scratch)}
    if long:
        clips["720p, long"] = looped(_to_and_fro(by_height[720], scratch), long, scratch)
        clips["720p, long, a cut at every loop"] = looped(by_height[720], long, scratch)
    return clips


def _to_and_fro(path: Path, scratch: Path) -> Path:
    """A clip and then itself backwards: it loops without a cut."""
    target = scratch / f"{path.stem}-to-and-fro.mp4"
    turn = "[0:v:0]split[v][w];[w]reverse[x];[0:a:0]asplit[a][b];[b]areverse[c];[v][a][x][c]concat=n=2:v=1:a=1"
    command = [media.ffmpeg_binary(), "-v", "error", "-nostdin", "-y", "-i", url(path), "-filter_complex", turn]
    subprocess.run([*command, url(target)], check=True)
    return target


def _enlarged(path: Path, scratch: Path) -> Path:
    target = scratch / f"{path.stem}-1080.mp4"
    command = [media.ffmpeg_binary(), "-v", "error", "-nostdin", "-y", "-i", url(path), "-vf", "scale=-2:1080"]
    subprocess.run([*command, "-c:a", "copy", "-b:v", "12M", url(target)], check=True)
    return target


def measure(model: recognizer.Recognizer, path: Path, runs: int, frames: bool, scratch: Path) -> dict:
    """The limit and the prediction of one clip, in turn, and with `frames` what frame by frame would take."""
    info = media.probe(path)
    fps, seconds = model.checkpoint.branches["face"].config.face.fps, info.duration

    def whole() -> None:
        headers._read_header.cache_clear()  # every file is new once
        writers.write(model.predict(path), scratch / "result.json")

    contestants: dict[str, Callable[[], object]] = {"bare decode": lambda: bare(path, fps), "prediction": whole}
    for work in contestants.values() if seconds < LONG_FROM else ():  # once for what is loaded late
        work()
    taken = [{name: timed(work) for name, work in contestants.items()} for _ in range(runs)]
    limits = [run["bare decode"] for run in taken]
    table = {name: _compared([run[name] for run in taken], limits, seconds) for name in contestants}
    if frames:
        slow = [timed(lambda: frame_by_frame(path, model)) for _ in limits[:SLOW_RUNS]]
        table["frame by frame (Haar cascade)"] = _compared(slow, limits[:SLOW_RUNS], seconds)
    return {"duration": seconds, "contestants": table, "stages": stages(whole, min(runs, SLOW_RUNS), seconds)}


def _compared(runs: list[dict[str, float]], limits: list[dict[str, float]], seconds: float) -> dict:
    """Medians in s for each second of video, and how many times those of the limit."""
    found: dict = {kind: statistics.median(run[kind] for run in runs) / seconds for kind in runs[0]}
    for kind in ("cpu", "wall"):
        found[f"ratio_{kind}"] = _spread(
            [run[kind] / limit[kind] for run, limit in zip(runs, limits, strict=True)]
        )
    return found


def stages(whole: Callable[[], object], runs: int, seconds: float) -> dict[str, float]:
    """CPU time by stage, s for each second of video: listening waits until the looking is done."""
    watches, taken = [], []
    together, beside.LOADED = beside.LOADED, -1
    try:
        for _ in range(runs):
            with Stopwatch() as watch:
                taken.append(timed(whole))
            watches.append(watch)
    finally:
        beside.LOADED = together
    names = dict.fromkeys(name for name, _, _ in STAGES)
    parts = {n: statistics.median(watch.cpu[n] for watch in watches) / seconds for n in names}
    own, ffmpeg = (statistics.median(run[kind] for run in taken) / seconds for kind in ("own", "ffmpeg"))
    return parts | {"all else": own - sum(parts.values()), "ffmpeg": ffmpeg}


def elsewhere(python: str, path: Path, runs: int, scratch: Path) -> dict[str, list[dict[str, float]]]:
    """What is installed beside another Python, by name: CPU time and elapsed time of each run, s."""
    sound = scratch / "sound.wav"
    extract = [media.ffmpeg_binary(), "-v", "error", "-nostdin", "-y", "-i", url(path), "-vn", url(sound)]
    subprocess.run(extract, check=True)
    command = [python, str(Path(__file__).with_name("bench_rivals.py")), str(path), str(sound), str(runs)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{python} could not run bench_rivals.py: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def cold(path: Path, runs: int, scratch: Path) -> dict[str, dict[str, float]]:
    """Starts in processes of their own: Python, its imports for a prediction, and a whole `avser predict`."""
    short = looped(path, COLD, scratch)
    faces = "import numpy, avser.faces.seeing as s; s.opencv()\nwith s.later(s.UNUSED): import mediapipe"
    codes = {
        "python itself": "pass",
        "imports of prediction": f"import avser.cli, avser.batch.progress\n{faces}",
        "avser predict": "from avser.cli import main; main()",
    }
    tail = ["predict", str(short), "-o", str(scratch), "-q"]
    commands = {name: [sys.executable, "-c", code, *tail] for name, code in codes.items()}
    taken = [
        {n: timed(lambda c=c: subprocess.run(c, check=True)) for n, c in commands.items()} for _ in range(runs)
    ]
    return {n: {k: statistics.median(run[n][k] for run in taken) for k in ("cpu", "wall")} for n in commands}


def workers(path: Path, runs: int, scratch: Path) -> dict[str, dict[str, float]]:
    """Files a minute that one and two processes do, start-up included, and how many times those of one two do.

    One is measured as it runs, its ffmpeg and its networks on both cores, and, where the system can do that, held
    on a single core, as it would be among as many workers as there are cores.
    """
    copies = [scratch / f"copy{number}{path.suffix}" for number in range(COPIES)]
    for copy in copies:
        shutil.copyfile(path, copy)
    command = [sys.executable, "-c", "from avser.cli import main; main()", "predict", *map(str, copies), "-q"]

    free = affinity.shares(1)[0]  # none where the system cannot tell

    def rate(count: int, held: int) -> float:
        """Files a minute of so many workers, all held on so many cores."""
        affinity.keep_to(free[:held])  # processes that are started inherit it
        try:
            wall = timed(lambda: subprocess.run([*command, "--workers", str(count)], check=True))["wall"]
        finally:
            affinity.keep_to(free)
        return 60 * COPIES / wall

    ways = {"one": (1, 2), "two": (2, 2)} | ({"one on one core": (1, 1)} if free else {})
    taken = [{name: rate(*way) for name, way in ways.items()} for _ in range(runs)]
    found = {name: _spread([rates[name] for rates in taken]) for name in ways}
    gains = {f"two / {n}": _spread([rates["two"] / rates[n] for rates in taken]) for n in ways if n != "two"}
    return found | gains


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


def show_rival(name: str, runs: list[dict[str, float]], found: dict) -> None:
    ours, seconds = found["contestants"]["prediction"], found["duration"]
    took = {kind: statistics.median(run[kind] for run in runs) / seconds for kind in ("cpu", "wall")}
    times = ", ".join(
        f"{took[kind] / ours[kind]:.1f} × ours {what}" for kind, what in (("cpu", "CPU"), ("wall", "elapsed"))
    )
    print(f"{name:34}{took['cpu'] * 1000:9.1f}{took['wall'] * 1000:13.1f}   {times}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the speed of prediction.")
    parser.add_argument("--clips", type=Path, required=True, help="folder with a clip of 720p that has sound")
    parser.add_argument(
        "--long", type=float, nargs="?", const=LONG, metavar="S", help="a video of 600 s or S, too"
    )
    parser.add_argument("--workers", action="store_true", help="two worker processes against one, too")
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="PYTHON",
        help="a Python that has fer or librosa beside it",
    )
    parser.add_argument("--runs", type=int, default=5, help="how often each contestant runs")
    parser.add_argument("--model", default="av-base")
    parser.add_argument("--json", type=Path, help="file for all figures")
    args = parser.parse_args()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"{cores()} cores, load {load:.1f}, {args.runs} runs of each")
    figures: dict = {"cores": cores(), "load": load, "runs": args.runs, "clips": {}}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        clips = find_clips(args.clips, scratch, args.long)
        figures["cold"] = cold(clips["720p"], args.runs, scratch)
        for what, took in figures["cold"].items():
            print(f"from cold, {what}: {took['cpu']:.2f} s CPU, {took['wall']:.2f} s elapsed")
        model = recognizer.load_model(args.model)
        for what, path in clips.items():
            runs = max(1, args.runs // LONG_SHARE) if "long" in what else args.runs
            figures["clips"][what] = found = measure(model, path, runs, what == "720p", scratch)
            show(what, found)
        for python in args.against:
            found = figures["clips"]["720p"]
            figures["against"] = elsewhere(python, clips["720p"], args.runs, scratch)
            for rival, taken in figures["against"].items():
                show_rival(rival, taken, found)
        if args.workers:
            figures["workers"] = workers(clips["720p"], min(args.runs, SLOW_RUNS), scratch)
            print(f"\n{COPIES} clips, start-up included; files a minute, median (least – most)")
            for name, rate in figures["workers"].items():
                print(f"  {name:22}{rate['median']:7.2f} ({rate['least']:.2f} – {rate['most']:.2f})")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
