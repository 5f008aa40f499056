"""Tables of per-clip logits of two branches, ours or of other tools, joined clip by clip."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import numpy as np

from avser.datasets.ravdess import LABELS, NAME
from avser.labels import canonical, place
from avser.media.headers import MEDIA_SUFFIXES
from avser.models.fusion import CUES
from avser.types import DataError

NAMES = {
    "clip": ("clip", "file", "filename", "name", "path", "utterance", "video"),
    "subject": ("subject", "actor", "speaker"),
    "fold": ("fold",),
    "label": ("label", "true", "emotion"),
    "part": ("split", "part", "subset"),
}
"""What a column may be called."""

SUFFIXES = {*MEDIA_SUFFIXES, ".npy"}
"""Suffixes that a clip's name may have in one table and lack in the other."""

LEARNED_FROM = {"train", "training", "in-sample", "in_sample", "insample", "fit"}
"""Folds and parts whose clips a model has learned from."""


@dataclass(frozen=True)
class Table:
    """Logits of one branch as a file holds them.

    Attributes:
        keys: of each clip what it is joined by: the take of RAVDESS, else its name without folder and suffix.
        subjects, folds, labels: "" where nobody knows.
        logits: (N, C), rows of NaN where the branch is absent.
        cues: (N,) by name, NaN where nobody knows.
    """

    path: Path
    clips: list[str]
    keys: list[str]
    subjects: list[str]
    folds: list[str]
    labels: list[str]
    classes: tuple[str, ...]
    logits: np.ndarray
    cues: dict[str, np.ndarray]


@dataclass(frozen=True)
class Pairs:
    """Clips of two tables, joined.

    Attributes:
        sources: each branch's labels. logits: (N, C') of each. present: (N, 2) which of them there are.
        folds: of each table that has them, a name for each clip.
        evidence: cues (N,) and features (N, D), NaN where nobody knows.
        notes: what was left out, in words.
    """

    clips: list[str]
    keys: list[str]
    subjects: list[str]
    labels: list[str]
    folds: dict[str, list[str]]
    sources: dict[str, tuple[str, ...]]
    logits: dict[str, np.ndarray]
    present: np.ndarray
    evidence: dict[str, np.ndarray]
    notes: list[str] = field(default_factory=list)


def read_table(path: Path, branch: str) -> Table:
    """Read the logits of one branch from a CSV file with a clip column and a column for each emotion.

    Columns may carry the branch's name before the emotion's (`audio_happy`), so that one file can hold both.
    Empty cells say that the branch is absent. Rows that are all distributions are taken as probabilities. What
    the name of a RAVDESS clip tells of its actor and emotion need not be in the table.

    Raises:
        DataError: the file is unreadable, is no such table, or holds logits of clips that a model learned from.
    """
    path = Path(path)
    header, rows = _read(path)
    if len(set(header)) < len(header):
        raise DataError(f"{path} has two columns of one name: give each its own")
    columns = {what: next((header.index(n) for n in names if n in header), None) for what, names in NAMES.items()}
    if columns["clip"] is None:
        raise DataError(f"{path} has no column 'clip': add one with the name of each clip")
    emotions = _emotions(header, f"{branch}_") or _emotions(header, "")
    if len(emotions) < 2:
        raise DataError(
            f"{path} has no columns of emotions for {branch}, such as happy or {branch}_happy: add them"
        )

    def texts(what: str) -> list[str]:
        place = columns[what]
        return [""] * len(rows) if place is None else [row[place].strip() for row in rows]

    clips = texts("clip")
    logits = np.array(
        [[_number(row, place, path, number) for place in emotions.values()] for number, row in _numbered(rows)]
    )
    present = ~np.isnan(logits).all(1)
    if np.isnan(logits[present]).any():
        row = int(np.flatnonzero(np.isnan(logits).any(1) & present)[0]) + 1
        raise DataError(
            f"row {row} of {path} lacks some of its emotions: fill them in, or leave all of them empty"
        )
    said = logits[present]
    if len(said) and said.min() >= 0 and np.abs(said.sum(1) - 1).max() < 0.01:
        logits = np.log(np.maximum(logits, 1e-12))
    learned = next((x for what in ("fold", "part") for x in texts(what) if x.lower() in LEARNED_FROM), None)
    if learned is not None:
        raise DataError(
            f"{path} holds logits of clips that a model learned from ({learned!r}), and fitting on in-sample "
            "logits is refused: give out-of-fold ones"
        )
    found = [NAME.fullmatch(PurePath(clip.replace("\\", "/")).stem) for clip in clips]
    subjects = [match[7] if match else text for match, text in zip(found, texts("subject"), strict=True)]
    labels = [
        canonical(text) if text else LABELS[int(match[3]) - 1] if match else ""
        for match, text in zip(found, texts("label"), strict=True)
    ]
    cues = {
        cue: np.array([_number(row, header.index(cue), path, number) for number, row in _numbered(rows)])
        for cue in CUES
        if cue in header and CUES[cue].branch == branch
    }
    keys = _keys(clips, path)
    return Table(path, clips, keys, subjects, texts("fold"), labels, tuple(emotions), logits, cues)


def read_features(path: Path) -> dict[str, np.ndarray]:
    """Features of clips by what clips are joined by: every column of a CSV file but that of the clip.

    Raises:
        DataError: the file is unreadable, has no clip column, or has a cell that is no number.
    """
    path = Path(path)
    header, rows = _read(path)
    place = next((header.index(name) for name in NAMES["clip"] if name in header), None)
    if place is None or len(header) < 2:
        raise DataError(f"{path} is no table of features: it needs a column 'clip' and columns of numbers")
    others = [number for number in range(len(header)) if number != place]
    values = np.array(
        [[_number(row, column, path, number) for column in others] for number, row in _numbered(rows)]
    )
    return dict(zip(_keys([row[place] for row in rows], path), values, strict=True))


def join(audio: Table, face: Table, features: dict[str, dict[str, np.ndarray]] | None = None) -> Pairs:
    """The clips that both tables have, in the order of the first.

    Args:
        features: of `audio` or `face`, as `read_features` gives them.

    Raises:
        DataError: the tables share no clip, or say different things of one.
    """
    rows = {key: row for row, key in enumerate(face.keys)}
    first = [row for row, key in enumerate(audio.keys) if key in rows]
    second = [rows[audio.keys[row]] for row in first]
    if not first:
        raise DataError(
            f"{audio.path} and {face.path} share no clip (the first are {audio.clips[0]!r} and "
            f"{face.clips[0]!r}): name the clips alike"
        )
    chosen = {"audio": (audio, first), "face": (face, second)}
    keys = [audio.keys[row] for row in first]
    evidence = {cue: v[r] for table, r in chosen.values() for cue, v in table.cues.items()}
    for branch, known in (features or {}).items():
        absent = np.full(len(next(iter(known.values()))), np.nan)
        evidence[f"{branch}_features"] = np.stack([known.get(key, absent) for key in keys])
        if np.isnan(evidence[f"{branch}_features"]).all():
            raise DataError(f"the features of the {branch} are of none of these clips: name the clips alike")
    notes = [
        f"{len(table.keys) - len(first)} clips are only in {table.path}, and left out"
        for table, _ in chosen.values()
        if len(table.keys) > len(first)
    ]
    both = {name: _agree(chosen, name) for name in ("subjects", "labels")}
    lacking = next((clip for clip, label in zip(first, both["labels"], strict=True) if not label), None)
    if lacking is not None:
        raise DataError(
            f"{audio.path} and {face.path} have no label for {audio.clips[lacking]!r}: add a column 'label'"
        )
    return Pairs(
        clips=[audio.clips[row] for row in first],
        keys=keys,
        **both,
        folds={n: [t.folds[row] for row in r] for n, (t, r) in chosen.items() if all(t.folds[row] for row in r)},
        sources={name: table.classes for name, (table, _) in chosen.items()},
        logits={name: table.logits[r] for name, (table, r) in chosen.items()},
        present=np.stack([np.isfinite(table.logits[r]).any(1) for table, r in chosen.values()], 1),
        evidence=evidence,
        notes=notes,
    )


def _agree(chosen: dict[str, tuple[Table, list[int]]], what: str) -> list[str]:
    """Subjects or labels of joined clips, from whichever table knows them (or, of labels, knows more of them)."""
    (one, first), (other, second) = chosen.values()
    values = []
    for a, b in zip(first, second, strict=True):
        mine, theirs = getattr(one, what)[a], getattr(other, what)[b]
        emotions = what == "labels" and mine and theirs
        alike = emotions and place(theirs, one.classes) == place(mine, one.classes)  # calm where mine is neutral
        if not mine or alike:
            values.append(theirs)
        elif (
            not theirs
            or mine == theirs
            or (emotions and place(mine, other.classes) == place(theirs, other.classes))
        ):
            values.append(mine)
        else:
            raise DataError(
                f"of {one.clips[a]!r} {one.path} says {mine!r}, but {other.path} {theirs!r}: "
                f"make their {what} agree"
            )
    return values


def _numbered(rows: Sequence[Sequence[str]]) -> enumerate:
    """Rows with their numbers from 1."""
    return enumerate(rows, 1)


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read the table {path} ({error}): give a CSV file") from None
    if not rows:
        raise DataError(f"{path} holds no rows: give a CSV file with one row a clip")
    for number, row in _numbered(rows):
        if len(row) != len(header):
            raise DataError(
                f"row {number} of {path} has {len(row)} columns instead of {len(header)}: write it afresh"
            )
    return [name.strip().lower() for name in header], rows


def _emotions(header: Sequence[str], prefix: str) -> dict[str, int]:
    """Column of each emotion among those that begin with the prefix."""
    found: dict[str, int] = {}
    for number, name in enumerate(header):
        if name.startswith(prefix):
            try:
                found.setdefault(canonical(name[len(prefix) :]), number)
            except DataError:
                continue
    return found


def _keys(clips: Sequence[str], path: Path) -> list[str]:
    """What clips are joined by; a take of RAVDESS is the same in its three files."""
    stems = [PurePath(clip.replace("\\", "/")).name for clip in clips]
    stems = [PurePath(s).stem if PurePath(s).suffix.lower() in SUFFIXES else s for s in stems]
    keys = [stem[3:] if NAME.fullmatch(stem) else stem for stem in stems]
    if len(set(keys)) < len(keys):
        twice = next(clip for clip, key in zip(clips, keys, strict=True) if keys.count(key) > 1)
        raise DataError(f"{path} holds clip {twice!r} more than once: keep one row a clip")
    return keys


def _number(row: Sequence[str], column: int, path: Path, number: int) -> float:
    text = row[column].strip()
    if text.lower() in ("", "nan"):
        return float("nan")
    try:
        return float(text)
    except ValueError:
        raise DataError(f"row {number} of {path} has no number in column {column + 1}: {text!r}") from None
