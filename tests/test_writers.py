"""Files of results: golden rows, nothing half-written, and what is missing is said in a sentence."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest
from made_results import make_result

import avser
from avser import writers
from avser.types import AvserError, ConfigError, MissingExtraError
from avser.writers import WRITERS, write

HAPPY = {
    "start": 0.0,
    "end": 3.0,
    "person": 1,
    "label": "happy",
    "category": None,
    "confidence": 0.7,
    "probs": {"neutral": 0.1, "happy": 0.7, "sad": 0.2},
    "modalities": {
        "audio": {"neutral": 0.25, "happy": 0.5, "sad": 0.25},
        "face": {"neutral": 0.0, "happy": 1.0, "sad": 0.0},
    },
    "weights": {"audio": 0.6, "face": 0.4},
    "face_frames": 30,
    "speech": 0.5,
    "speaking": 0.25,
    "reason": None,
    "note": "a note",
}
GOLDEN = {
    "schema": 2,
    "file": "talks/a b.mp4",
    "model": {"name": "av-test", "version": "0.1"},
    "modality": "fused",
    "settings": {"window": 3.0, "hop": 1.0, "smooth": 0.0, "vad": True, "max_faces": 8, "min_face": 24},
    "labels": ["neutral", "happy", "sad"],
    "media": {
        "duration": 4.0,
        "has_audio": True,
        "has_video": True,
        "width": 640,
        "height": 480,
        "fps": "30000/1001",
        "video_codec": "h264",
        "audio_codec": "aac",
        "audio_rate": 44100,
        "audio_channels": 2,
    },
    "overall": HAPPY,
    "people": [],
    "speech": [[0.5, 2.0]],
    "cuts": [1.5],
    "segments": [{"start": 0.0, "end": 3.0, "person": 1, "label": "happy", "confidence": 0.7}],
    "predictions": [
        HAPPY,
        {
            "start": 1.0,
            "end": 4.0,
            "person": None,
            "label": None,
            "category": None,
            "confidence": None,
            "probs": None,
            "modalities": {},
            "weights": {},
            "face_frames": 0,
            "speech": None,
            "speaking": None,
            "reason": "no audio track and no face seen",
            "note": None,
        },
    ],
}
GOLDEN_CSV = """\
file,start,end,person,label,category,confidence,face_frames,speech,speaking,reason,note,audio_weight,face_weight,\
fused_neutral,fused_happy,fused_sad,audio_neutral,audio_happy,audio_sad,face_neutral,face_happy,face_sad
talks/a b.mp4,0.000,3.000,1,happy,,0.7000,30,0.5000,0.2500,,a note,0.6000,0.4000,\
0.1000,0.7000,0.2000,0.2500,0.5000,0.2500,0.0000,1.0000,0.0000
talks/a b.mp4,1.000,4.000,,,,,0,,,no audio track and no face seen,,,,,,,,,,,,
"""


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_golden_json(tmp_path):
    path = write(make_result(), tmp_path / "out.json")
    assert json.loads(path.read_text(encoding="utf-8")) == GOLDEN


def test_golden_csv(tmp_path):
    path = write(make_result(), tmp_path / "out.csv")
    assert path.read_bytes().decode() == GOLDEN_CSV


def test_dict_survives_json():
    plain = make_result().to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain == GOLDEN


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_writes(tmp_path, video_only, name):
    try:
        writers.check([name])
    except MissingExtraError as error:
        pytest.skip(str(error))
    target = tmp_path / "new" / "folder" / f"x.{name.upper()}"
    assert avser.write(make_result(str(video_only)), str(target)) == target
    assert target.stat().st_size > 0
    assert left_in(target.parent) == [target.name]


def test_csv_cells_with_commas_and_breaks(tmp_path):
    result = make_result('odd, "name"\n.mp4')
    rows = list(csv.DictReader(io.StringIO(write(result, tmp_path / "x.csv").read_text(encoding="utf-8"))))
    assert [row["file"] for row in rows] == ['odd, "name"\n.mp4'] * 2


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_name_that_is_no_text(tmp_path):
    result = make_result(os.fsdecode(b"caf\xe9.mp4"))
    assert json.loads(write(result, tmp_path / "x.json").read_text(encoding="utf-8"))["file"] == "caf\udce9.mp4"
    assert "caf\\udce9.mp4,0.000" in write(result, tmp_path / "x.csv").read_text(encoding="utf-8")


def test_format_by_name_counts_more_than_the_suffix(tmp_path):
    path = write(make_result(), tmp_path / "table.txt", "csv")
    assert path.read_text(encoding="utf-8") == GOLDEN_CSV


@pytest.mark.parametrize(("name", "said"), [("out.xyz", "'xyz'"), ("out", "''")])
def test_unknown_format(tmp_path, name, said):
    with pytest.raises(ConfigError, match=f"unknown output format {said}: choose from json, csv"):
        write(make_result(), tmp_path / name)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("below", ["a file/x.json", "a folder.json", "proc"])
def test_target_that_cannot_be(tmp_path, below):
    (tmp_path / "a file").write_text("kept")
    (tmp_path / "a folder.json").mkdir()
    target = tmp_path / below if below != "proc" else Path("/proc/avser/x.json")
    if below == "proc" and not Path("/proc/self").exists():
        pytest.skip("this system has no /proc")
    with pytest.raises(AvserError, match=r"cannot be written .*; choose another") as caught:
        write(make_result(), target)
    assert str(target) in str(caught.value)
    assert left_in(tmp_path) == ["a file", "a folder.json"]
    assert (tmp_path / "a file").read_text() == "kept"


def test_the_video_itself_is_not_written_over(tmp_path):
    video = tmp_path / "talk.json"
    video.write_text("pictures")
    with pytest.raises(ConfigError, match="is the file that was read"):
        write(make_result(str(video)), tmp_path / ".." / tmp_path.name / "talk.json")
    assert video.read_text() == "pictures"


def test_binary_format_gets_a_path_and_reports(tmp_path, monkeypatch):
    def by_path(result, path, progress):
        progress(1.5)
        path.write_bytes(b"\0\xff")

    monkeypatch.setitem(writers.WRITERS, "bin", writers.Writer(by_path, binary=True))
    seconds = []
    assert write(make_result(), tmp_path / "x.bin", progress=seconds.append).read_bytes() == b"\0\xff"
    assert seconds == [1.5]
    write(make_result(), tmp_path / "x.bin")
    assert left_in(tmp_path) == ["x.bin"]


def test_missing_library_names_its_extra(tmp_path, monkeypatch):
    writer = writers.Writer(lambda *_: None, library="no_such_library", extra="parquet")
    monkeypatch.setitem(writers.WRITERS, "odd", writer)
    for ask in (lambda: writers.check(["json", "odd"]), lambda: write(make_result(), tmp_path / "x.odd")):
        with pytest.raises(
            MissingExtraError, match=r"'odd' needs no_such_library.*pip install 'avser\[parquet\]'"
        ):
            ask()
    with pytest.raises(ConfigError, match="unknown output format 'none'"):
        writers.check(["json", "none"])
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device"), RuntimeError])
def test_nothing_half_written(tmp_path, monkeypatch, error):
    """A writer that stops in the middle leaves the old file, and no other."""

    def stops(result, file):
        file.write("half")
        file.flush()
        raise error

    monkeypatch.setitem(writers.WRITERS, "json", writers.Writer(stops))
    target = tmp_path / "x.json"
    target.write_text("old")
    with pytest.raises(AvserError if isinstance(error, OSError) else error):
        write(make_result(), target)
    assert left_in(tmp_path) == ["x.json"]
    assert target.read_text() == "old"
