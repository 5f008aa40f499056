"""The tables that a cluster writes, piece by piece: one row a file, and one row a window and person.

```
OUTPUT/files/bucket=063/0000013f.parquet      one row a file: what came of it, or why it failed
OUTPUT/windows/bucket=063/0000013f.parquet    the rows of `-f parquet` of the files in that piece
```

A piece is replaced as a whole, its windows first. Rows of windows belong to a file's row by `id` and `version`: a
file counts as done only where all of them are there, so that a worker may be killed between the two writes. A
bucket is a share of the pieces, chosen by hash: any of them is a random sample.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from avser.batch import tally
from avser.cluster import places
from avser.media.paths import show
from avser.results import Result
from avser.types import ConfigError
from avser.writers.tables import arrow_schema, arrow_table

if TYPE_CHECKING:
    import pyarrow as pa

MARK = ".avser-tables.json"
"""Name of the file in the output folder that says how the tables are cut."""
FORMAT = 1
"""Of the tables; another one where they cannot be added to."""
MOST_BUCKETS = 256

FILES, WINDOWS = "files", "windows"

_FILE_COLUMNS = {
    **{"id": "text", "version": "text", "file": "text", "output": "text", "status": "text", "error": "text"},
    **{"label": "text", "confidence": "share", "reason": "text", "duration": "time", "people": "count"},
    **{"windows": "count", "seconds": "time", "model": "text", "model_version": "text", "given": "text"},
    **{"size": "long", "modified": "long", "digest": "text", "settings": "text", "run": "text"},
}
"""Columns of the files' table with their kinds; shares of the emotions, such as `share_happy`, follow."""


@dataclass(frozen=True)
class Layout:
    """How the tables of an output folder are cut, and whose results they hold.

    Attributes:
        output: the folder, an absolute place.
        pieces: how many there are, fixed with the first run.
        labels: the emotions, which make the columns.
    """

    output: str
    pieces: int
    labels: tuple[str, ...]

    @classmethod
    def at(cls, output: str, pieces: int, labels: Sequence[str]) -> Layout:
        """The layout of a folder; made with so many pieces where it holds no tables yet.

        Raises:
            ConfigError: it holds tables of other emotions, or of another version of avser.
            AvserError: it cannot be read or written.
        """
        mark = places.absolute(MARK, output)
        data = places.content(mark)
        if data is None:
            values = {"format": FORMAT, "pieces": pieces, "labels": list(labels)}
            places.replace(mark, json.dumps(values).encode())
            return cls(output, pieces, tuple(labels))
        try:
            values = json.loads(data)
            found = cls(output, int(values["pieces"]), tuple(values["labels"]))
            known = values["format"] == FORMAT and found.pieces > 0
        except (ValueError, TypeError, KeyError):
            known = False
        if not known:
            raise ConfigError(f"{show(mark)}: is not of this version of avser; choose another -o")
        if found.labels != tuple(labels):
            raise ConfigError(f"{show(output)}: holds results of a model of other emotions; choose another -o")
        return found

    def place(self, table: str, piece: int) -> str:
        """Where a piece of a table lies."""
        bucket = piece % min(self.pieces, MOST_BUCKETS)
        return places.absolute(f"{table}/bucket={bucket:03d}/{piece:08x}.parquet", self.output)

    @property
    def window_schema(self) -> pa.Schema:
        """Columns of the windows' table."""
        import pyarrow as pa

        keys = [pa.field(name, pa.string()) for name in ("id", "version", "output")]
        return pa.schema([*keys[:2], *arrow_schema(self.labels), keys[2]])

    @property
    def file_schema(self) -> pa.Schema:
        """Columns of the files' table."""
        import pyarrow as pa

        types = {"text": pa.string(), "time": pa.float64(), "share": pa.float32(), "count": pa.int32()}
        types["long"] = pa.int64()
        shares = [(f"share_{label}", "share") for label in self.labels]
        return pa.schema([(name, types[kind]) for name, kind in (*_FILE_COLUMNS.items(), *shares)])


class Piece:
    """One piece of the tables, as it lies in the output folder.

    Attributes:
        files: rows by id, as plain values; those whose windows are not all there are left out.
        windows: rows of these files.
    """

    def __init__(self, layout: Layout, number: int) -> None:
        import pyarrow as pa
        from pyarrow import compute

        self.layout, self.number = layout, number
        files = self._read(FILES, layout.file_schema).to_pylist()
        windows = self._read(WINDOWS, layout.window_schema)
        there = Counter(zip(windows["id"].to_pylist(), windows["version"].to_pylist(), strict=True))
        self.files = {row["id"]: row for row in files if there[row["id"], row["version"]] == row["windows"]}
        whole = pa.array([(row["id"] + row["version"]) for row in self.files.values()], pa.string())
        keys = compute.binary_join_element_wise(windows["id"], windows["version"], "")
        self.windows = windows.filter(compute.is_in(keys, whole))

    def replace(self, rows: Mapping[str, dict], windows: Iterable[pa.Table]) -> None:
        """Write the piece with new rows in place of the old ones of these files.

        Args:
            rows: of the files' table, by id. windows: those of these files, from `window_rows`.

        Raises:
            AvserError: it cannot be written.
        """
        import pyarrow as pa
        from pyarrow import compute

        stay = self.windows.filter(compute.invert(compute.is_in(self.windows["id"], pa.array(rows, pa.string()))))
        self.windows = pa.concat_tables([stay, *windows]).combine_chunks()
        self.files = {**self.files, **rows}
        files = pa.Table.from_pylist(list(self.files.values()), self.layout.file_schema)
        for name, table in ((WINDOWS, self.windows), (FILES, files)):
            places.replace(self.layout.place(name, self.number), _parquet(table))

    def _read(self, name: str, schema: pa.Schema) -> pa.Table:
        """The rows of a table; none where there is no such piece, or a damaged one."""
        import pyarrow as pa
        from pyarrow import parquet

        data = places.content(self.layout.place(name, self.number))
        try:
            return parquet.ParquetFile(io.BytesIO(data or b"")).read().select(schema.names).cast(schema)
        except (pa.ArrowException, OSError, KeyError, ValueError):
            return schema.empty_table()


def window_rows(result: Result, id: str, version: str, file: str, output: str | None, layout: Layout) -> pa.Table:
    """The rows of a result in the windows' table; `file` and `output` are names as of `text`."""
    import pyarrow as pa

    table = arrow_table(result).drop_columns(["file"])
    for name, value in {"id": id, "version": version, "file": file, "output": output}.items():
        table = table.append_column(name, pa.array([value] * len(table), pa.string()))
    return table.select(layout.window_schema.names)


def file_facts(result: Result, seconds: float) -> dict[str, object]:
    """What the files' table says of a result, typed; see `avser.batch.tally.facts`. `windows` counts its rows."""
    facts: dict[str, object] = {}
    for name, value in tally.facts(result, seconds, ()).items():
        kind = _FILE_COLUMNS.get(name, "share")
        number = {"count": int, "text": str}.get(kind, float)
        facts[name] = number(value) if value else None
    facts["model"], facts["model_version"] = result.model, result.model_version
    return {name: value for name, value in facts.items() if name != "written"} | {
        "windows": len(result.predictions)
    }


def text(name: str) -> str:
    """A name as a table can hold it: it may hold bytes that are no text."""
    return name.encode("utf-8", "backslashreplace").decode()


def _parquet(table: pa.Table) -> bytes:
    from pyarrow import parquet

    data = io.BytesIO()
    parquet.write_table(table, data, compression="zstd")
    return data.getvalue()
