"""Result to file, one function a format. A file appears under its name only when it is complete."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from avser.files import replacing
from avser.results import Prediction, Result
from avser.types import AvserError, ConfigError


def write(result: Result, path: str | Path, format: str | None = None) -> Path:
    """Write a result; the format follows from the suffix unless it is given.

    The file is written under a temporary name and renamed, so a half-written one is never found.

    Raises:
        ConfigError: the format is unknown.
        AvserError: the file cannot be written.
    """
    path = Path(path)
    name = format or path.suffix.removeprefix(".").lower()
    if name not in WRITERS:
        raise ConfigError(f"{path}: unknown output format {name!r}: choose from {', '.join(WRITERS)}")
    try:
        # a file's name may hold bytes that are no text: they become \udc.., which JSON reads back as they were
        with (
            replacing(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            WRITERS[name](result, file)
    except OSError as error:
        raise AvserError(f"{path}: cannot be written ({error.strerror or error}); choose another -o") from None
    return path


def write_json(result: Result, file: TextIO) -> None:
    """Everything, by the schema of `Result.to_dict`."""
    json.dump(result.to_dict(), file, ensure_ascii=False, indent=1)
    file.write("\n")


def write_csv(result: Result, file: TextIO) -> None:
    """One row a window and person: start, end, person, label, confidence, reason, weights, and every probability.

    Columns of probabilities are `fused_happy`, `audio_happy`, `face_happy` and so on; empty where absent.
    """
    modalities = ("audio", "face")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        [
            *("file", "start", "end", "person", "label", "confidence", "face_frames"),
            *("speech", "speaking", "reason", "note"),
            *(f"{name}_weight" for name in modalities),
            *(f"{name}_{label}" for name in ("fused", *modalities) for label in result.labels),
        ]
    )
    for p in result.predictions:
        writer.writerow([str(result.path), *_row(p, modalities, len(result.labels))])


def _row(p: Prediction, modalities: Sequence[str], classes: int) -> list[object]:
    def cells(probs) -> list[str]:
        return [""] * classes if probs is None else [f"{x:.4f}" for x in probs]

    return [
        f"{p.start:.3f}",
        f"{p.end:.3f}",
        "" if p.person is None else p.person,
        p.label or "",
        "" if p.confidence is None else f"{p.confidence:.4f}",
        p.face_frames,
        *("" if share is None else f"{share:.4f}" for share in (p.speech, p.speaking)),
        p.reason or "",
        p.note or "",
        *(f"{p.weights[name]:.4f}" if name in p.weights else "" for name in modalities),
        *cells(p.probs),
        *(cell for name in modalities for cell in cells(p.modalities.get(name))),
    ]


def output_stems(sources: Sequence[tuple[Path, Path]]) -> list[Path]:
    """Where each result goes below the output folder, without the format's suffix; no two alike.

    A file found in a given folder keeps its place below it. A name that several files share gets the media suffix,
    and a number if that is not enough.

    Args:
        sources: pairs (what was given, file found there).
    """
    wanted = [
        path.relative_to(given).with_suffix("") if given != path else Path(path.stem) for given, path in sources
    ]
    shared = Counter(str(stem).lower() for stem in wanted)
    taken: set[str] = set()
    stems = []
    for (_, path), stem in zip(sources, wanted, strict=True):
        name = stem.name if shared[str(stem).lower()] == 1 else stem.name + path.suffix
        final, number = stem.with_name(name), 2
        while str(final).lower() in taken:
            final, number = stem.with_name(f"{name}-{number}"), number + 1
        taken.add(str(final).lower())
        stems.append(final)
    return stems


WRITERS: dict[str, Callable[[Result, TextIO], None]] = {"json": write_json, "csv": write_csv}
