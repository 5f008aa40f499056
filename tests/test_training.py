"""Training for real, on miniature corpora, from the command line: it learns, resumes, stops early and refuses."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import Ended, training_on
from corpora import SUBJECT, make_corpus

if importlib.util.find_spec("lightning") is None:
    pytest.skip("training needs the extra train", allow_module_level=True)

from avser.checkpoint import load, read_header
from avser.logits import read_logits
from avser.scratch import reserved
from avser.training import fitting

NETWORKS = {
    "resnet_attention": {"widths": [4, 8, 8, 8], "features": 16},
    "resnet_face": {"widths": [4, 8], "blocks": [1, 1]},
    "ck_dcnn": {},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A data root with a corpus of sounds and one of pictures."""
    root = tmp_path_factory.mktemp("data")
    make_corpus(root / "sounds", "audio")
    make_corpus(root / "pictures", "face", clips=4)
    return root


@pytest.fixture
def config(tmp_path):
    """`config(branch, network, key=value, …)`: a YAML file; `training` and `corpus` add to its sections."""

    def write(
        branch: str = "audio",
        network: str = "resnet_attention",
        *,
        corpus: dict | None = None,
        training: dict | None = None,
        **settings: object,
    ) -> Path:
        reader = {"name": "folder", "root": "sounds" if branch == "audio" else "pictures"}
        values = {
            "branch": branch,
            "labels": "basic7",
            "protocol": "subject5",
            "validation": 1,
            "folds": [0],
            "corpora": [{**reader, "options": {"subject": SUBJECT}, **(corpus or {})}],
            "network": {"name": network, "options": NETWORKS[network], "dropout": 0.0},
            "training": {"epochs": 6, "batch_size": 8, "lr": 0.01, **(training or {})},
            **settings,
        }
        path = tmp_path / "mini.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path

    return write


@pytest.fixture
def train(avser_command, data, tmp_path):
    """`train(config, …)`: `avser train` on the miniature data, into `tmp_path / "runs"`."""
    return training_on(avser_command, data, tmp_path / "runs")


def epochs(fold: Path) -> list[int]:
    """The epochs whose validation is in a fold's logs, of which there is one more for each time it was resumed."""
    rows = []
    for path in fold.glob("metrics*.csv"):
        with path.open(newline="") as file:
            rows += csv.DictReader(file)
    return sorted({int(row["epoch"]) for row in rows if row["val_uar"]})


def uar_of(done: Ended) -> str:
    return next(line.split()[1] for line in done.out.splitlines() if line.startswith("UAR"))


# The whole way


def test_voice_is_learned_measured_and_used(train, config, data, avser_command, tmp_path):
    settings = config(folds=[0, 1])
    done = train(settings, "training.epochs=8")
    assert (done.code, done.err) == (0, "")
    run = tmp_path / "runs" / "mini"
    assert float(uar_of(done)) > 0.7  # chance is 0.33
    assert f"models and logits are in {run}" in done.out
    assert "epoch 8/8" in done.out

    table = read_logits(run / "logits.csv")
    people = [set(read_logits(run / f"fold{fold}" / "logits.csv").subjects) for fold in (0, 1)]
    assert set(table.subjects) == people[0] | people[1]
    assert not people[0] & people[1]
    assert table.folds == ["0"] * 6 * len(people[0]) + ["1"] * 6 * len(people[1])
    for fold in (0, 1):
        left = sorted(path.name for path in (run / f"fold{fold}").iterdir() if "tfevents" not in path.name)
        assert {"logits.csv", "metrics.csv", "model.safetensors", "val_logits.csv"} <= set(left)
        assert not [name for name in left if name.endswith((".ckpt", ".tmp"))]
        assert list((run / f"fold{fold}").glob("*tfevents*"))

    again = avser_command("evaluate", "--from-logits", run / "logits.csv")
    assert uar_of(again) == uar_of(done)

    header = read_header(run / "fold0" / "model.safetensors")
    assert (header["corpora"], header["protocol"]) == (["folder"], "subject5, fold subject5 1")
    assert header["metrics"]["test"]["n"] == 6 * len(people[0])
    assert header["temperature"] > 0
    assert load(run / "fold0" / "model.safetensors").branches["audio"].config.training.epochs == 8

    sound = data / "sounds" / "sad" / f"{min(people[0])}_0.wav"
    used = avser_command(
        *("predict", sound, "--model", run / "fold0" / "model.safetensors"), *("-o", tmp_path / "x.json")
    )
    assert used.code == 0
    assert json.loads((tmp_path / "x.json").read_text())["model"]["name"] == "mini"
    assert "mini" in avser_command("info", run / "fold0" / "model.safetensors").out

    refused = train(settings, "training.epochs=8")
    assert refused.code == 2
    assert "holds a run already; give --resume to go on" in refused.complaint
    kept = train(settings, "training.epochs=8", "--resume")
    assert kept.code == 0
    assert kept.out.count("done already") == 2
    assert uar_of(kept) == uar_of(done)
    other = train(settings, "training.epochs=9", "--resume")
    assert other.code == 2
    assert "was begun with other settings" in other.complaint


@pytest.mark.parametrize(("network", "epochs", "lr"), [("resnet_face", 6, 0.01), ("ck_dcnn", 15, 0.002)])
def test_faces_are_learned(train, config, tmp_path, network, epochs, lr):
    done = train(config("face", network, training={"epochs": epochs, "lr": lr}, augment={"flip": True}))
    assert (done.code, done.err) == (0, "")
    assert float(uar_of(done)) > 0.7
    model = load(tmp_path / "runs" / "mini" / "fold0" / "model.safetensors")
    assert model.branches["face"].config.network.name == network


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "schedule": "cosine"},
        {"optimizer": "adam", "schedule": "constant", "average": 0.9, "keep": "last"},
        {"precision": "bf16", "label_smoothing": 0.1},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_other_ways_to_fit(train, config, tmp_path, settings):
    augmented = {"mixup": 0.3, "noise": 0.5, "speed": 0.1, "band": 0.5, "time_masks": 1, "freq_masks": 1}
    done = train(config(training={"epochs": 2, **settings}, augment=augmented))
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "runs" / "mini" / "fold0" / "model.safetensors").exists()


def test_bfloat16(train, config, tmp_path):
    wide = {"name": "resnet_attention", "options": {"widths": [16, 16, 16, 16], "features": 16}}
    done = train(config(training={"epochs": 1, "precision": "bf16"}), f"network={wide}")
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "runs" / "mini" / "fold0" / "model.safetensors").exists()


def test_same_seed_same_logits(train, config, tmp_path):
    for name in ("one", "two"):
        assert train(config(training={"epochs": 1}), f"name={name}").code == 0
    one, two = ((tmp_path / "runs" / name / "logits.csv").read_text() for name in ("one", "two"))
    assert one == two


# Interrupted, and gone on with


def interrupt(monkeypatch, epoch: int) -> None:
    """Ctrl-C in the second step of an epoch, once."""
    step = fitting.BranchModule.training_step

    def stops(self, batch, index):
        if (self.current_epoch, index) == (epoch, 1):
            monkeypatch.setattr(fitting.BranchModule, "training_step", step)
            raise KeyboardInterrupt
        return step(self, batch, index)

    monkeypatch.setattr(fitting.BranchModule, "training_step", stops)


def test_resume_goes_on_from_the_last_epoch(train, config, tmp_path, monkeypatch):
    settings = config(training={"epochs": 4})
    fold = tmp_path / "runs" / "mini" / "fold0"
    interrupt(monkeypatch, epoch=2)
    stopped = train(settings)
    assert stopped.code == 130
    assert "interrupted; the same command with --resume goes on" in stopped.complaint
    assert (fold / "last.ckpt").exists()
    assert not (fold / "model.safetensors").exists()

    refused = train(settings)
    assert (refused.code, "give --resume" in refused.complaint) == (2, True)
    done = train(settings, "--resume")
    assert (done.code, done.err) == (0, "")
    told = [line.split("epoch ")[1].split("/")[0] for line in done.out.splitlines() if "epoch " in line]
    assert told == ["3", "4"]
    assert (fold / "model.safetensors").exists()
    assert not list(fold.glob("*.ckpt"))
    assert epochs(fold) == [0, 1, 2, 3]


def test_a_real_kill_can_be_resumed(train, config, data, tmp_path):
    """A run that had no chance to say goodbye."""
    settings = config(training={"epochs": 300})
    fold = tmp_path / "runs" / "mini" / "fold0"
    command = [sys.executable, "-u", "-m", "avser.cli", "train", str(settings), "--data-root", str(data)]
    command += ["-o", str(tmp_path / "runs"), "--threads", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in process.stdout:
        if "epoch 4/300" in line:  # so the third one is on the disk
            break
    process.kill()
    process.communicate()
    assert (fold / "last.ckpt").exists()
    # the rest of 300 epochs would take too long: the next epoch shows where it goes on
    done = train_until(train, settings, "--resume")
    first = next(line for line in done.out.splitlines() if "epoch " in line)
    assert 4 <= int(first.split("epoch ")[1].split("/")[0]) <= 300


@pytest.mark.skipif(os.name == "nt", reason="files are not locked there")
def test_two_runs_do_not_share_a_fold(train, config, tmp_path):
    settings = config(folds=[0], training={"epochs": 1})
    fold = tmp_path / "runs" / "mini" / "fold0"
    with reserved(fold):  # as the other process does
        refused = train(settings)
    assert refused.code == 2
    assert f"{fold}: another process is at work there; wait for it" in refused.complaint
    assert list(fold.iterdir()) == []
    assert train(settings, "--resume").code == 0


def train_until(train, settings: Path, *arguments: str) -> Ended:
    """Train on, and press Ctrl-C when the first epoch is through."""
    with pytest.MonkeyPatch.context() as patch:

        def stops(*_):
            raise KeyboardInterrupt

        whole = fitting.EpochLine.on_train_epoch_end
        patch.setattr(fitting.EpochLine, "on_train_epoch_end", lambda *a: (whole(*a), stops()))
        done = train(settings, *arguments)
    assert done.code == 130
    return done


def test_early_stopping(train, config, tmp_path):
    # a rate this small never betters the first epoch
    done = train(config(training={"epochs": 40, "patience": 2, "lr": 1e-9, "schedule": "constant"}))
    assert done.code == 0
    assert epochs(tmp_path / "runs" / "mini" / "fold0") == [0, 1, 2]
    assert (tmp_path / "runs" / "mini" / "fold0" / "model.safetensors").exists()


@pytest.mark.parametrize(("keep", "steps"), [("best", 2), ("last", 6)])
def test_the_epoch_that_is_kept(train, config, tmp_path, keep, steps):
    assert train(config(training={"epochs": 3, "lr": 1e-9, "schedule": "constant", "keep": keep})).code == 0
    network = load(tmp_path / "runs" / "mini" / "fold0" / "model.safetensors").branches["audio"].network
    counts = {int(count) for name, count in network.state_dict().items() if name.endswith("num_batches_tracked")}
    assert counts == {steps}  # batch norm counts the steps that it has seen


# What is wrong with a request is one line


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epoch=3", "unknown key 'training.epoch'; did you mean 'epochs'?"),
        ("training.epochs=many", "training.epochs: "),
        ("labels=basic8", "unknown label set 'basic8'"),
        ("network.name=resnet", "unknown audio backbone 'resnet': choose from resnet_attention, cnn_lstm"),
        ("network.options.depth=3", "options of backbone 'resnet_attention' do not fit"),
        ("protocol=subject7", "unknown protocol 'subject7'"),
        ("protocol=subject10", "needs 10 subjects, folder has 6"),
        ("folds=[9]", "no fold 9; subject5 has folds 0 to 4"),
        ("branch=smell", "branch: "),
        ("epochs", "is not of the form key=value"),
    ],
)
def test_settings_that_make_no_sense(train, config, tmp_path, override, said):
    done = train(config(), override)
    assert (done.code, done.out) == (2, "")
    assert said in done.complaint
    assert not (tmp_path / "runs" / "mini" / "fold0").exists()


@pytest.mark.parametrize(
    ("corpus", "said"),
    [
        ({"name": "nobody"}, "unknown corpus 'nobody'"),
        ({"root": "nowhere"}, "corpus 'folder' needs one sub-folder per emotion"),
        ({"options": {"who": "x"}}, "corpus 'folder' has no option 'who'"),
        ({"options": {"subject": "/([0-9]+)_"}}, "finds nobody in"),
        ({"options": {}}, "splits by subject"),
        ({"only": {"gender": ["female"]}}, "none of its 36 clips has a label of basic7"),
    ],
)
def test_data_that_does_not_fit(train, config, corpus, said):
    done = train(config(corpus=corpus))
    assert (done.code, done.out) == (2, "")
    assert said in done.complaint


def test_folder_that_is_no_emotion(avser_command, config, data, tmp_path):
    shutil.copytree(data / "sounds", tmp_path / "data" / "sounds")
    (tmp_path / "data" / "sounds" / "sad").rename(tmp_path / "data" / "sounds" / "gloomy")
    done = avser_command("train", config(), "--data-root", tmp_path / "data", "-o", tmp_path / "runs")
    assert done.code == 2
    assert "gloomy is named after no emotion: rename it to one of neutral, calm, happy" in done.complaint


def test_no_data_folder(avser_command, config, monkeypatch, tmp_path):
    monkeypatch.delenv("AVSER_DATA", raising=False)
    done = avser_command("train", config(), "-o", tmp_path / "runs")
    assert done.code == 2
    assert "give --data-root DIR or set the variable AVSER_DATA" in done.complaint


@pytest.mark.parametrize("content", [None, "just words", "a: [", b"\xff\xfe\x00"])
def test_config_that_is_none(train, tmp_path, content):
    path = tmp_path / "odd.yaml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = train(path)
    assert done.code == 2
    assert str(path) in done.complaint


@pytest.mark.parametrize("output", ["file/runs", "/proc/avser"])
def test_output_that_cannot_be_written(avser_command, config, data, tmp_path, output):
    (tmp_path / "file").write_text("kept")
    done = avser_command("train", config(), "--data-root", data, "-o", tmp_path / output)
    assert done.code == 2
    assert str(tmp_path / output) in done.complaint


def test_broken_clips_are_left_out_and_named(avser_command, config, data, tmp_path):
    shutil.copytree(data / "sounds", tmp_path / "data" / "sounds")
    for path in (tmp_path / "data" / "sounds" / "sad").glob("*_0.wav"):
        path.write_bytes(b"")
    settings = config(training={"epochs": 1})
    done = avser_command("train", settings, "--data-root", tmp_path / "data", "-o", tmp_path / "runs")
    assert done.code == 0
    parts = [line.split(" clips left out")[0].split()[-1] for line in done.err.splitlines()]
    assert sorted(parts) == ["test", "train", "val"]
    assert done.err.count("is empty (0 bytes)") == 3
    assert len(read_logits(tmp_path / "runs" / "mini" / "fold0" / "logits.csv").clips) % 5 == 0
