"""The tables that a job leaves in its output folder: a summary with one row a file, and what failed."""

from __future__ import annotations

import contextlib
import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from avser.results import Result
from avser.types import AvserError

SUMMARY, FAILURES = "summary.csv", "failures.csv"

FACTS = ("path", "status", "duration", "people", "label", "confidence", "reason", "seconds", "written", "error")


def facts(result: Result, seconds: float, written: Sequence[str]) -> dict[str, str]:
    """A file's row of the summary, as text.

    `duration` and `seconds` (that the work took) are in s; `share_happy` and so on are shares of the time in which
    an emotion is found, of all people together; `written` are the results, parted by semicolons.
    """
    duration = result.media.duration
    row = {
        "duration": "" if duration is None else f"{duration:.3f}",
        "people": str(len(result.people)),
        "label": result.label or "",
        "confidence": "" if result.overall.probs is None else f"{result.overall.confidence:.4f}",
        "reason": result.overall.reason or "",
        "seconds": f"{seconds:.3f}",
        "written": ";".join(written),
    }
    times: dict[str, float] = defaultdict(float)
    for segment in result.segments:
        times[segment.label] += segment.end - segment.start
    whole = sum(times.values())
    return row | {_share(label): f"{times[label] / whole:.4f}" if whole else "" for label in result.labels}


def _share(label: str) -> str:
    return f"share_{label}"


class Tables:
    """The summary and the list of failures, written line by line while a job runs.

    The failures of an earlier run are removed; a list is made when the first file fails. Paths in it are absolute,
    so that it can be given as a manifest to try these files again.

    Args:
        folder: the output folder. labels: the model's. columns: of the manifest, carried along; one with a name of
            a summary's column becomes `given_…`.

    Raises:
        AvserError: the tables cannot be written.
    """

    def __init__(self, folder: Path, labels: Sequence[str], columns: Sequence[str] = ()) -> None:
        own = (*FACTS, *(_share(label) for label in labels))
        self.folder = folder
        self.names = own
        self._open: dict[str, tuple] = {}
        with self._errors(folder / FAILURES):
            (folder / FAILURES).unlink(missing_ok=True)
        self._start(SUMMARY, [*own, *(f"given_{c}" if c in own else c for c in columns)])

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, *_: object) -> None:
        for file, _writer in self._open.values():
            file.close()

    def add(self, row: Mapping[str, str], extra: Sequence[str] = ()) -> None:
        """Add a file."""
        self._write(SUMMARY, [*(row.get(name, "") for name in self.names), *extra])
        if row.get("error"):
            if FAILURES not in self._open:
                self._start(FAILURES, ["path", "error"])
            self._write(FAILURES, [str(Path(row["path"]).absolute()), row["error"]])

    def _start(self, name: str, header: Sequence[str]) -> None:
        path = self.folder / name
        with self._errors(path):
            # a file's name may hold bytes that are no text
            file = path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
            self._open[name] = (file, csv.writer(file, lineterminator="\n"))
        self._write(name, header)

    def _write(self, name: str, cells: Sequence[str]) -> None:
        file, writer = self._open[name]
        with self._errors(self.folder / name):
            writer.writerow(cells)
            file.flush()

    @contextlib.contextmanager
    def _errors(self, path: Path):
        try:
            yield
        except OSError as error:
            raise AvserError(f"{path}: cannot be written ({error.strerror or error}); choose another -o") from None
