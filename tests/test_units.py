"""Tables of action units: frames of OpenFace and py-feat, means over clips, and a sentence for what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpora import write_units

from avser import datasets, units
from avser.config import FaceInput
from avser.types import Clip, ConfigError, DataError

PYFEAT = units.UNIT_SETS["pyfeat"]
PARAMS = FaceInput(input="action_units", units=["AU04_r", "AU12_r"])


def frame(number: int, success: int = 1, au04: object = 0.5, au12: object = 2.0, **more: object) -> dict:
    """A row of OpenFace, with a column that nobody asked for."""
    confidence = 0.98 if success else 0.1
    return {
        "frame": number,
        "timestamp": number / 10,
        "confidence": confidence,
        "success": success,
        "AU12_r": au12,
        "AU04_r": au04,
        "gaze_0_x": 0.1,
        **more,
    }


def clip_of(path: Path, row: int | None = None, subject: str = "anna", **times: float) -> Clip:
    return Clip(path, "happy", subject, "openface", row=row, **times)


# Frames


def test_columns_come_in_the_order_of_the_config_and_failed_frames_are_absent(tmp_path):
    path = write_units(tmp_path / "a.csv", [frame(1), frame(2, 0, 0, 0), frame(3, au04=1.5)])
    assert " AU12_r" in path.read_text().splitlines()[0]  # OpenFace's blanks
    found = units.read_clip(clip_of(path), PARAMS)
    assert found.dtype == np.float32
    assert found.tolist() == [[0.5, 2.0], [1.5, 2.0]]


def test_a_part_of_a_file_and_powers(tmp_path):
    path = write_units(tmp_path / "a.csv", [frame(n, au04=n, au12=4.0) for n in range(10)])
    found = units.read_clip(clip_of(path, start=0.3, end=0.5), PARAMS.model_copy(update={"power": 0.5}))
    np.testing.assert_allclose(found, [[3**0.5, 2], [2, 2]], rtol=1e-6)


def test_of_several_faces_the_one_that_is_seen_longest(tmp_path):
    rows = [frame(1, face_id=0), frame(1, au04=3, face_id=1), frame(2, au04=4, face_id=1), frame(2, 0, face_id=0)]
    found = units.read_clip(clip_of(write_units(tmp_path / "a.csv", rows)), PARAMS)
    assert found[:, 0].tolist() == [3, 4]
    rows = [{key: value for key, value in row.items() if key != "face_id"} for row in rows]
    path = write_units(tmp_path / "b.csv", rows)
    with pytest.raises(DataError, match=r"b.csv: shows several faces in a frame, and no column face_id"):
        units.read_clip(clip_of(path), PARAMS)


def test_frames_of_pyfeat_have_empty_cells_where_there_is_no_face(tmp_path):
    names = PYFEAT
    rows = [{"frame": 0, **dict.fromkeys(names, 0.25)}, {"frame": 1, **dict.fromkeys(names, "")}]
    path = write_units(tmp_path / "a.csv", [*rows, {"frame": 2, **dict.fromkeys(names, "nan")}])
    found = units.read_clip(clip_of(path), FaceInput(input="action_units", units="pyfeat"))
    assert found.shape == (1, 20)
    assert (found == 0.25).all()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([frame(1, 0), frame(2, 0)], r"a.csv: the face was found in none of its 2 frames"),
        ([frame(1), frame(2, au12="much")], r"a.csv: row 2 has no number in column 'AU12_r': 'much'"),
        ([frame(1, 0), frame(2, au12="inf")], r"a.csv: row 2 has no number in column 'AU12_r': 'inf'"),
        ([frame(1, au12="")], r"a.csv: row 1 has no number in column 'AU12_r': ''"),
        (
            [{"frame": 1, "success": 1, "AU12_r": 0}],
            r"no column 'AU04_r'; list in face.units what it has: AU12_r",
        ),
        (
            [{"frame": 1} | dict.fromkeys(PYFEAT, 0)],
            r"no column 'AU04_r'; set face.units=pyfeat",
        ),
        ([{"frame": 1, "success": 1}], r"a.csv: has no columns of action units"),
    ],
)
def test_what_is_wrong_with_frames(tmp_path, rows, said):
    path = write_units(tmp_path / "a.csv", rows)
    with pytest.raises(DataError, match=said) as error:
        units.read_clip(clip_of(path), PARAMS)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no rows"),
        (b"frame, success, AU04_r, AU12_r\n\n", "holds no rows"),
        (b"frame, success, AU04_r, AU12_r\n1, 1, 0.5\n", "row 1 is cut short"),
        (b"\x89PNG\xff\xfe", "cannot be read as a table"),
    ],
)
def test_files_that_are_no_tables(tmp_path, content, said):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a.csv: {said}"):
        units.read_clip(clip_of(path), PARAMS)


def test_a_file_that_is_gone_and_an_unknown_set(tmp_path):
    with pytest.raises(DataError, match=r"a.csv: cannot be read as a table"):
        units.read_clip(clip_of(tmp_path / "a.csv"), PARAMS)
    with pytest.raises(ConfigError, match=r"unknown set 'affectiva': choose from openface, pyfeat"):
        units.unit_names(FaceInput(input="action_units", units="affectiva"))
    assert len(units.unit_names(FaceInput())) == 35


# Means


def means(path: Path, *rows: dict) -> Path:
    return write_units(path, [{"AU04_r": 0.0, "AU12_r": 1.0} | row for row in rows])


def test_a_row_of_means_is_one_frame(tmp_path):
    empty = {"clip": "c", "AU04_r": "", "AU12_r": ""}
    path = means(tmp_path / "m.csv", {"clip": "a"}, {"clip": "b", "AU04_r": 3}, empty)
    assert units.read_clip(clip_of(path, 1), PARAMS).tolist() == [[3, 1]]
    with pytest.raises(DataError, match=r"m.csv: row 3 holds no action units"):
        units.read_clip(clip_of(path, 2), PARAMS)
    with pytest.raises(DataError, match=r"m.csv: has no row 10"):
        units.read_clip(clip_of(path, 9), PARAMS)


def test_tables_are_checked_as_a_whole(tmp_path):
    path = means(tmp_path / "m.csv", {"clip": "a"}, {"clip": "b", "AU04_r": "?"})
    with pytest.raises(DataError, match=r"m.csv: row 2 has no number in column 'AU04_r': '\?'"):
        units.check_tables([clip_of(path, 0)], PARAMS)
    units.check_tables([clip_of(tmp_path / "none.csv")], PARAMS)  # files of frames are read one by one


# Centring


def test_centring_takes_each_subject_by_itself_and_counts_clips_alike(tmp_path):
    clips = [clip_of(tmp_path / "x.csv", n, who) for n, who in enumerate(("anna", "anna", "bert"))]
    frames = [np.array([[1.0], [3.0]]), np.array([[6.0]]), np.array([[5.0]])]
    centred = units.subtract_means(frames, clips)
    assert [x.tolist() for x in centred] == [[[-3.0], [-1.0]], [[2.0]], [[0.0]]]
    nobody = Clip(tmp_path / "x.csv", "sad", None, "openface", row=3, info={"name": "z"})
    with pytest.raises(DataError, match=r"x.csv: says not of whom z is, which face.centre=subject needs"):
        units.subtract_means([*frames, frames[0]], [*clips, nobody])


# The corpus


def test_names_of_ravdess_say_what_a_clip_is(tmp_path):
    write_units(tmp_path / "01-01-03-02-01-01-12.csv", [frame(1)])
    write_units(tmp_path / "notes.csv", [{"frame": 1}])  # neither listed nor named so
    path = means(tmp_path / "m.csv", {"clip": "01-01-05-01-02-01-07.mp4"})
    table, frames = datasets.scan("openface", tmp_path)
    assert (table.path, table.row, table.label, table.subject, table.corpus) == (path, 0, "angry", "07", "ravdess")
    assert (table.name, table.info["take"]) == ("01-01-05-01-02-01-07", "01-05-01-02-01-07")
    assert (frames.row, frames.label, frames.info["gender"]) == (None, "happy", "female")
    assert datasets.scan("openface", path) == [table]


def test_other_clips_are_told_by_columns(tmp_path):
    path = means(
        tmp_path / "m.csv",
        {"clip": "x1", "label": "Joy", "subject": "anna", "gender": "female"},
        {"clip": "x2", "label": "sad", "subject": "", "gender": ""},
    )
    one, two = datasets.scan("openface", path)
    assert (one.name, one.label, one.subject, one.corpus) == ("x1", "happy", "anna", "openface")
    assert (one.info["gender"], two.subject, "gender" in two.info) == ("female", None, False)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"clip": "x1"}], r"m.csv: clip 'x1' is not named as RAVDESS .* add the columns label and subject"),
        ([{"clip": "x1", "label": "hungry"}], r"m.csv: clip 'x1': unknown emotion 'hungry'"),
        ([{"clip": "a", "label": "sad"}] * 2, r"m.csv: rows 1 and 2 are both of clip 'a'; keep one"),
        ([{"clip": "", "label": "sad"}], r"m.csv: row 1 names no clip"),
    ],
)
def test_what_is_wrong_with_a_table_of_means(tmp_path, rows, said):
    path = means(tmp_path / "m.csv", *rows)
    with pytest.raises(DataError, match=said):
        datasets.scan("openface", path)


def test_nothing_of_the_corpus(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"nothing of corpus 'openface' lies in .*: it needs a CSV table with"):
        datasets.scan("openface", tmp_path)
