"""Reading the picture of a clip, be it a file of its own or a row of a pixel table."""

from __future__ import annotations

import csv
import warnings
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from avser.types import Clip, DataError

SIDE = 48
"""Height and width of the pictures in pixel tables, in px (FER2013 and CK+ alike)."""


def load_image(clip: Clip) -> np.ndarray:
    """The picture of a clip, (H, W, 3) uint8 RGB.

    A table of pixels (CSV or npz, see `Clip.row`) is read once and kept.

    Raises:
        DataError: the picture is missing or damaged.
    """
    if clip.row is None:
        return _read_file(clip.path)
    table = _npz_table(clip.path) if clip.path.suffix.lower() == ".npz" else _csv_table(clip.path)
    picture = table[clip.row] if 0 <= clip.row < len(table) else None
    if picture is None:
        raise DataError(
            f"row {clip.row} of {clip.path} holds no picture of {SIDE}×{SIDE} grey values: get the table afresh"
        )
    return np.repeat(picture[:, :, None], 3, axis=2)  # (H, W, 3)


def read_rows(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The rows of a CSV file as dicts; names and values are stripped of blanks.

    Raises:
        DataError: the file cannot be read, or lacks one of `columns`.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            names = [name.strip() for name in next(reader, [])]
            lacking = [name for name in columns if name not in names]
            if lacking:
                raise DataError(f"{path} has no column {lacking[0]!r}: expected {', '.join(columns)}")
            for values in reader:
                if len(values) < len(names):
                    raise DataError(f"line {reader.line_num} of {path} is cut short: get the table afresh")
                yield {name: value.strip() for name, value in zip(names, values, strict=False)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read the table {path} ({error}): get it afresh") from error


def npz_arrays(path: Path, *keys: str) -> list[np.ndarray]:
    """Arrays of an npz file by name.

    Raises:
        DataError: the file cannot be read, or lacks one of the arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[key] for key in keys]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read {', '.join(keys)} from {path} ({error}): get the file afresh") from error


def _read_file(path: Path) -> np.ndarray:
    try:
        import cv2
    except ImportError as error:
        raise DataError(
            f"cannot open {path} as OpenCV does not load ({error}): on a minimal Linux install the system "
            "packages libgl1 and libglib2.0-0"
        ) from error
    try:
        # Not cv2.imread: it returns None for a missing and for a damaged file alike, and prints to stderr.
        data = np.frombuffer(path.read_bytes(), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except (OSError, cv2.error) as error:
        raise DataError(f"cannot read the picture {path} ({error}): get it afresh") from error
    if image is None:
        raise DataError(f"the picture {path} is damaged or in a format that OpenCV does not know: get it afresh")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


@lru_cache(maxsize=4)
def _csv_table(path: Path) -> list[np.ndarray | None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # how numpy reports text that is no number
        return [_parse(row["pixels"]) for row in read_rows(path, ("pixels",))]


@lru_cache(maxsize=4)
def _npz_table(path: Path) -> np.ndarray:
    (images,) = npz_arrays(path, "images")
    if images.ndim != 3 or images.dtype != np.uint8:
        raise DataError(f"images in {path} must be (N, H, W) uint8, not {images.shape} {images.dtype}")
    return images


def _parse(pixels: str) -> np.ndarray | None:
    """Grey values parted by blanks as (H, W) uint8; None where they are not a picture."""
    try:
        values = np.fromstring(pixels, np.int64, sep=" ")  # six times as fast as splitting
    except (ValueError, DeprecationWarning):
        return None
    if len(values) != SIDE * SIDE or values.min() < 0 or values.max() > 255:
        return None
    return values.astype(np.uint8).reshape(SIDE, SIDE)
