"""Tables of results: Parquet read back by its library says what the CSV says, typed."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
from made_results import make_result, make_scene

from avser.writers import write

pa = pytest.importorskip("pyarrow", reason="needs avser[parquet]", exc_type=ImportError)
parquet = pytest.importorskip("pyarrow.parquet", reason="needs avser[parquet]", exc_type=ImportError)


@pytest.mark.parametrize("made", [make_scene(), make_result(), dataclasses.replace(make_result(), predictions=())])
def test_json_is_written_as_one_value_would_be(made, tmp_path):
    whole = json.dumps(made.to_dict(), ensure_ascii=False, indent=1) + "\n"
    assert write(made, tmp_path / "x.json").read_text(encoding="utf-8") == whole


def test_parquet_of_many_windows(tmp_path):
    scene = make_scene(1500, people=1)
    table = parquet.read_table(write(scene, tmp_path / "x.parquet"))
    assert len(table) == len(scene.predictions) > 1000
    assert table["start"].to_pylist() == [p.start for p in scene.predictions]


def test_parquet_holds_what_the_csv_holds(tmp_path):
    scene = make_scene()
    table = parquet.read_table(write(scene, tmp_path / "x.parquet"))
    with write(scene, tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert table.column_names == list(rows[0])
    assert table.num_rows == len(rows) == len(scene.predictions)
    for row, typed in zip(rows, table.to_pylist(), strict=True):
        for name, cell in row.items():
            if typed[name] is None:
                assert cell == ""
            elif isinstance(typed[name], float):
                assert float(cell) == pytest.approx(
                    typed[name], abs=0.51e-3 if name in ("start", "end") else 0.51e-4
                )
            else:
                assert cell == str(typed[name])


def test_parquet_is_typed_and_not_rounded(tmp_path):
    result = make_result()
    table = parquet.read_table(write(result, tmp_path / "x.parquet"))
    types = {name: table.schema.field(name).type for name in table.column_names}
    assert types["start"] == types["end"] == pa.float64()
    assert types["person"] == types["face_frames"] == pa.int32()
    assert types["label"] == types["reason"] == pa.string()
    assert all(kind == pa.float32() for name, kind in types.items() if name.endswith(("_happy", "_weight")))
    assert table["end"].to_pylist() == [p.end for p in result.predictions]
    assert table["face_sad"].to_pylist() == [np.float32(0.00004), None]


def test_parquet_names_the_model_and_the_version(tmp_path):
    result = make_result()
    facts = parquet.read_schema(write(result, tmp_path / "x.parquet")).metadata
    assert (facts[b"avser.model"], facts[b"avser.model_version"], facts[b"avser.schema"]) == (
        b"av-test",
        b"0.1",
        b"2",
    )
    plain = result.to_dict()
    plain.pop("predictions")
    assert json.loads(facts[b"avser.result"]) == plain


def test_parquet_without_a_window(tmp_path):
    empty = dataclasses.replace(make_result(), predictions=(), segments=())
    table = parquet.read_table(write(empty, tmp_path / "x.parquet"))
    assert table.num_rows == 0
    assert table.schema.field("fused_happy").type == pa.float32()
