"""Reads damaged copies of media files: each must give a result or one clear error, in time, and leave nothing.

    python tools/fuzz_media.py --rounds 10000 --seed 1 --seconds 1200 clip.mp4 clip.webm sound.ogg
    python tools/fuzz_media.py --seed 1 --first 4711 --rounds 1 clip.mp4 clip.webm sound.ogg   # one round again

Round N of a seed is always the same damage to the same sample. A worker process does the reading: what crashes
it, or holds it longer than the limit, is that round's failure, and a new worker goes on. The damaged files that
failed are kept in the folder of --keep, named by seed and round. Ends with 1 if there was a failure.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import multiprocessing
import os
import random
import re
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from media_mutations import mutate

from avser import media
from avser.errors import AvserError

LIMIT = 60.0
"""Longest time for one round, in s."""
STALL_LIMIT = "10"
"""What AVSER_STALL_LIMIT is set to, so that a stall shows as the error that it is to be, in s."""
STARTING = 120.0
"""Longest time for a worker to start, in s: with a model it loads one."""


@dataclass(frozen=True)
class Round:
    """How a round went.

    Attributes:
        outcome: `result`, or the error's sentence without what is special to the file; for failures what failed.
        failed: whether the project broke its promise.
        how: the mutations.
        seconds: how long it took.
    """

    number: int
    outcome: str
    failed: bool
    how: str
    seconds: float


def damaged(samples: list[Path], seed: int, number: int) -> tuple[bytes, str, str]:
    """The file of a round: its bytes, its suffix and how it was damaged."""
    rng = random.Random(f"{seed} {number}")
    one, other = rng.choice(samples), rng.choice(samples)
    data, how = mutate(one.read_bytes(), other.read_bytes(), rng)
    return data, one.suffix, how


def read(path: Path, model: object | None) -> str:
    """Do with a file all that the project does with one: `result`, or the sentences of the errors.

    Raises:
        Exception: any that is no AvserError, and AssertionError where a result is nonsense.
    """
    said = [_say(_header, path), _say(_sound, path), _say(_pictures, path)]
    if model is not None:
        said.append(_say(lambda p: _predict(model, p), path))
    errors = sorted({s for s in said if s})
    return " | ".join(errors) or "result"


def _say(step, path: Path) -> str:
    try:
        step(path)
    except AvserError as error:
        text = str(error)
        assert len(text.splitlines()) == 1, f"an error is to be one line: {text!r}"
        assert path.name in text, f"an error is to name the file: {text!r}"
        text = re.sub(r"\(.*\)", "(…)", text.replace(str(path), "FILE"))
        return re.sub(r"\d+(\.\d+)?", "N", text)
    return ""


def _header(path: Path) -> None:
    info = media.probe(path)
    assert info.has_audio or info.has_video
    assert info.duration is None or 0 <= info.duration < math.inf


def _sound(path: Path) -> None:
    position = 0.0
    for track in media.iter_audio(path):
        assert abs(track.start - position) < 1e-6, "sound has to follow on sound"
        assert (np.abs(track.samples) <= 1).all(), "samples are from -1 to 1"
        position = track.end


def _pictures(path: Path) -> None:
    last = -1.0
    for frame in media.iter_frames(path, fps=12, height=120):
        assert last < frame.time < math.inf, "frames have to be in order"
        assert frame.image.shape[0] <= 120
        last = frame.time


def _predict(model, path: Path) -> None:
    result = model.predict(path)
    for part in (*result.predictions, result.overall):
        assert (part.label is None) == (part.probs is None)
        assert part.probs is None or abs(part.probs.sum() - 1) < 1e-5
    json.dumps(result.to_dict())


@dataclass(frozen=True)
class Held:
    """What this process has at a moment: its children, how many open files (0 where unknown), and threads."""

    children: frozenset[str]
    handles: int
    threads: int

    @classmethod
    def now(cls) -> Held:
        children, handles = Path(f"/proc/self/task/{os.getpid()}/children"), Path("/proc/self/fd")
        return cls(
            frozenset(children.read_text().split() if children.exists() else ()),
            sum(1 for _ in handles.iterdir()) if handles.exists() else 0,
            threading.active_count(),
        )


def left_behind(folder: Path, before: Held) -> str:
    """What a round left: processes, open files, threads, files in its folder; empty if nothing."""
    now = Held.now()
    if new := now.children - before.children:
        return f"processes {sorted(new)}"
    if now.handles > before.handles or now.threads > before.threads:
        return f"open files {before.handles} → {now.handles}, threads {before.threads} → {now.threads}"
    names = sorted(p.name for p in folder.iterdir())
    return "" if len(names) <= 1 else f"files {names}"


def work(pipe, samples: list[Path], seed: int, predict: bool) -> None:
    """The worker: does the rounds that it is told by their numbers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that counts
    logging.disable()
    model = None
    if predict:
        import avser

        model = avser.load_model()
        model.predict(samples[0])  # what is loaded once is loaded now
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        with contextlib.suppress(AvserError):
            media.probe(samples[0])
        before = Held.now()
        pipe.send("ready")
        for number in iter(pipe.recv, None):
            data, suffix, _ = damaged(samples, seed, number)
            path = folder / f"damaged{suffix}"
            path.write_bytes(data)
            try:
                outcome, failed = read(path, model), False
            except Exception as error:
                outcome, failed = f"{type(error).__name__}: {error}", True
            if left := left_behind(folder, before):
                outcome, failed = f"left behind: {left}", True
            path.unlink(missing_ok=True)
            pipe.send((outcome, failed))


class Worker:
    """A process that reads damaged files; it may crash or hang."""

    def __init__(self, samples: list[Path], seed: int, predict: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=work, args=(far, samples, seed, predict), daemon=True)
        self.process.start()
        far.close()
        if self.ask(None, STARTING) != "ready":
            sys.exit("the worker does not start: its message is above")

    def ask(self, number: int | None, limit: float):
        """What it says to a round, or `crash` or `hang`."""
        try:
            if number is not None:
                self.pipe.send(number)
            return self.pipe.recv() if self.pipe.poll(limit) else ("hang", True)
        except (EOFError, OSError):
            self.process.join()
            return f"crash: exit code {self.process.exitcode}", True

    def end(self) -> None:
        """End it, whatever it is doing."""
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.process.join(2)
        self.process.kill()
        self.process.join()


def fuzz(
    samples: list[Path],
    seed: int,
    numbers: range,
    seconds: float = math.inf,
    predict=False,
    keep: Path | None = None,
) -> list[Round]:
    """Do rounds until they or the seconds are over, or Ctrl-C; what fails is kept in a folder."""
    os.environ.setdefault("AVSER_STALL_LIMIT", STALL_LIMIT)
    rounds: list[Round] = []
    worker = Worker(samples, seed, predict)
    began = time.monotonic()
    try:
        for number in numbers:
            if time.monotonic() - began > seconds:
                break
            data, suffix, how = damaged(samples, seed, number)
            start = time.monotonic()
            outcome, failed = worker.ask(number, LIMIT)
            rounds.append(Round(number, outcome, failed, how, time.monotonic() - start))
            if failed:
                worker.end()
                worker = Worker(samples, seed, predict)
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{seed}-{number}{suffix}").write_bytes(data)
                    (keep / f"{seed}-{number}.txt").write_text(f"{how}\n{outcome}\n")
    except KeyboardInterrupt:
        pass
    finally:
        worker.end()
    return rounds


def report(rounds: list[Round]) -> str:
    """Counts by outcome, the slowest rounds, and every failure."""
    lines = [f"{len(rounds)} rounds, {sum(r.failed for r in rounds)} failures"]
    for outcome, count in Counter(r.outcome for r in rounds if not r.failed).most_common():
        lines.append(f"{count:7d}  {outcome}")
    slowest = sorted(rounds, key=lambda r: -r.seconds)[:5]
    lines.append("slowest: " + ", ".join(f"round {r.number} {r.seconds:.1f} s" for r in slowest))
    lines += [f"FAILED round {r.number} ({r.how}): {r.outcome}" for r in rounds if r.failed]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Read damaged copies of media files and count what happens.")
    parser.add_argument("samples", nargs="+", type=Path, metavar="SAMPLE", help="whole media files")
    parser.add_argument("--rounds", type=int, default=1000, help="how many files to damage and read")
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--seed", type=int, default=0, help="another seed damages in other ways")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after this time")
    parser.add_argument("--predict", action="store_true", help="recognise emotions in each file as well")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="folder for files that failed")
    args = parser.parse_args()
    numbers = range(args.first, args.first + args.rounds)
    samples = [path.absolute() for path in args.samples]
    rounds = fuzz(samples, args.seed, numbers, args.seconds, args.predict, args.keep)
    print(report(rounds))
    sys.exit(any(r.failed for r in rounds))


if __name__ == "__main__":
    main()
