"""Measures whether memory stays, and time grows in line, as a file gets longer: clips looped to 10 s, 10 min, 2 h.

    python tools/bench_memory.py clip.mp4 other.mp4
    python tools/bench_memory.py clip.mp4 --lengths 10 180 --out memory.csv --model av-base

Each sample is repeated by ffmpeg without encoding it again; `avser predict` runs on the result in a process of its
own. Reported are the peak of resident memory of Python and of the ffmpeg that it starts, apart from each other, as
Linux tells them in /proc, and the time per second of video. Unknown options go to `avser predict`.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from avser import media
from avser.media.paths import url

EVERY = 0.05
"""How often memory is looked at, in s. Python's own peak is kept by the kernel; ffmpeg's could end in between."""


@dataclass(frozen=True)
class Measured:
    """One prediction: the file's length, the time and the CPU time that it took in s, peaks of memory in MiB."""

    sample: str
    length: float
    seconds: float
    cpu_seconds: float
    seconds_per_second: float
    python_mib: float
    ffmpeg_mib: float


def looped(sample: Path, length: float, folder: Path) -> Path:
    """The sample again and again until `length` s, by copying its packets."""
    target = folder / f"{sample.stem}-{length:g}{sample.suffix}"
    command = [media.ffmpeg_binary(), "-v", "error", "-nostdin", "-y", "-stream_loop", "-1", "-i", url(sample)]
    command += ["-t", f"{length:g}", "-map", "0:v:0?", "-map", "0:a:0?", "-c", "copy", url(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{sample} cannot be looped: {done.stderr.strip().splitlines()[-1]}")
    return target


def measure(sample: Path, length: float, options: list[str]) -> Measured:
    """Loop a sample to a length and predict it."""
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryFile("w+") as said:
        path = looped(sample, length, Path(name))
        real = media.probe(path).duration
        command = [sys.executable, "-c", "from avser.cli import main; main()", "predict", str(path), "-o", name]
        start, before = time.monotonic(), os.times()
        process = subprocess.Popen([*command, *options], stdout=said, stderr=said)
        peaks = {"python": 0, "ffmpeg": 0}
        while process.poll() is None:
            for pid in (process.pid, *descendants(process.pid)):
                what = "ffmpeg" if "ffmpeg" in called(pid) else "python"
                peaks[what] = max(peaks[what], peak(pid))
            time.sleep(EVERY)
        seconds, after = time.monotonic() - start, os.times()
        cpu = sum(after[2:4]) - sum(before[2:4])  # of children that have ended, and of theirs
        if process.returncode:
            said.seek(0)
            sys.exit(f"avser predict failed: {said.read().strip()}")
    return Measured(
        sample.name,
        round(real, 1),
        round(seconds, 1),
        round(cpu, 1),
        round(seconds / real, 4),
        round(peaks["python"] / 1024, 1),
        round(peaks["ffmpeg"] / 1024, 1),
    )


def peak(pid: int) -> int:
    """The most memory that a process has held so far, in KiB; 0 if it has ended."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", read(pid, "status"), re.M)
    return int(found[1]) if found else 0


def called(pid: int) -> str:
    """The name of a process's program."""
    return Path(read(pid, "cmdline").partition("\0")[0]).name


def descendants(pid: int) -> list[int]:
    """Processes that a process has started, and theirs."""
    threads = Path(f"/proc/{pid}/task").glob("*")
    own = [int(child) for thread in threads for child in read(pid, f"task/{thread.name}/children").split()]
    return own + [below for child in own for below in descendants(child)]


def read(pid: int, name: str) -> str:
    """A file of /proc, empty if the process has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure memory and time of avser predict on looped clips.")
    parser.add_argument("samples", nargs="+", metavar="SAMPLE", help="clips; then options of avser predict")
    parser.add_argument("--lengths", nargs="+", type=float, default=[10.0, 600.0, 7200.0], help="in s")
    parser.add_argument("--out", type=Path, help="CSV file to write")
    args, options = parser.parse_known_args()
    if not Path("/proc/self/status").exists():
        sys.exit("memory is read from /proc, which only Linux has")
    rows = []
    for sample in map(Path, args.samples):
        first = len(rows)
        for length in args.lengths:
            rows.append(measure(sample, length, options))
            growth = rows[-1].python_mib / rows[first].python_mib - 1
            print(f"{rows[-1]}  memory {growth:+.1%} of the first", flush=True)
    if args.out:
        with args.out.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(field.name for field in fields(Measured))
            writer.writerows(map(astuple, rows))


if __name__ == "__main__":
    main()
