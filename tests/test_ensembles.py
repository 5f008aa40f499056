"""Ensembles from data to prediction: members in folders of their own, gone on with, measured and used."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from corpora import EMOTIONS, PEOPLE, make_corpus, mini_settings

if importlib.util.find_spec("lightning") is None:
    pytest.skip("training needs the extra train", allow_module_level=True)

from avser import checkpoint
from avser.config import Config, parse_config
from avser.logits import read_logits
from avser.recognizer import load_model
from avser.training import data, runs
from avser.types import ConfigError

TINY = {"widths": [4, 8, 8, 8], "features": 16}
MEMBERS = [{"network": {"name": "functionals"}}, {"seed": 1, "network.options.deltas": True}]


def settings(name: str = "mini", **changes: object) -> Config:
    values = mini_settings(
        "audio",
        {"name": "resnet_attention", "options": TINY, "dropout": 0.0},
        name=name,
        training={"epochs": 2, "batch_size": 8, "lr": 0.01, "side_tasks": ["corpus"]},
        ensemble=MEMBERS,
    )
    return parse_config({**values, **changes}, "test")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_corpus(folder / "sounds", "audio")
    return folder


@pytest.fixture(scope="module")
def outcome(root, tmp_path_factory, cache_folder) -> runs.Outcome:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVSER_CACHE", str(cache_folder))
        return runs.train(settings(), root, tmp_path_factory.mktemp("runs"))


def test_members_lie_in_folders_of_their_own(outcome):
    fold = outcome.folder / "fold0"
    for number, name in enumerate(("resnet_attention", "functionals", "resnet_attention")):
        branch = checkpoint.load(fold / f"member{number}" / "model.safetensors").branches["audio"]
        assert (branch.config.network.name, branch.config.ensemble) == (name, [])
        assert not [key for key in branch.network.state_dict() if "side" in key]
        assert (fold / f"member{number}" / "logits.csv").exists()
    assert not list(outcome.folder.rglob("*.ckpt"))


def test_the_ensemble_holds_its_members_and_their_weights(outcome):
    fold = outcome.folder / "fold0"
    branch = checkpoint.load(fold / "model.safetensors").branches["audio"]
    assert branch.config.ensemble == MEMBERS
    assert branch.network.shares.shape == (3,)
    assert ((branch.network.shares >= 0) & (branch.network.shares <= 10)).all()
    tables = []
    for number, member in enumerate(branch.network.members):
        place = fold / f"member{number}"
        alone = checkpoint.load(place / "model.safetensors").branches["audio"].network.state_dict()
        torch.testing.assert_close(member.state_dict(), alone, rtol=0, atol=0)
        tables.append(torch.from_numpy(read_logits(place / "logits.csv").logits).log_softmax(1))
    shares = branch.network.shares.double().view(-1, 1, 1)
    expected = (shares * torch.stack(tables)).sum(0).log_softmax(1)
    np.testing.assert_allclose(read_logits(fold / "logits.csv").logits, expected, rtol=1e-4, atol=2e-3)


def test_the_result_is_measured_and_better_than_chance(outcome):
    held_out = set(outcome.table.subjects)
    assert len(outcome.table.clips) == 6 * len(held_out)
    assert outcome.report.uar > 0.6  # chance is 0.33
    meta = checkpoint.read_header(outcome.folder / "fold0" / "model.safetensors")
    assert meta["metrics"]["test"]["uar"] == pytest.approx(outcome.report.uar)
    assert meta["protocol"].startswith("subject5")


def test_a_recognizer_takes_the_file(outcome, root):
    model = load_model(outcome.folder / "fold0" / "model.safetensors")
    right = 0
    for emotion in EMOTIONS:
        result = model.predict(root / "sounds" / emotion / f"{PEOPLE[0]}_0.wav", vad=False)
        assert result.overall.probs.sum() == pytest.approx(1)
        right += result.overall.label == emotion
    assert right >= 2


def test_resume_keeps_the_members_that_are_done(outcome, root, tmp_path):
    run = tmp_path / "mini"
    shutil.copytree(outcome.folder, run)
    fold = run / "fold0"
    shutil.rmtree(fold / "member2")
    (fold / "model.safetensors").unlink()  # stopped before the model, but not before the logits were written
    before = {number: (fold / f"member{number}" / "model.safetensors").stat().st_mtime_ns for number in (0, 1)}
    again = runs.train(settings(), root, tmp_path, resume=True)
    for number, when in before.items():
        assert (fold / f"member{number}" / "model.safetensors").stat().st_mtime_ns == when
    assert (fold / "model.safetensors").exists()
    np.testing.assert_allclose(again.table.logits, outcome.table.logits, atol=1e-3)  # the same seed again


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ensemble": [{"network.name": "nobody"}]}, "unknown audio backbone 'nobody'"),
        ({"ensemble": [{"network.optons": {}}]}, "member 2 of the ensemble: unknown key 'network.optons'"),
        ({"ensemble": [{"network.name": "svm"}]}, "unknown audio backbone 'svm'"),
        ({"network": {"name": "svm"}, "audio": {"kind": "features"}}, "unknown audio backbone 'svm'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_done(root, tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        runs.train(settings(**changes), root, tmp_path)
    assert not (tmp_path / "mini").exists()


def test_a_side_task_of_which_nothing_is_known(root, tmp_path):
    config = settings(training={"epochs": 1, "side_tasks": ["gender"]}, ensemble=[])
    with pytest.raises(ConfigError, match="no training clip tells its 'gender'; they tell corpus"):
        runs.train(config, root, tmp_path)


# Seeds


@pytest.mark.parametrize("protocol", ["subject5", "random", "final"])
def test_another_seed_has_the_same_folds_and_another_split_seed_others(root, protocol):
    clips = data.scan(settings(), root)

    def parts(**seeds: int) -> list:
        folds = runs.make_protocol(settings(protocol=protocol, **seeds), clips)
        return [(set(map(str, (c.path for c in fold.val))), {str(c.path) for c in fold.test}) for fold in folds]

    assert parts(seed=0) == parts(seed=7)
    assert any(parts(split_seed=other) != parts() for other in (1, 2, 3))
