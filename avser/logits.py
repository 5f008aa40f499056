"""The table of logits behind every figure, in memory and as a CSV file."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avser.files import replacing
from avser.labels import EMOTIONS, place, project
from avser.metrics import Report, ece, fit_temperature, report, softmax
from avser.types import Clip, DataError

COLUMNS = ("clip", "subject", "fold", "label")
"""The columns of a table of logits that come before its classes."""


@dataclass(frozen=True)
class LogitTable:
    """What a model said about each clip of its test folds: all that figures and fusion need.

    Attributes:
        clips, subjects, folds: names, one a row; a subject that nobody knows is "".
        labels: the true emotion of each row.
        classes: names of the columns of `logits`.
        logits: (N, C) logits or log-probabilities.
    """

    clips: list[str]
    subjects: list[str]
    folds: list[str]
    labels: list[str]
    classes: tuple[str, ...]
    logits: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.clips)
        if not len(self.subjects) == len(self.folds) == len(self.labels) == n:
            raise DataError("clips, subjects, folds and labels of a LogitTable must have one length")
        if np.shape(self.logits) != (n, len(self.classes)):
            raise DataError(
                f"the logits of {n} clips and {len(self.classes)} classes cannot be {np.shape(self.logits)}"
            )

    @classmethod
    def of_clips(
        cls, clips: Sequence[Clip], classes: Sequence[str], logits: np.ndarray, fold: str, pooled: bool = False
    ) -> LogitTable:
        """The table of one fold: logits (N, C) of its clips, whose labels have a place in the classes.

        Args:
            pooled: clips of several corpora: a subject is then "corpus/subject", as two may bear the same name.
        """
        return cls(
            clips=[clip.name for clip in clips],
            subjects=[_subject(clip, pooled) for clip in clips],
            folds=[fold] * len(clips),
            labels=[classes[column] for clip in clips if (column := place(clip.label, classes)) is not None],
            classes=tuple(classes),
            logits=logits,
        )

    @classmethod
    def join(cls, tables: Sequence[LogitTable]) -> LogitTable:
        """The rows of several tables over the same classes as one table, in order.

        Raises:
            DataError: there is no table, or the tables differ in their classes.
        """
        if not tables:
            raise DataError("there are no tables of logits to join: train or measure at least one fold")
        classes = tables[0].classes
        odd = next((table.classes for table in tables if table.classes != classes), None)
        if odd is not None:
            raise DataError(
                f"tables of logits over {', '.join(classes)} and over {', '.join(odd)} cannot be joined: "
                "project them to the same classes first"
            )
        columns = {
            name: [value for table in tables for value in getattr(table, name)]
            for name in ("clips", "subjects", "folds", "labels")
        }
        return cls(**columns, classes=classes, logits=np.concatenate([table.logits for table in tables]))

    @property
    def targets(self) -> np.ndarray:
        """(N,) int: column of each true label (calm counts as neutral where there is no calm)."""
        columns = [place(label, self.classes) for label in self.labels]
        if None in columns:
            odd = self.labels[columns.index(None)]
            raise DataError(
                f"the true label {odd!r} is none of the classes {', '.join(self.classes)}: project first"
            )
        return np.array(columns, int)

    def report(self, genders: Sequence[str | None] | None = None) -> Report:
        """All figures, with intervals over subjects where they are known; see `avser.metrics.report`."""
        subjects = self.subjects if any(self.subjects) else None
        figures = report(self.logits, self.targets, self.classes, subjects=subjects, genders=genders)
        calibrated = self.calibrated()
        if calibrated is None:
            return figures
        return dataclasses.replace(figures, ece_calibrated=ece(softmax(calibrated.logits), self.targets))

    def calibrated(self) -> LogitTable | None:
        """The logits of each fold divided by the temperature that suits the other folds; None if there is one."""
        if len(set(self.folds)) < 2:
            return None
        folds, logits = np.array(self.folds), self.logits.copy()
        for fold in dict.fromkeys(self.folds):
            others = folds != fold
            logits[~others] /= fit_temperature(self.logits[others], self.targets[others])
        return dataclasses.replace(self, logits=logits)

    def by_corpus(self) -> dict[str, LogitTable]:
        """The rows of each corpus by its name, where several are pooled; else nothing."""
        corpora = [subject.partition("/")[0] if "/" in subject else "" for subject in self.subjects]
        names = sorted(set(corpora) - {""})
        return {name: self.rows([i for i, corpus in enumerate(corpora) if corpus == name]) for name in names}

    def rows(self, chosen: Sequence[int] | np.ndarray) -> LogitTable:
        """Some of the rows, by number."""
        columns = {
            name: [getattr(self, name)[i] for i in chosen] for name in ("clips", "subjects", "folds", "labels")
        }
        return LogitTable(**columns, classes=self.classes, logits=self.logits[list(chosen)])

    def genders(self, clips: Iterable[Clip]) -> list[str] | None:
        """Gender of each row, "" where it is not known, from clips that hold it; None if no row has one."""
        known = {clip.name: clip.info.get("gender", "") for clip in clips}
        genders = [known.get(name, "") for name in self.clips]
        return genders if any(genders) else None

    def project(self, classes: Sequence[str]) -> LogitTable:
        """The table over other classes, as log-probabilities; rows whose true label has no place there go.

        Calm becomes neutral where there is no calm, for the true labels too.
        """
        columns = [place(label, classes) for label in self.labels]
        keep = [i for i, column in enumerate(columns) if column is not None]
        probs = project(softmax(self.logits[keep]), self.classes, classes)
        return LogitTable(
            clips=[self.clips[i] for i in keep],
            subjects=[self.subjects[i] for i in keep],
            folds=[self.folds[i] for i in keep],
            labels=[classes[column] for column in columns if column is not None],
            classes=tuple(classes),
            logits=np.log(np.maximum(probs, 1e-12)),
        )


def _subject(clip: Clip, pooled: bool) -> str:
    return f"{clip.corpus}/{clip.subject or ''}" if pooled else clip.subject or ""


def write_logits(path: Path, table: LogitTable) -> None:
    """Write a table as CSV: clip, subject, fold, label, then a column for each class, with five decimals."""
    path = Path(path)
    try:
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*COLUMNS, *table.classes])
            names = zip(table.clips, table.subjects, table.folds, table.labels, strict=True)
            for name, logits in zip(names, table.logits, strict=True):
                writer.writerow([*name, *(f"{value:.5f}" for value in logits)])
    except OSError as error:
        raise DataError(f"cannot write the table {path} ({error.strerror}): choose another place") from error


def read_logits(path: Path) -> LogitTable:
    """Read a table that `write_logits` wrote.

    Raises:
        DataError: the file is missing, damaged or something else.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read the table of logits {path} ({error}): write it afresh") from error
    classes = tuple(header[len(COLUMNS) :])
    for number, name in enumerate(COLUMNS):
        if header[number : number + 1] != [name]:
            raise DataError(f"{path} is no table of logits: its column {number + 1} is not {name!r}")
    odd = [name for name in classes if name not in EMOTIONS or classes.count(name) > 1]
    if odd or not classes:
        raise DataError(f"{path} is no table of logits: column {odd[0] if odd else 5!r} is not one emotion")
    logits = np.empty((len(rows), len(classes)))
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise DataError(
                f"row {number + 1} of {path} has {len(row)} columns instead of {len(header)}: write it afresh"
            )
        if row[3] not in EMOTIONS:
            raise DataError(f"row {number + 1} of {path} has no emotion in column 'label': {row[3]!r}")
        for column, name in enumerate(classes):
            logits[number, column] = _number(row[len(COLUMNS) + column], path, number + 1, name)
    clips, subjects, folds, labels = ([row[i] for row in rows] for i in range(len(COLUMNS)))
    return LogitTable(clips, subjects, folds, labels, classes, logits)


def _number(text: str, path: Path, row: int, column: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if np.isnan(value):
        raise DataError(f"row {row} of {path} has no number in column {column!r}: {text!r}")
    return value
