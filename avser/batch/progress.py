"""A job on the terminal: progress with the time left, what came of each file, and a summary at the end."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from avser.batch.jobs import Batch, Job, Step
from avser.batch.sources import Source
from avser.console import print_result
from avser.media.paths import show
from avser.palette import colour


@dataclass
class Summary:
    """How a job ended.

    Attributes:
        total: files of the job. done: those with results now, `kept` of them by an earlier run.
        failed: files that failed.
        seconds: length of the files that are done, s.
        emotions: files by overall label, empty where avser abstains.
        confidence: sum of the confidence by label.
        interrupted: whether Ctrl-C stopped it.
    """

    total: int = 0
    done: int = 0
    kept: int = 0
    failed: int = 0
    seconds: float = 0.0
    emotions: Counter[str] = field(default_factory=Counter)
    confidence: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    interrupted: bool = False

    def add(self, step: Step) -> None:
        """Count a file."""
        if step.error is not None:
            self.failed += 1
            return
        self.done += 1
        self.kept += step.kept
        label = step.facts["label"]
        self.seconds += float(step.facts["duration"] or 0)
        self.emotions[label] += 1
        self.confidence[label] += float(step.facts["confidence"] or 0)


class Position:
    """How far a job has come, in seconds of video, and how many it has in all.

    The lengths of files that nobody has opened yet are guessed from their size, by the bytes a second of those
    that have been.

    Args:
        size: bytes of all files.
    """

    def __init__(self, size: int) -> None:
        self._unseen = size  # bytes of files that are not opened yet
        self._seen = 0
        self._ended = 0.0  # seconds of files that are done
        self._under_way: dict[Source, tuple[float, float]] = {}  # second, length

    def at(self, source: Source, second: float, duration: float | None) -> None:
        """A file has come so far."""
        if source not in self._under_way:
            self._unseen -= source.size
            self._seen += source.size
        self._under_way[source] = (second, max(duration or 0.0, second))

    def end(self, source: Source) -> None:
        """A file is done, or given up."""
        if source in self._under_way:
            self._ended += self._under_way.pop(source)[1]
        else:  # it was never begun
            self._unseen -= source.size

    @property
    def reached(self) -> float:
        """Seconds that are done."""
        return self._ended + sum(second for second, _ in self._under_way.values())

    @property
    def total(self) -> float | None:
        """Seconds in all; None as long as there is nothing to guess by."""
        known = self._ended + sum(length for _, length in self._under_way.values())
        if not known or not self._seen:
            return None
        return known + max(self._unseen, 0) * known / self._seen


class Bars:
    """A bar for the whole job, with the time left, and one for each file under way.

    Args:
        work: the job.
        err: where they are shown.
        hidden: show nothing.
    """

    def __init__(self, work: Batch, err: Console, hidden: bool) -> None:
        words = TextColumn("{task.description}", markup=False)
        times = (TextColumn("{task.fields[at]}"), TimeElapsedColumn(), TimeRemainingColumn())
        self.progress = Progress(
            *(words, BarColumn(), *times), console=err, transient=True, disable=hidden, speed_estimate_period=300
        )
        self.count = len(work)
        self.ended = 0
        self.position = Position(work.size)
        self.whole = self.progress.add_task("starting", total=None, at="", visible=self.count > 1)
        self.files: dict[Source, TaskID] = {}

    def at(self, source: Source, second: float, duration: float | None) -> None:
        """A file has come so far."""
        self.position.at(source, second, duration)
        if source not in self.files:
            self.files[source] = self.progress.add_task(show(Path(source.path).name), at="")
        words = f"{second:.0f} s" if duration is None else f"{second:.0f} of {duration:.0f} s"
        self.progress.update(self.files[source], completed=second, total=duration, at=words)
        self._show()

    def end(self, source: Source) -> None:
        """A file is done."""
        self.ended += 1
        self.position.end(source)
        if source in self.files:
            self.progress.remove_task(self.files.pop(source))
        self._show()

    def _show(self) -> None:
        reached, total = self.position.reached, self.position.total
        at = f"{self.ended} of {self.count}"
        self.progress.update(self.whole, description="all files", completed=reached, total=total, at=at)


def run(job: Job, quiet: bool = False, out: Console | None = None, err: Console | None = None) -> Summary:
    """Run a job with a progress bar; tables go to stdout, all else to stderr.

    A single file, and files of which nothing is written, get a table of their windows; of many files each gets a
    line, and all of them a table in the end.
    """
    out, err = out or Console(), err or Console(stderr=True)
    work = Batch(job)
    summary = Summary(total=len(work))
    many = len(work) > 1
    bars = Bars(work, err, hidden=quiet or not err.is_terminal)  # else it would leave an empty line in a log file
    began = time.monotonic()
    try:
        with bars.progress, contextlib.closing(work.run(bars.at)) as steps:
            for step in steps:
                bars.end(step.source)
                summary.add(step)
                if step.error is not None:
                    err.print(Text(f"avser: {step.error}"), soft_wrap=True)
                elif not quiet:
                    _print_step(step, many and job.output is not None, out, err)
    except KeyboardInterrupt:
        summary.interrupted = True
        err.print(f"avser: interrupted; {summary.done} of {summary.total} files done, their results are kept")
    if many:
        print_end(summary, time.monotonic() - began, quiet, out, err)
    return summary


def print_end(summary: Summary, seconds: float, quiet: bool, out: Console, err: Console) -> None:
    """What came of a job of many files that took so many seconds: a table of emotions, and a line."""
    if not quiet:
        _print_summary(summary, out)
    if not summary.interrupted and (summary.failed or not quiet):
        kept = f", {summary.kept} of them by an earlier run" if summary.kept else ""
        failed = f", {summary.failed} failed" if summary.failed else ""
        took = f"; {summary.seconds:.0f} s of sound and pictures in {seconds:.0f} s"
        err.print(f"{summary.done} of {summary.total} files done{kept}{failed}{'' if quiet else took}")


def _print_step(step: Step, short: bool, out: Console, err: Console) -> None:
    """What came of a file: a line, or a table of its windows and the names of what is written."""
    if step.result is not None and not short:
        print_result(step.result, out)
        for path in step.written:
            err.print(Text(f"written: {show(path)}"), soft_wrap=True)
    elif not step.kept:
        label, confidence = step.facts["label"], step.facts["confidence"]
        found = f"{label} {float(confidence):.0%}" if label else f"– ({step.facts['reason']})"
        out.print(Text(f"{show(step.path)}: ").append(found, colour(label).terminal), soft_wrap=True)


def _print_summary(summary: Summary, out: Console) -> None:
    table = Table("emotion", "files", "share", "mean confidence", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for label, count in summary.emotions.most_common():
        mean = f"{summary.confidence[label] / count:.0%}" if label else ""
        table.add_row(Text(label or "–", colour(label).terminal), str(count), f"{count / summary.done:.0%}", mean)
    if summary.done:
        out.print(table)
