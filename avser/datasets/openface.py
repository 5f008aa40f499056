"""Action units as OpenFace or py-feat have measured them, for RAVDESS or for recordings of your own.

Two layouts are known. A table of means, one row a clip: a column `clip`, then action units (`AU01_r`, `AU01`…).
Or a folder of files with one row a frame, each named after its clip (`01-01-03-01-01-01-01.csv`). Where clips bear
the names of RAVDESS, those say emotion and actor, and the corpus is `ravdess`. For others, the table of means has
the columns `label` and `subject` too, or such a table without action units lies beside the files of frames.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from avser.config import FaceInput
from avser.datasets import ravdess
from avser.datasets._facts import Facts, Part
from avser.datasets._files import find
from avser.labels import EMOTIONS, canonical
from avser.types import Clip, DataError
from avser.units import read_clip, read_table, units_in

Row = Mapping[str, str]


def scan(root: Path) -> list[Clip]:
    """The clips of a table of means, or of all tables and files of frames in a folder.

    Raises:
        DataError: a table names a clip twice, or it is not known which emotion a clip shows.
    """
    tables = {path: _header(path) for path in ([root] if root.is_file() else find(root, [".csv"]))}
    listed: dict[str, tuple[Row, Path, int]] = {}
    means = []
    for path, names in tables.items():
        if "clip" not in names:
            continue
        for row, facts in enumerate(_rows(path)):
            if units_in(names):
                means.append(_clip(facts, path, row, path))
            elif "label" in names:
                listed[facts["clip"]] = facts, path, row
    frames = []
    for path, names in tables.items():
        if "clip" in names:
            continue
        if path.stem in listed:
            facts, table, _ = listed[path.stem]
            frames.append(_clip(facts, path, None, table))
        elif ravdess.NAME.fullmatch(path.stem):
            frames.append(_clip({"clip": path.stem}, path, None, path))
    return means + frames


def _header(path: Path) -> list[str]:
    """Names of the columns; nothing of a file that is no text."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return [name.strip() for name in file.readline().split(",")]
    except UnicodeDecodeError:
        return []
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); get the file again") from None


def _rows(path: Path) -> list[Row]:
    names, rows = read_table(path)
    found: list[Row] = [dict(zip(names, row, strict=False)) for row in rows]
    seen: dict[str, int] = {}
    for number, facts in enumerate(found, 1):
        if not facts["clip"]:
            raise DataError(f"{path}: row {number} names no clip; write the table afresh")
        if (first := seen.setdefault(facts["clip"], number)) != number:
            raise DataError(f"{path}: rows {first} and {number} are both of clip {facts['clip']!r}; keep one")
    return found


def _name(facts: Row) -> str:
    name = facts["clip"]
    return Path(name).stem if name.lower().endswith((".mp4", ".csv", ".avi")) else name


def _clip(facts: Row, path: Path, row: int | None, table: Path) -> Clip:
    """One clip, whose facts a row of `table` or its name tells."""
    name = _name(facts)
    if "label" in facts:
        try:
            label = canonical(facts["label"])
        except DataError as error:
            raise DataError(f"{table}: clip {name!r}: {error}") from None
        info = {key: value for key, value in facts.items() if key in ("gender", "split", "take") and value}
        return Clip(path, label, facts.get("subject") or None, "openface", row=row, info={**info, "name": name})
    known = ravdess.describe(Path(name))
    if known is None:
        raise DataError(
            f"{table}: clip {name!r} is not named as RAVDESS names its files, and there is no column 'label'; "
            "add the columns label and subject"
        )
    return dataclasses.replace(known, path=path, row=row, info={**known.info, "name": name})


def _listed(root: Path) -> list[str]:
    """The clips of tables that hold labels only."""
    tables = {path: _header(path) for path in ([root] if root.is_file() else find(root, [".csv"]))}
    labels = [path for path, names in tables.items() if {"clip", "label"} <= set(names) and not units_in(names)]
    return [_name(facts) for path in labels for facts in _rows(path)]


def _opened(clip: Clip) -> None:
    read_clip(clip, FaceInput(units=units_in(_header(clip.path))))


FACTS = Facts(
    title="action units",
    page="https://github.com/TadasBaltrusaitis/OpenFace",
    licence="your own",
    citation=(
        "T. Baltrusaitis, A. Zadeh, Y. C. Lim and L.-P. Morency, OpenFace 2.0: Facial Behavior Analysis Toolkit, "
        "FG 2018"
    ),
    layout=(
        "a CSV table with the columns clip, AU01_r, AU02_r, … (and label, subject where they are not named as in "
        "RAVDESS), or a folder with a CSV file of OpenFace or py-feat for each clip"
    ),
    emotions=EMOTIONS,
    parts={"clips": Part()},
    name_of=lambda clip: clip.name,
    listed=_listed,
    opened=_opened,
)
