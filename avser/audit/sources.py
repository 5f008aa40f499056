"""Where a split to be audited comes from: a config's protocol, a manifest of any tool, or a file of logits."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avser.config import Config
from avser.datasets import ravdess
from avser.logits import COLUMNS, read_logits
from avser.training import data, runs
from avser.training.fused_config import load_any
from avser.types import Clip, ConfigError, DataError

Place = tuple[str, str]
"""Fold and part. The fold is "" where there is but one way in which the clips are split."""

COLUMNS_OF_MANIFEST = "the columns path, split or fold, and perhaps subject and label"


@dataclass(frozen=True)
class Split:
    """Clips and where each lies.

    Attributes:
        places: of each clip the (fold, part) in which it is used.
        media: whether the clips' files are to be looked at; else only their names are known.
        notes: sentences on what the figures do not say.
    """

    name: str
    clips: list[Clip]
    places: list[list[Place]]
    media: bool = True
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of_places(cls, name: str, placed: Iterable[tuple[Clip, Place]], **more: Any) -> Split:
        """The split of clips that come with a place each, a clip as often as it has places."""
        found: dict[tuple, tuple[Clip, list[Place]]] = {}
        for clip, place in placed:
            places = found.setdefault((clip.path, clip.row, clip.start, clip.end), (clip, []))[1]
            if place not in places:
                places.append(place)
        return cls(name, [clip for clip, _ in found.values()], [places for _, places in found.values()], **more)

    def folds(self) -> dict[str, dict[str, int]]:
        """Number of clips by fold and part."""
        counts: dict[str, dict[str, int]] = {}
        for places in self.places:
            for fold, part in places:
                parts = counts.setdefault(fold, {})
                parts[part] = parts.get(part, 0) + 1
        return counts


def read_split(what: Path, overrides: Sequence[str] = (), data_root: Path | None = None) -> Split:
    """The split that a file tells of: a config, a manifest or a table of logits (both .csv).

    Args:
        overrides: `key=value`, for a config.
        data_root: where the corpora of a config lie, and files of a manifest that do not lie beside it.

    Raises:
        ConfigError, DataError: the file cannot be read, or is none of these.
    """
    if what.suffix.lower() != ".csv":
        return of_config(what, overrides, data_root)
    if overrides:
        raise ConfigError(f"{overrides[0]!r} is for a config, and {what} is a table: drop it")
    header = _read(what)[0]
    return of_logits(what) if tuple(header[: len(COLUMNS)]) == COLUMNS else of_manifest(what, data_root)


def of_config(path: Path, overrides: Sequence[str], data_root: Path | None) -> Split:
    """The folds on which a config is trained, built as training builds them."""
    given = load_any(path, overrides)
    config = given if isinstance(given, Config) else given.of_branch("audio")  # both branches have the same clips
    clips = data.scan(config, data_root)
    folds = runs.make_protocol(config, clips)
    chosen = runs.chosen_folds(config, folds)
    placed = (
        (clip, (f"fold{index}" if len(folds) > 1 else "", part))
        for index in chosen
        for part in ("train", "val", "test")
        for clip in getattr(folds[index], part)
    )
    media = config.signal != "action_units"
    notes = []
    if any(folds[index].inflated for index in chosen):
        notes.append(f"protocol {config.protocol!r} lets subjects be shared, and is named inflated for it")
    if media:
        notes.append(
            "training leaves clips out of the training part whose decoded input is identical to a held-out one; "
            "nearly identical ones stay, and so do those that validation and test share"
        )
    else:
        notes.append("action units are no media: only subjects and takes are looked at")
    return Split.of_places(f"{given.name}, {config.protocol_name}", placed, media=media, notes=notes)


def of_manifest(path: Path, data_root: Path | None) -> Split:
    """A table with the columns `path`, `split` or `fold` or both, and perhaps `subject` and `label`.

    With `fold` alone each fold is held out from all others, and so is a part; with both, each fold is split by
    itself. Where there is no column `subject`, RAVDESS names tell it. A path is looked for beside the table, then
    below `data_root`.
    """
    header, *rows = _read(path)
    if lacking := "'path'" if "path" not in header else "'split' or 'fold'" * (not {"split", "fold"} & {*header}):
        raise DataError(f"{path}: has no column {lacking}; a manifest has {COLUMNS_OF_MANIFEST}")
    placed = []
    for number, values in enumerate(rows, 2):
        if len(values) != len(header):
            raise DataError(f"line {number} of {path} has {len(values)} columns instead of {len(header)}; mend it")
        row = dict(zip(header, (value.strip() for value in values), strict=True))
        both = {"fold", "split"} <= row.keys()
        place = (row["fold"] if both else "", row["split"] if "split" in row else row["fold"])
        if not row["path"] or not place[1]:
            raise DataError(f"line {number} of {path} has no {'path' if not row['path'] else 'part'}; fill it in")
        placed.append((_clip(_find(Path(row["path"]), path.parent, data_root), row, "subject" in header), place))
    if not placed:
        raise DataError(f"{path}: lists no files; give one a line")
    return _checked(Split.of_places(str(path), placed))


def of_logits(path: Path) -> Split:
    """The folds of a table of logits, each held out from all others; RAVDESS names tell subject and take."""
    table = read_logits(path)
    rows = zip(table.clips, table.subjects, table.folds, table.labels, strict=True)
    placed = [
        (_clip(Path(name), {"subject": subject, "label": label}, bool(subject)), ("", fold))
        for name, subject, fold, label in rows
    ]
    if not placed:
        raise DataError(f"{path}: holds no clips; write it afresh")
    notes = ["a table of logits names clips and holds no media: only names, subjects and takes are looked at"]
    return _checked(Split.of_places(str(path), placed, media=False, notes=notes))


def _checked(split: Split) -> Split:
    """The split with a note where it says less than it seems to."""
    if all(len(parts) < 2 for parts in split.folds().values()):
        split.notes.append("there is one part only, and nothing can cross")
    if all(clip.subject is None for clip in split.clips):
        split.notes.append("nobody is named as subject: whether people are shared is not known")
    return split


def _clip(path: Path, row: dict[str, str], told: bool) -> Clip:
    """The clip of a row; its subject is that of the table if it is `told`, else of a RAVDESS name."""
    known = ravdess.describe(path if path.suffix else path.with_name(f"{path.name}.wav"))
    subject = row.get("subject") if told else known and known.subject
    if subject and subject.endswith("/"):  # of a pooled table: a corpus without subjects
        subject = None
    info = {"take": known.info["take"]} if known else {}
    return Clip(path, row.get("label") or None, subject or None, "", info=info)


def _find(path: Path, folder: Path, data_root: Path | None) -> Path:
    """Where a file of a manifest is; beside the manifest if it is nowhere."""
    places = [folder / path, *([data_root / path] if data_root else [])]
    return next((place for place in places if place.is_file()), places[0])


def _read(path: Path) -> list[list[str]]:
    """The rows of a CSV file that are not empty, its header first, without blanks around its names."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give a config, a manifest or a table of logits") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table ({error}); save it as CSV in UTF-8") from None
    if not rows:
        raise DataError(f"{path}: is empty; a manifest has {COLUMNS_OF_MANIFEST}")
    return [[name.strip() for name in rows[0]], *rows[1:]]
