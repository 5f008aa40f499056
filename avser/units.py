"""Action units (FACS) that another program has measured: frames of OpenFace or py-feat, or a table of clip means.

Sources: T. Baltrusaitis, A. Zadeh, Y. C. Lim and L.-P. Morency, "OpenFace 2.0: Facial Behavior Analysis Toolkit",
FG 2018; E. Jolly, J. H. Cheong, T. Xie and L. J. Chang, "Py-Feat: Python Facial Expression Analysis Toolbox",
Affective Science, 2023.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from avser.config import FaceInput
from avser.types import Clip, ConfigError, DataError

INTENSE = tuple(f"AU{number:02d}" for number in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45))
FELT = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
UNIT_SETS: dict[str, tuple[str, ...]] = {
    "openface": (
        *(f"{unit}_r" for unit in INTENSE),
        *(f"{unit}_c" for unit in (*INTENSE[:-1], "AU28", INTENSE[-1])),
    ),
    "pyfeat": tuple(
        f"AU{n:02d}" for n in (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
    ),
}
"""Columns by the program that writes them: OpenFace's intensities (0 to 5) and presences (0 or 1), py-feat's."""

UNIT = re.compile(r"AU\d\d(_[rc])?")


def unit_names(params: FaceInput) -> tuple[str, ...]:
    """The columns that a network takes, in its order.

    Raises:
        ConfigError: there is no such set.
    """
    if not isinstance(params.units, str):
        return tuple(params.units)
    if params.units not in UNIT_SETS:
        raise ConfigError(
            f"face.units: unknown set {params.units!r}: choose from {', '.join(UNIT_SETS)}, or list columns"
        )
    return UNIT_SETS[params.units]


def read_clip(clip: Clip, params: FaceInput) -> np.ndarray:
    """The action units of a clip, (N, D) float32: a row for each frame in which the face was found.

    They are raised to `params.power`. A row of a table of means is one frame. `Clip.start` and `Clip.end` are kept
    to where frames have times.

    Raises:
        DataError: the file is no such table, a cell holds no number, or no frame shows the face.
    """
    names = unit_names(params)
    found = _frames(clip, names) if clip.row is None else _row(clip.path, clip.row, names)
    return found if params.power == 1 else np.sign(found) * np.abs(found) ** params.power


def _row(path: Path, row: int, names: tuple[str, ...]) -> np.ndarray:
    table = _means(path, names)
    if not 0 <= row < len(table):
        raise DataError(f"{path}: has no row {row + 1}; write the table afresh")
    if np.isnan(table[row]).any():
        raise DataError(f"{path}: row {row + 1} holds no action units, the face was never found")
    return table[row][None]


def check_tables(clips: Sequence[Clip], params: FaceInput) -> None:
    """Read the tables of means that clips lie in: what is wrong with one is wrong for all of its clips.

    Raises:
        DataError, ConfigError: as of `read_clip` and `unit_names`.
    """
    names = unit_names(params)
    for path in dict.fromkeys(clip.path for clip in clips if clip.row is not None):
        _means(path, names)


def subtract_means(frames: Sequence[np.ndarray], clips: Sequence[Clip]) -> list[np.ndarray]:
    """Each clip's frames (N, D) minus the mean over all of these clips of the same subject; no labels are used.

    A figure on such clips is transductive: to judge one clip, the others of the same person must be at hand.

    Raises:
        DataError: it is not known of whom a clip is.
    """
    groups = defaultdict(list)
    for number, clip in enumerate(clips):
        if clip.subject is None:
            raise DataError(f"{clip.path}: says not of whom {clip.name} is, which face.centre=subject needs")
        groups[clip.corpus, clip.subject].append(number)
    centred = list(frames)
    for numbers in groups.values():
        mean = np.mean([frames[number].mean(0, dtype=np.float64) for number in numbers], axis=0)
        for number in numbers:
            centred[number] = (frames[number] - mean).astype(np.float32)
    return centred


# Tables


def read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Names and rows of a CSV file, stripped of the blanks that OpenFace writes.

    Raises:
        DataError: the file cannot be read, holds no rows, or a row is cut short.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            names, *rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(row)] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table ({error}); write it afresh") from None
    if not rows:
        raise DataError(f"{path}: holds no rows; write it afresh")
    for number, row in enumerate(rows, 1):
        if len(row) < len(names):
            raise DataError(f"{path}: row {number} is cut short; write it afresh")
    return names, rows


def units_in(names: Sequence[str]) -> list[str]:
    """Those names of columns that are action units.

    >>> units_in(["frame", "AU01_r", "AU12", "AUx"])
    ['AU01_r', 'AU12']
    """
    return [name for name in names if UNIT.fullmatch(name)]


def _frames(clip: Clip, wanted: tuple[str, ...]) -> np.ndarray:
    path = clip.path
    names, rows = read_table(path)
    _need(names, wanted, path)
    if "success" in names:  # of py-feat, a frame without a face has empty cells instead
        success = _numbers(path, names, rows, ("success",))[:, 0]
    else:
        success = np.ones(len(rows))
    found = np.flatnonzero(success > 0)
    values = _numbers(path, names, [rows[i] for i in found], wanted, found)
    found, values = found[~np.isnan(values).any(1)], values[~np.isnan(values).any(1)]
    found, values = _one_face(path, names, rows, found, values)
    if "timestamp" in names and (clip.start or clip.end is not None):
        times = _numbers(path, names, [rows[i] for i in found], ("timestamp",), found)[:, 0]
        values = values[(times >= clip.start) & (times < (np.inf if clip.end is None else clip.end))]
    if not len(values):
        raise DataError(f"{path}: the face was found in none of its {len(rows)} frames")
    return values.astype(np.float32)


def _one_face(path: Path, names: list[str], rows: list[list[str]], found: np.ndarray, values: np.ndarray):
    """The rows of the face that is seen longest, where a file holds several."""
    if "face_id" in names:
        faces = np.array([rows[i][names.index("face_id")] for i in found])
        if len(faces):
            who, counts = np.unique(faces, return_counts=True)
            return found[faces == who[counts.argmax()]], values[faces == who[counts.argmax()]]
    elif "frame" in names:
        frames = [rows[i][names.index("frame")] for i in found]
        if len(set(frames)) < len(frames):
            raise DataError(f"{path}: shows several faces in a frame, and no column face_id tells them apart")
    return found, values


@lru_cache(maxsize=4)
def _means(path: Path, wanted: tuple[str, ...]) -> np.ndarray:
    """A table of clip means as (rows, D) float32."""
    names, rows = read_table(path)
    _need(names, wanted, path)
    return _numbers(path, names, rows, wanted).astype(np.float32)


def _need(names: Sequence[str], wanted: Sequence[str], path: Path) -> None:
    there = units_in(names)
    lacking = [name for name in wanted if name not in names]
    if not lacking:
        return
    if not there:
        raise DataError(f"{path}: has no columns of action units (AU01_r…); write it by OpenFace or py-feat")
    fitting = next((key for key, units in UNIT_SETS.items() if set(units) <= set(names)), None)
    hint = f"set face.units={fitting}" if fitting else f"list in face.units what it has: {', '.join(there)}"
    raise DataError(f"{path}: has no column {lacking[0]!r}; {hint}")


def _numbers(
    path: Path,
    names: list[str],
    rows: list[list[str]],
    wanted: Sequence[str],
    numbers: Sequence[int] | np.ndarray | None = None,
) -> np.ndarray:
    """Columns as (rows, D) float64; a row in which all of them are empty is nan.

    Args:
        numbers: which rows of the file these are, for the message.
    """
    columns = [names.index(name) for name in wanted]
    table = np.full((len(rows), len(columns)), np.nan)
    for place, row in enumerate(rows):
        cells = [row[column] for column in columns]
        if all(cell.lower() in ("", "nan") for cell in cells):
            continue
        for column, cell in enumerate(cells):
            with contextlib.suppress(ValueError):
                table[place, column] = float(cell)
            if not np.isfinite(table[place, column]):
                number = (place if numbers is None else numbers[place]) + 1
                raise DataError(f"{path}: row {number} has no number in column {wanted[column]!r}: {cell!r}")
    return table
