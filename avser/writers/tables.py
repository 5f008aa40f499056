"""Results as JSON, and as tables with one row a window and person: CSV and Parquet, of the same columns."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from avser.results import RESULT_SCHEMA_VERSION, Prediction, Result

if TYPE_CHECKING:
    import pyarrow as pa

MODALITIES = ("audio", "face")
ROWS = 1000
"""Windows that are turned into columns at a time."""


def write_json(result: Result, file: TextIO) -> None:
    """Everything, by the schema of `Result.to_dict`; hours of windows are never held together as plain values."""
    text = functools.partial(json.dumps, ensure_ascii=False, indent=1)
    file.write(text(result.facts()).removesuffix("\n}") + ',\n "predictions": [')
    separator = "\n"
    for row in result.rows():
        file.write(separator + "  " + text(row).replace("\n", "\n  "))
        separator = ",\n"
    file.write("]\n}\n" if separator == "\n" else "\n ]\n}\n")


def write_csv(result: Result, file: TextIO) -> None:
    """One row a window and person; a cell is empty where there is nothing to say."""
    writer = csv.writer(file, lineterminator="\n")
    table = columns(result.path, result.labels)
    writer.writerow([column.name for column in table])
    for p in result.predictions:
        writer.writerow([column.cell(p) for column in table])


def write_parquet(result: Result, path: Path, progress: Callable[[float], None]) -> None:
    """The same rows with typed columns, not rounded; null where there is nothing to say.

    The table's metadata hold the model (`avser.model`, `avser.model_version`), the version of the schema
    (`avser.schema`), and as `avser.result` all else that the JSON says of the file.
    """
    from pyarrow import parquet

    facts = {
        "avser.schema": str(RESULT_SCHEMA_VERSION),
        "avser.model": result.model,
        "avser.model_version": result.model_version,
        "avser.result": json.dumps(result.facts()),
    }
    parquet.write_table(arrow_table(result).replace_schema_metadata(facts), path, compression="zstd")


def arrow_table(result: Result) -> pa.Table:
    """The same rows in memory, without metadata."""
    import pyarrow as pa

    schema, table = arrow_schema(result.labels), columns(result.path, result.labels)
    batches = []
    for first in range(0, len(result.predictions), ROWS):
        rows = result.predictions[first : first + ROWS]
        values = ([column.value(p) for p in rows] for column in table)
        arrays = map(pa.array, values, (field.type for field in schema))
        batches.append(pa.record_batch(list(arrays), schema=schema))
    return pa.Table.from_batches(batches, schema).combine_chunks()


def arrow_schema(labels: Sequence[str]) -> pa.Schema:
    """Names and types of the columns of a model's results."""
    import pyarrow as pa

    types = {"text": pa.string(), "time": pa.float64(), "share": pa.float32(), "count": pa.int32()}
    return pa.schema([(column.name, types[column.kind]) for column in columns("", labels)])


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes:
        kind: text, time (s), share (0 to 1) or count.
        value: what it says of a window; None where it says nothing.
    """

    name: str
    kind: str
    value: Callable[[Prediction], object]

    def cell(self, p: Prediction) -> str:
        """The value as text: times to the millisecond, shares to four digits."""
        value = self.value(p)
        if value is None:
            return ""
        return f"{value:.{DIGITS[self.kind]}f}" if self.kind in DIGITS else str(value)


DIGITS = {"time": 3, "share": 4}


def columns(path: str | Path, labels: Sequence[str]) -> list[Column]:
    """The columns of a table of the results of one file.

    Probabilities are `fused_happy`, `audio_happy`, `face_happy` and so on, those of the modalities before their
    weights `audio_weight` and `face_weight` are applied.
    """
    # a file's name may hold bytes that are no text
    name = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return [
        Column("file", "text", lambda p: name),
        Column("start", "time", lambda p: p.start),
        Column("end", "time", lambda p: p.end),
        Column("person", "count", lambda p: p.person),
        Column("label", "text", lambda p: p.label),
        Column("category", "text", lambda p: p.category),
        Column("confidence", "share", lambda p: p.confidence),
        Column("face_frames", "count", lambda p: p.face_frames),
        Column("speech", "share", lambda p: p.speech),
        Column("speaking", "share", lambda p: p.speaking),
        Column("reason", "text", lambda p: p.reason),
        Column("note", "text", lambda p: p.note),
        *(_weight(of) for of in MODALITIES),
        *(_prob("fused", i, label) for i, label in enumerate(labels)),
        *(_prob(of, i, label) for of in MODALITIES for i, label in enumerate(labels)),
    ]


def _weight(of: str) -> Column:
    return Column(f"{of}_weight", "share", lambda p: p.weights.get(of))


def _prob(of: str, index: int, label: str) -> Column:
    def value(p: Prediction) -> float | None:
        probs = p.probs if of == "fused" else p.modalities.get(of)
        return None if probs is None else float(probs[index])

    return Column(f"{of}_{label}", "share", value)
