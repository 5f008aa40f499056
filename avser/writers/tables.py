"""Results as JSON and as tables: one row a window and person."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from typing import TextIO

from avser.results import Prediction, Result


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
