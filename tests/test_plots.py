"""Pictures: each is a PNG that shows something, and what cannot be drawn is one sentence."""

from __future__ import annotations

import importlib.util

import cv2
import numpy as np
import pytest

if importlib.util.find_spec("matplotlib") is None:
    pytest.skip("pictures need the extra train", allow_module_level=True)

from avser import plots
from avser.logits import LogitTable
from avser.types import DataError

CLASSES = ("happy", "sad", "angry")


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    targets = np.arange(30) % 3
    logits = rng.normal(size=(30, 3)) + 2 * np.eye(3)[targets]
    names = [str(i) for i in range(30)]
    return LogitTable(names, ["a"] * 30, ["0"] * 30, [CLASSES[t] for t in targets], CLASSES, logits)


def shows_something(path) -> bool:
    picture = cv2.imread(str(path))
    return picture is not None and min(picture.shape[:2]) > 100 and picture.std() > 5


@pytest.mark.parametrize("draw", [plots.confusion, plots.roc])
def test_tables_of_logits(draw, table, tmp_path):
    draw(tmp_path / "new" / "picture.png", table, "a title")
    assert shows_something(tmp_path / "new" / "picture.png")


def test_a_class_that_never_occurs(table, tmp_path):
    lone = table.rows([i for i, label in enumerate(table.labels) if label == "sad"])
    plots.confusion(tmp_path / "c.png", lone, "one class")
    plots.roc(tmp_path / "r.png", lone, "one class")
    assert shows_something(tmp_path / "c.png")
    assert shows_something(tmp_path / "r.png")


def test_curves_of_a_resumed_run(tmp_path):
    (tmp_path / "metrics-0.csv").write_text("epoch,loss,step,val_accuracy,val_nll,val_uar\n0,,9,0.3,1.9,0.3\n")
    log = "epoch,loss,step,val_accuracy,val_nll,val_uar\n1,,19,0.5,1.5,0.5\n1,1.7,19,,,\n"
    (tmp_path / "metrics.csv").write_text(log)
    plots.curves(tmp_path / "curves.png", tmp_path, "two parts")
    assert shows_something(tmp_path / "curves.png")
    with pytest.raises(DataError, match=r"metrics\.csv"):
        plots.curves(tmp_path / "none.png", tmp_path / "nowhere", "nothing")


def test_map_of_activations(tmp_path):
    features = np.random.default_rng(0).normal(size=(12, 5))
    plots.activations(tmp_path / "map.png", features, ["happy", "sad"] * 6, "a map")
    assert shows_something(tmp_path / "map.png")
    with pytest.raises(DataError, match="five"):
        plots.activations(tmp_path / "few.png", features[:3], ["happy"] * 3, "too few")


def test_bars(tmp_path):
    plots.bars(tmp_path / "bars.png", {"voice": (0.6, 0.55, 0.66), "face": (0.5, 0.4, 0.6)}, "figures")
    assert shows_something(tmp_path / "bars.png")


def test_a_place_that_cannot_be_written(table, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write"):
        plots.roc(tmp_path / "file" / "roc.png", table, "nowhere")
