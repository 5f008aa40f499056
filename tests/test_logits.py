"""The table of logits: written, read, joined, projected."""

import numpy as np
import pytest

from avser.labels import LABEL_SETS
from avser.logits import LogitTable, read_logits, write_logits
from avser.metrics import ece, fit_temperature, softmax
from avser.types import DataError

CLASSES = ("neutral", "happy", "sad")


@pytest.fixture
def table():
    logits = np.array([[1.234567, -2.0, 0.5], [0.0, 3.25, -np.inf], [0.1, 0.2, 0.3]])
    return LogitTable(["a", "b,c", 'd"'], ["01", "", "02"], ["loso 01"] * 3, list(CLASSES), CLASSES, logits)


def test_table_comes_back_as_written(table, tmp_path):
    path = tmp_path / "new" / "logits.csv"
    write_logits(path, table)
    lines = path.read_text().splitlines()
    assert lines[:2] == [
        "clip,subject,fold,label,neutral,happy,sad",
        "a,01,loso 01,neutral,1.23457,-2.00000,0.50000",
    ]
    assert [p.name for p in path.parent.iterdir()] == ["logits.csv"]
    back = read_logits(path)
    assert (back.clips, back.subjects, back.folds, back.labels, back.classes) == (
        table.clips,
        table.subjects,
        table.folds,
        table.labels,
        table.classes,
    )
    np.testing.assert_allclose(back.logits, table.logits, atol=1e-5)
    assert back.targets.tolist() == [0, 1, 2]


def test_table_projects_to_other_classes():
    logits = np.log([[0.1, 0.3, 0.2, 0.4], [0.25, 0.25, 0.25, 0.25]])
    table = LogitTable(
        ["a", "b"], ["1", "2"], ["f", "f"], ["calm", "bored"], ("neutral", "calm", "happy", "bored"), logits
    )
    basic = table.project(LABEL_SETS["basic7"])
    assert (basic.clips, basic.subjects, basic.labels, basic.targets.tolist()) == (["a"], ["1"], ["neutral"], [0])
    np.testing.assert_allclose(np.exp(basic.logits[0, :2]), [0.4 / 0.6, 0.2 / 0.6])


def test_tables_are_joined_in_order(table):
    other = LogitTable(["e"], ["03"], ["loso 03"], ["sad"], CLASSES, np.array([[0.0, 1.0, 2.0]]))
    joined = LogitTable.join([table, other])
    assert joined.clips == [*table.clips, "e"]
    assert joined.subjects == ["01", "", "02", "03"]
    assert joined.folds == ["loso 01"] * 3 + ["loso 03"]
    assert joined.targets.tolist() == [0, 1, 2, 2]
    assert joined.classes == CLASSES
    np.testing.assert_array_equal(joined.logits, np.concatenate([table.logits, other.logits]))


def test_tables_of_other_classes_cannot_be_joined(table):
    turned = LogitTable(
        ["e"], ["03"], ["f"], ["sad"], CLASSES[::-1], np.zeros((1, 3))
    )  # as many, in another order
    with pytest.raises(DataError, match="neutral, happy, sad and over sad, happy, neutral cannot be joined"):
        LogitTable.join([table, turned])
    with pytest.raises(DataError, match="no tables"):
        LogitTable.join([])


def test_table_names_a_label_without_a_class(table):
    odd = LogitTable(table.clips, table.subjects, table.folds, ["bored"] * 3, CLASSES, table.logits)
    with pytest.raises(DataError, match="'bored' is none of"):
        _ = odd.targets


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column 1 is not 'clip'"),
        ("name,age\nx,3\n", "column 1 is not 'clip'"),
        ("clip,subject,fold,label\n", "column 5"),
        ("clip,subject,fold,label,joyous\n", "column 'joyous'"),
        ("clip,subject,fold,label,happy,sad\na,1,f,happy,1.0\n", "row 1 .* 5 columns instead of 6"),
        ("clip,subject,fold,label,happy,sad\na,1,f,happy,1.0,x\n", "column 'sad'"),
        ("clip,subject,fold,label,happy,sad\na,1,f,happy,nan,0\n", "column 'happy'"),
        ("clip,subject,fold,label,happy,sad\na,1,f,hapy,1,0\n", "column 'label'"),
        ("\x00\x01\x02", "logits.csv"),
    ],
)
def test_foreign_table_is_a_data_error(text, message, tmp_path):
    path = tmp_path / "logits.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read_logits(path)
    assert "logits.csv" in str(error.value)


def test_missing_table_and_unwritable_place(table, tmp_path):
    with pytest.raises(DataError, match=r"none\.csv"):
        read_logits(tmp_path / "none.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="choose another place"):
        write_logits(tmp_path / "file" / "logits.csv", table)


def test_each_folds_temperature_comes_from_the_others(table):
    assert table.calibrated() is None  # one fold has no others
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 300)
    logits = np.eye(3)[targets] + rng.normal(size=(300, 3))
    folds = np.array(["0"] * 100 + ["1"] * 200)
    sure = np.where(folds == "0", 5.0, 1.0)[:, None]  # the first fold says the same, but five times as sure
    names = [str(n) for n in range(300)]
    made = LogitTable(names, names, list(folds), [CLASSES[n] for n in targets], CLASSES, sure * logits)
    calibrated = made.calibrated()
    first = made.logits[0, 0] / calibrated.logits[0, 0]
    second = made.logits[200, 0] / calibrated.logits[200, 0]
    assert first == pytest.approx(fit_temperature(logits[100:], targets[100:]))
    assert second == pytest.approx(fit_temperature(5 * logits[:100], targets[:100]))
    figures = made.report()
    assert figures.ece_calibrated == pytest.approx(ece(softmax(calibrated.logits), targets))
    assert figures.to_dict()["ece_calibrated"] == pytest.approx(figures.ece_calibrated, abs=1e-4)
