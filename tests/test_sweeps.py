"""A grid of settings: every combination is trained and compared, and axes that make no sense are refused."""

from __future__ import annotations

import importlib.util

import pytest
import yaml
from corpora import make_corpus, mini_settings

if importlib.util.find_spec("lightning") is None:
    pytest.skip("training needs the extra train", allow_module_level=True)


@pytest.fixture
def sweep(avser_command, tmp_path):
    """`sweep(axis, …)`: `avser train` over a grid on a miniature corpus."""
    make_corpus(tmp_path / "sounds", "audio")
    network = {"name": "resnet_attention", "options": {"widths": [4, 8, 8, 8], "features": 16}}
    values = mini_settings("audio", network, training={"epochs": 1, "batch_size": 8})
    path = tmp_path / "mini.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")

    def run(*axes: str, more: tuple = ()):
        options = [part for axis in axes for part in ("--sweep", axis)]
        return avser_command("train", path, *options, *more, "--data-root", tmp_path, "-o", tmp_path / "runs")

    return run


def test_every_combination_is_trained(sweep, tmp_path):
    done = sweep("training.optimizer=adam,rmsprop", "training.lr=0.01,0.001")
    assert done.code == 0, done.err
    names = {f"mini-{optimizer}-{lr}" for optimizer in ("adam", "rmsprop") for lr in ("0.01", "0.001")}
    assert {folder.name for folder in (tmp_path / "runs").iterdir()} == names
    assert all(name in done.out for name in names)
    assert sweep("training.optimizer=adam,rmsprop", "training.lr=0.01,0.001", more=("--resume",)).code == 0


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        ("training.lr", "KEY=VALUE"),
        ("training.lr=", "KEY=VALUE"),
        ("training.optimizer=adam,lion", "training.optimizer"),
        ("training.rate=1", "unknown key"),
    ],
)
def test_wrong_axes(sweep, tmp_path, axis, said):
    assert said in sweep(axis).complaint
    assert not (tmp_path / "runs").exists()  # nothing is trained before all settings are seen to fit
