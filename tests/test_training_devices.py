"""Training on several devices, with two real processes on the CPU: complete, nothing twice, and it goes on."""

from __future__ import annotations

import csv
import importlib.util
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

if importlib.util.find_spec("lightning") is None:
    pytest.skip("training needs the extra train", allow_module_level=True)

from corpora import make_corpus, mini_settings

from avser import metrics
from avser.checkpoint import load
from avser.config import Config, parse_config
from avser.labels import label_set
from avser.logits import read_logits
from avser.training import augment, data, devices, fitting, runs, trainer
from avser.types import AvserError, Clip, ConfigError, DataError, ModelError

NETWORK = {"name": "resnet_face", "options": {"widths": [16, 16], "blocks": [1, 1]}, "dropout": 0.1}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_corpus(folder / "pictures", "face", clips=4)
    return folder


def make_config(**training) -> Config:
    # a batch of nine is shared as five and four, the twelve to validate as nine and three
    values = {"epochs": 3, "batch_size": 9, "lr": 0.01, "average": 0.9, "side_tasks": ["label"], "keep": "last"}
    settings = mini_settings("face", NETWORK, name="mini", augment={"flip": True}, training={**values, **training})
    return parse_config(settings, "test")


def rows_of(log: Path) -> list[dict[str, str]]:
    with log.open(newline="") as file:
        return list(csv.DictReader(file))


def check_complete(run: Path) -> None:
    """A fold that is finished: every clip once, by everybody's figures, and nothing left of the processes."""
    fold = run / "fold0"
    said = {file: read_logits(fold / file) for file in ("logits.csv", "val_logits.csv")}
    for table, people in zip(said.values(), (2, 1), strict=True):
        assert len(table.clips) == len(set(zip(table.clips, table.labels, strict=True))) == 12 * people
        assert np.isfinite(table.logits).all()
    # what was logged was gathered from both: it is the figure of all clips by the network that was kept
    last = [row for row in rows_of(fold / "metrics.csv") if row["val_nll"]][-1]
    held = said["val_logits.csv"]
    assert float(last["val_nll"]) == pytest.approx(metrics.nll(held.logits, held.targets), abs=1e-4)
    assert float(last["val_uar"]) == pytest.approx(
        metrics.uar(metrics.softmax(held.logits), held.targets), abs=1e-6
    )
    left = {path.name.split(".")[0] for path in fold.iterdir()}
    assert left <= {"events", "hparams", "logits", "metrics", "metrics-1", "model", "val_logits"}


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch trains in one process only")
def test_two_processes_train_one_model(root, tmp_path, capsys):
    before = torch.get_num_threads()
    outcome = runs.train(make_config(devices=2, accelerator="cpu"), root, tmp_path)
    assert torch.get_num_threads() == before
    printed = capsys.readouterr().out
    assert [line.split("epoch ")[1][0] for line in printed.splitlines() if "epoch " in line] == ["1", "2", "3"]
    check_complete(outcome.folder)
    # one of the two writes: an epoch is logged once
    logged = [row["epoch"] for row in rows_of(outcome.folder / "fold0" / "metrics.csv") if row["val_uar"]]
    assert logged == ["0", "1", "2"]
    assert len(list((outcome.folder / "fold0").glob("*tfevents*"))) == 1
    # four steps an epoch, as in one process
    model = load(outcome.folder / "fold0" / "model.safetensors").branches["face"]
    counts = {int(n) for name, n in model.network.state_dict().items() if name.endswith("num_batches_tracked")}
    assert counts == {12}
    assert model.config.training.devices == 2
    # the number of devices may be another when it goes on
    again = runs.train(make_config(), root, tmp_path, resume=True)
    assert again.table.logits.tolist() == outcome.table.logits.tolist()


@pytest.mark.skipif(os.name != "posix", reason="ends a process by a signal")
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch trains in one process only")
def test_where_one_process_dies_the_run_can_be_resumed(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(devices, "GRACE", 1.0)
    config = make_config(devices=2, accelerator="cpu", epochs=400)
    started = []
    popen = subprocess.Popen

    def start(*args, **kwargs):
        started.append(popen(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(devices.subprocess, "Popen", start)
    state = tmp_path / "mini" / "fold0" / "last.ckpt"

    def end_one() -> None:
        while not state.exists():
            time.sleep(0.1)
        started[1].send_signal(signal.SIGKILL)

    threading.Thread(target=end_one, daemon=True).start()
    with pytest.raises(
        ModelError, match=r"^mini fold 1/5: device 1 was stopped by signal 9, perhaps for want of mem"
    ):
        runs.train(config, root, tmp_path)
    assert [process.poll() is not None for process in started] == [True, True]
    assert state.exists()
    assert not (state.parent / "devices").exists()
    done = torch.load(state, weights_only=True)["epoch"] + 1

    # so many epochs were for it not to be too quick: it goes on with a few
    (tmp_path / "mini" / "config.json").unlink()
    capsys.readouterr()
    outcome = runs.train(make_config(devices=2, accelerator="cpu", epochs=done + 1), root, tmp_path, resume=True)
    told = [
        line.split("epoch ")[1].split("/")[0] for line in capsys.readouterr().out.splitlines() if "epoch " in line
    ]
    assert told == [str(done + 1)]
    check_complete(outcome.folder)


# What is shared


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize(("clips", "training"), [(36, True), (7, True), (12, False), (19, False), (9, False)])
def test_batches_are_shared_without_loss(count, clips, training):
    shares = [
        list(trainer.SharedBatches(clips, make_config(), training, devices.Share(rank, count)))
        for rank in range(count)
    ]
    assert len({len(share) for share in shares}) == 1  # all take as many steps
    assert all(batch for share in shares for batch in share)
    size = make_config().training.batch_size
    for number, parts in enumerate(zip(*shares, strict=True)):
        together = sorted(clip for part in parts for clip in part)
        if training:
            assert len(together) == len(set(together)) == min(size, clips)
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
        else:
            assert set(together) == set(range(clips)[number * size : (number + 1) * size])
    if training:
        assert len({clip for share in shares for batch in share for clip in batch}) == min(
            clips, clips // size * size
        ) or (clips < size)


def test_each_epoch_has_its_own_order_and_the_same_one_everywhere():
    def order(epoch: int, rank: int) -> list[list[int]]:
        batches = trainer.SharedBatches(36, make_config(), True, devices.Share(rank, 2))
        batches.set_epoch(epoch)
        return list(batches)

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(1, 0)
    assert not {clip for batch in order(3, 0) for clip in batch} & {
        clip for batch in order(3, 1) for clip in batch
    }


def test_shares_of_a_batch_weigh_as_the_whole_does(monkeypatch):
    clips = [Clip(Path(f"{n}.png"), "happy", None, "a") for n in range(20)]
    module = fitting.BranchModule(make_config(side_tasks=[]), 1, clips)
    assert module._weight(9) == 1.0
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    losses = torch.rand(9)
    shares = [losses[rank::2] for rank in range(2)]
    mean = sum(share.mean() * module._weight(len(share)) for share in shares) / 2  # as DDP takes the mean
    torch.testing.assert_close(mean, losses.mean())


def test_what_is_handed_over_arrives(root, tmp_path):
    config = make_config(devices=2)
    clips = [
        Clip(Path("a.png"), "happy", "anna", "x", votes={"happy": 0.7, "sad": 0.3}, info={"gender": "female"}),
        Clip(Path("b.png"), "sad", None, "x", start=1.5, end=2.5, row=3),
    ]
    inputs = [np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3), np.zeros((2, 2, 2, 3), np.uint8)]
    targets = np.eye(len(label_set("basic7")), dtype=np.float32)
    examples = [data.Example(*values) for values in zip(clips, inputs, targets[:2], strict=True)]
    with devices._handed_over(config, tmp_path, "title", {"train": examples, "val": examples[:1]}, {}) as place:
        job = devices.read_job(place)
        assert (job.config, job.folder, job.title) == (config, tmp_path, "title")
        assert job.threads == max(1, torch.get_num_threads() // 2)
        assert [len(job.parts[part]) for part in ("train", "val")] == [2, 1]
        for found, wanted in zip(job.parts["train"], examples, strict=True):
            assert found.clip == wanted.clip
            assert (found.inputs == wanted.inputs).all()
            assert (found.target == wanted.target).all()
    assert not place.exists()


# Where


def test_augmentation_is_drawn_where_the_batch_lies():
    """The device `meta` stands for any other than the CPU: what is mixed with tensors of the CPU is an error."""
    augmented = {"speed": 0.1, "noise": 1.0, "band": 0.5, "time_masks": 1, "freq_masks": 1, "mixup": 0.3}
    audio = {"name": "resnet_attention", "options": {"widths": [4, 4, 4, 4], "features": 8}}
    training = {"side_tasks": ["label"], "average": 0.9}
    config = parse_config(mini_settings("audio", audio, name="a", augment=augmented, training=training), "test")
    clips = [Clip(Path(f"{n}.wav"), ("happy", "sad")[n % 2], None, "a") for n in range(4)]
    module = fitting.BranchModule(config, 1, clips).to("meta")
    module._log_epoch = lambda *_: None
    sounds = {"inputs": torch.randn(4, 9000), "lengths": torch.full((4,), 8000)}
    batch = {**sounds, "targets": torch.rand(4, 7), "index": torch.arange(4)}
    assert module.training_step({name: x.to("meta") for name, x in batch.items()}, 0).device.type == "meta"

    every = {"flip": True, "rotate": 9, "shift": 0.1, "scale": 0.1, "light": 0.3, "background": 0.5, "grain": 0.5}
    config = config.model_copy(
        update={"branch": "face", "augment": augment.Augment(**every, erase=0.5, cutmix=0.5)}
    )
    batch = {"inputs": torch.zeros(4, 2, 8, 8, 3, dtype=torch.uint8), "lengths": torch.full((4,), 2)}
    faces, mask = data.network_inputs({name: x.to("meta") for name, x in batch.items()}, config, training=True)
    faces, mask, targets = augment.blend(faces, mask, torch.rand(4, 7, device="meta"), config.augment)
    assert {x.device.type for x in (faces, mask, targets)} == {"meta"}


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"devices": 0}, "devices: is a whole number from 1 on, or auto, not 0"),
        ({"devices": "two"}, "devices: is a whole number from 1 on, or auto, not 'two'"),
        ({"devices": 5}, "batch_size: 9 clips are too few for devices=5, which share them; each needs two"),
        ({"accelerator": "tpu"}, "accelerator: "),
        ({"precision": "16"}, "precision: "),
    ],
)
def test_settings_that_make_no_sense(training, said):
    with pytest.raises(ConfigError, match=f"^test: training(.|: ){said}"):
        make_config(**training)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_told_before_anything_is_decoded(tmp_path):
    with pytest.raises(
        ConfigError, match=r"^training.accelerator: torch finds no gpu here; set it to auto or cpu$"
    ):
        runs.train(make_config(accelerator="gpu"), tmp_path / "nowhere", tmp_path)
    assert not (tmp_path / "mini").exists()


def test_too_few_clips_for_all(tmp_path):
    example = data.Example(Clip(Path("a.png"), "happy", None, "x"), np.zeros((1, 8, 8, 3), np.uint8), np.eye(7)[0])
    with pytest.raises(DataError, match=r"title: 3 clips to train on are too few for training.devices=2; each"):
        devices.fit(make_config(devices=2), tmp_path, "title", {"train": [example] * 3, "val": [example]}, {})


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16"), (False, "32")])
def test_auto_is_bfloat16_where_the_processor_has_it(monkeypatch, native, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: native, raising=False)
    config = make_config(precision="auto")
    assert devices.settled(config).training.precision == precision
    assert devices.settled(make_config(precision="32")).training.precision == "32"


def test_a_run_keeps_the_precision_that_it_was_begun_with(tmp_path):
    runs.begin(tmp_path, make_config(precision="bf16"))
    assert runs._settled(make_config(precision="auto"), tmp_path).training.precision == "bf16"
    runs.check_folder(tmp_path, make_config(precision="bf16", devices=4), True, runs.load_config)
    with pytest.raises(AvserError, match="was begun with other settings"):
        runs.check_folder(tmp_path, make_config(precision="32"), True, runs.load_config)
