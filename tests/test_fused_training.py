"""Training voice, face and their fusion on a miniature corpus of videos: it learns, resumes, and refuses."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from av_corpus import PEOPLE, film, make_av_corpus, write_clip
from conftest import Ended, training_on
from corpora import SUBJECT, make_sound

if importlib.util.find_spec("lightning") is None:
    pytest.skip("training needs the extra train", allow_module_level=True)

from avser.checkpoint import load, read_header
from avser.logits import read_logits, write_logits
from avser.models import build_model
from avser.models.fusion import FUSION_RULES
from avser.settings import parse
from avser.training import data, fused_clips, fused_training, joint
from avser.training import runs as training
from avser.training.fused_config import BRANCHES, FusedConfig, load_any
from avser.types import Clip, DataError

VOICE = {
    "network": {"name": "resnet_attention", "options": {"widths": [4, 8, 8, 8], "features": 16}, "dropout": 0.0},
    "training": {"epochs": 8, "batch_size": 8, "lr": 0.01},
}
SOLVED = {"network": {"name": "functionals", "dropout": 0.0}}
"""A voice in closed form, which takes no time to train."""
FACE = {
    "network": {"name": "resnet_face", "options": {"widths": [4, 8], "blocks": [1, 1]}, "dropout": 0.0},
    "training": {"epochs": 6, "batch_size": 8, "lr": 0.01},
}
UNITS = {"network": {"name": "unit_kernel"}, "face": {"input": "action_units"}}
TUNING = {"epochs": 2, "lr": 0.003}
BRIEF = {**FACE, "training": {**FACE["training"], "epochs": 2}}
SMALL = {
    "branch": "fused",
    "labels": "basic7",
    "protocol": "subject5",
    "validation": 1,
    "folds": [0],
    "inner": 2,
    "corpora": [{"name": "folder", "root": "videos", "options": {"subject": SUBJECT}}],
    "branches": {"audio": SOLVED, "face": BRIEF},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """A data root with the corpus in `videos`."""
    root = tmp_path_factory.mktemp("data")
    make_av_corpus(root / "videos")
    return root


@pytest.fixture
def write(tmp_path):
    """`write(key=value, …)`: a YAML file of a fused model with a solved voice and a face trained briefly."""

    def make(**changes: object) -> Path:
        path = tmp_path / "mini.yaml"
        path.write_text(yaml.safe_dump({**SMALL, **changes}), encoding="utf-8")
        return path

    return make


@pytest.fixture
def train(avser_command, corpus, tmp_path):
    """`train(config, …)`: `avser train` on the miniature corpus, into `tmp_path / "runs"`."""
    return training_on(avser_command, corpus, tmp_path / "runs")


def without_warnings(done: Ended) -> list[str]:
    """What stands on stderr besides the clips that had to be left out."""
    return [line for line in done.err.splitlines() if "clips left out, the first" not in line]


# The whole way


def test_it_is_learned_measured_and_used(train, write, corpus, avser_command, tmp_path):
    settings = write(branches={"audio": VOICE, "face": FACE}, joint={"epochs": 1, "lr": 0.001})
    done = train(settings)
    assert (done.code, without_warnings(done)) == (0, [])
    run = tmp_path / "runs" / "mini"
    tables = {name: read_logits(run / file) for name, file in fused_training.TABLES.items()}
    assert tables["fused"].report().uar > 0.8  # chance is 0.33
    reports = json.loads((run / "report.json").read_text())
    assert reports.keys() == {"fused", "audio", "face"}
    assert reports["fused"]["uar"] == round(tables["fused"].report().uar, 4)
    assert {"audio", "face", "fused"} <= set(done.out.split())

    # the clips have names that tell them apart, and one without a stream is judged by the other alone
    assert len(set(tables["fused"].clips)) == len(tables["fused"].clips)
    assert set(tables["fused"].clips) >= set(tables["audio"].clips) | set(tables["face"].clips)
    assert np.allclose(np.exp(tables["fused"].logits).sum(1), 1, atol=1e-3)

    model = load(run / "fold0" / "model.safetensors")
    assert (model.kind, model.fusion.name) == ("fused", "head")
    assert model.meta["metrics"]["fused, held out"]["n"] == tables["fused"].folds.count("0")
    assert not list(run.rglob("*.pt"))
    assert not list(run.rglob("*.ckpt"))
    with (run / "fold0" / "joint.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1"]

    video = corpus / "videos" / "happy" / f"{min(set(tables['fused'].subjects) - {'gina', 'fritz'})}_0.mkv"
    used = avser_command("predict", video, "--model", model.path, "-o", tmp_path / "x.json")
    assert used.code == 0, used.err
    assert json.loads((tmp_path / "x.json").read_text())["model"]["name"] == "mini"
    assert "fused, held out" in avser_command("info", model.path).out

    refused = train(settings)
    assert (refused.code, "give --resume" in refused.complaint) == (2, True)
    again = train(settings, "--resume")
    assert again.code == 0
    assert again.out.count("done already") == 1
    other = train(settings, "rule=mean", "--resume")
    assert (other.code, "begun with other settings" in other.complaint) == (2, True)


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory) -> Path:
    """The folder of a small run of fold 0."""
    runs = tmp_path_factory.mktemp("runs")
    (runs / "mini.yaml").write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    return fused_training.train(load_any(runs / "mini.yaml"), corpus, runs).folder


@pytest.fixture
def branches_only(trained, tmp_path) -> Callable[..., Path]:
    """`branches_only(key=value, …)`: fold 0 of a run of these settings that got as far as the branches."""

    def make(**changes: object) -> Path:
        run = tmp_path / "runs" / "mini"
        shutil.copytree(trained, run)
        for left in ("fusion.json", "model.safetensors"):
            (run / "fold0" / left).unlink()
        config = parse(FusedConfig, {**SMALL, "name": "mini", "folds": None, **changes}, "test")
        (run / "config.json").write_text(config.model_dump_json(), encoding="utf-8")
        return run / "fold0"

    return make


def test_cues_are_what_reliability_goes_by(train, write, branches_only):
    fold = branches_only(rule="reliability")
    done = train(write(rule="reliability"), "--resume")
    assert (done.code, without_warnings(done)) == (0, [])
    rule = load(fold / "model.safetensors").fusion
    assert rule.name == "reliability"
    assert len(set(rule.exponents.values())) > 0


def split(config: FusedConfig, corpus: Path):
    """The first fold of a config and its inner folds."""
    branch = config.of_branch("audio")
    clips = fused_clips.name_apart(data.scan(branch, corpus))
    fold = training.make_protocol(branch, clips)[0]
    return fold, fused_clips.inner_folds(fold, config.inner, config.split_seed)


def test_people_never_cross(write, corpus, trained):
    fold, inner = split(load_any(write()), corpus)
    tested = []
    for part in inner:
        train, val, test = ({clip.subject for clip in getattr(part, name)} for name in ("train", "val", "test"))
        assert not train & val
        assert not (train | val) & test
        assert val == {clip.subject for clip in fold.val}
        assert not (train | val | test) & {clip.subject for clip in fold.test}
        tested += sorted(test)
    assert sorted(tested) == sorted({clip.subject for clip in fold.train})
    # as the files that training left say
    folder = trained / "fold0"
    for branch in ("audio", "face"):
        held = [set(read_logits(folder / branch / f"inner{number}" / "logits.csv").subjects) for number in (0, 1)]
        assert held == [{clip.subject for clip in part.test} for part in inner]
        said = fused_clips.read_out_of_fold(folder / branch, inner)
        assert not said.keys() & {clip.name for clip in (*fold.val, *fold.test)}


# In-sample logits


def test_logits_of_clips_that_a_network_learned_from_are_refused(train, write, branches_only):
    fold = branches_only()
    one, other = (fold / "face" / f"inner{number}" / "logits.csv" for number in (0, 1))
    write_logits(one, read_logits(other))
    done = train(write(), "--resume")
    assert done.code == 2
    assert "fitting on in-sample logits is refused" in done.complaint
    assert str(one.parent) in done.complaint


def test_logits_of_a_network_of_another_fold_are_refused(train, write, branches_only):
    folder = branches_only() / "audio"
    shutil.copy(folder / "inner1" / "model.safetensors", folder / "inner0" / "model.safetensors")
    done = train(write(), "--resume")
    assert (done.code, "fitting on in-sample logits is refused" in done.complaint) == (2, True)


# Interrupted, and gone on with


def stop_at(monkeypatch, owner: object, name: str, call: int) -> None:
    """Ctrl-C when a function is called for the so-many-th time, once."""
    function, calls = getattr(owner, name), []

    def stops(*arguments, **settings):
        calls.append(name)
        if len(calls) == call:
            monkeypatch.setattr(owner, name, function)
            raise KeyboardInterrupt
        return function(*arguments, **settings)

    monkeypatch.setattr(owner, name, stops)


def test_branches_are_gone_on_with(train, write, tmp_path, monkeypatch):
    fold = tmp_path / "runs" / "mini" / "fold0"
    stop_at(monkeypatch, training, "train_fold", 5)
    stopped = train(write())
    assert stopped.code == 130
    assert stopped.err.splitlines()[-1] == "avser: mini interrupted; the same command with --resume goes on"
    made = {path: path.stat().st_mtime_ns for path in fold.rglob("*.safetensors")}
    assert len(made) == 4  # voice, its two inner ones, and the face's first
    done = train(write(), "--resume")
    assert (done.code, without_warnings(done)) == (0, [])
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert "face, inner 2/2: " in done.out
    assert "audio" not in done.out.split("fusion:")[0]


@pytest.mark.parametrize(
    ("owner", "name", "call", "there"),
    [
        (fused_training, "fit_fusion", 1, []),
        (joint, "_train_epoch", 2, ["fusion.json", "joint.csv", "joint.pt"]),
        (fused_training, "predict", 4, ["fusion.json", "joint.csv", "joint.pt"]),
    ],
    ids=["fusion", "epoch", "measuring"],
)
def test_later_stages_are_gone_on_with(
    train, write, branches_only, tuned, tmp_path, monkeypatch, owner, name, call, there
):
    fold = branches_only(joint=TUNING)
    stop_at(monkeypatch, owner, name, call)
    stopped = train(write(joint=TUNING), "--resume")
    assert stopped.code == 130
    assert stopped.err.splitlines()[-1] == "avser: mini interrupted; the same command with --resume goes on"
    assert sorted(path.name for path in fold.glob("[fj]*.*") if path.name != "face_logits.csv") == there
    done = train(write(joint=TUNING), "--resume")
    assert (done.code, without_warnings(done)) == (0, [])
    assert done.out.count("joint  epoch") == 2 - ("joint.pt" in there) - (name == "predict")
    # in two goes or in one, it comes to the same
    for file in ("fusion.json", "joint.csv", "logits.csv", "face_logits.csv"):
        assert (fold / file).read_text() == (tuned / file).read_text()
    assert not list(fold.glob("*.pt"))


@pytest.fixture(scope="module")
def tuned(trained, corpus, tmp_path_factory) -> Path:
    """Fold 0 of the small run with fine-tuning, which nothing interrupted."""
    run = tmp_path_factory.mktemp("tuned") / "mini"
    shutil.copytree(trained, run)
    for left in ("fusion.json", "model.safetensors"):
        (run / "fold0" / left).unlink()
    config = parse(FusedConfig, {**SMALL, "name": "mini", "joint": TUNING}, "test")
    (run / "config.json").unlink()
    fused_training.train(config, corpus, run.parent)
    return run / "fold0"


# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "sum"}, "rule: .*'weighted'"),
        ({"protocol": "random"}, "protocol: .*'subject5'"),
        ({"inner": 1}, "inner: .*greater than or equal to 2"),
        ({"branches": {"audio": SOLVED}}, "branches.face: is missing"),
        ({"branches": {"audio": SOLVED, "face": {**FACE, "labels": "basic7"}}}, "branches.face.labels: both"),
        (
            {"branches": {"audio": SOLVED, "face": {**FACE, "trainin": {}}}},
            "branches.face: .*did you mean 'training'",
        ),
        ({"branches": {"audio": {"network": {"name": "svm"}}, "face": FACE}}, "svm leaves no model to fuse"),
        ({"joint": {"epoch": 3}}, "unknown key 'joint.epoch'; did you mean 'epochs'"),
        (
            {
                "joint": {"epochs": 1},
                "branches": {"audio": {**SOLVED, "training": {"refit": True, "keep": "last"}}, "face": FACE},
            },
            "training.refit: leaves joint fine-tuning no clips",
        ),
        ({"branches": {"audio": SOLVED, "face": UNITS}}, "a fused model looks at pictures"),
        ({"inner": 6}, "too few for inner=6"),
        ({"folds": [7]}, "no fold 7"),
        ({"corpora": [{"name": "folder", "root": "videos"}]}, "splits by subject"),
    ],
)
def test_settings_that_do_not_fit(train, write, changes, message):
    done = train(write(**changes))
    assert done.code == 2
    assert re.search(message, done.complaint), done.complaint


def test_the_folds_of_a_fused_config_are_audited(write, avser_command, corpus):
    done = avser_command("audit", write(folds=None), "--data-root", corpus, "--json")
    found = json.loads(done.out)
    assert found["split"].startswith("mini"), found
    assert len(found["folds"]) > 1
    assert not any(kind["crossing"] for name, kind in found["kinds"].items() if name == "subject")


def test_pictures_are_refused(train, write, corpus, tmp_path, avser_command):
    for person in PEOPLE:
        for emotion in ("happy", "sad"):
            path = tmp_path / "data" / "videos" / emotion / f"{person}_0.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.zeros((48, 48, 3), np.uint8))
    done = avser_command("train", write(), "--data-root", tmp_path / "data", "-o", tmp_path / "runs")
    assert (done.code, "learns from videos" in done.complaint) == (2, True)


# Parts


def test_the_shipped_config_takes_the_full_av_clips_of_ravdess(tmp_path):
    config = load_any(Path(__file__).parents[1] / "configs" / "fused_head.yaml")
    assert config.rule in FUSION_RULES
    for name in BRANCHES:
        build_model(config.of_branch(name))
    for actor in range(1, 25):
        for modality in ("01", "02", "03"):
            folder = tmp_path / config.corpora[0].root / f"Actor_{actor:02d}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{modality}-01-05-01-02-01-{actor:02d}.mp4").touch()
    fold, inner = split(config, tmp_path)
    assert {clip.info["modality"] for clip in fold.train} == {"av"}
    assert (len(fold.train), len(fold.val), len(fold.test)) == (16, 4, 4)
    assert len(inner) == config.inner


def test_copies_of_what_is_held_out_are_known():
    def part(**arrays: tuple[float, float]) -> fused_clips.Part:
        clips = [Clip(Path(f"{name}.mkv"), "sad", name, "folder") for name in arrays]
        inputs = {
            branch: {
                clip.name: data.Example(clip, np.full(4, arrays[clip.name][side]), np.ones(7)) for clip in clips
            }
            for side, branch in enumerate(BRANCHES)
        }
        return fused_clips.Part(clips, inputs)

    given = part(new=(1, 2), heard=(3, 4), seen=(5, 6))
    assert fused_clips.without_copies(given, [part(x=(3, 9)), part(y=(9, 6))]) == ["new"]
    assert fused_clips.without_copies(given, []) == ["heard", "new", "seen"]


def test_names_tell_clips_apart(corpus, write):
    clips = data.scan(load_any(write()).of_branch("audio"), corpus)
    named = fused_clips.name_apart(clips)
    assert len({clip.name for clip in named}) == len(clips) > len({clip.name for clip in clips})
    assert "happy_anna_0" in {clip.name for clip in named}
    assert [clip.path for clip in named] == [clip.path for clip in clips]
    with pytest.raises(DataError, match="rename one"):
        fused_clips.name_apart([clips[0], clips[0]])


def test_cues_of_clips(tmp_path, write):
    config = load_any(write())
    configs = {name: config.of_branch(name) for name in ("audio", "face")}
    rng = np.random.default_rng(0)
    pictures, sound = film("sad", 0, 8, rng), make_sound("angry", rng)
    blank = pictures.copy()
    blank[4:] = 128
    paths = {
        "whole": write_clip(tmp_path / "whole.mkv", pictures, sound),
        "half": write_clip(tmp_path / "half.mkv", blank, sound),
        "silent": write_clip(tmp_path / "silent.mkv", pictures, None),
    }
    clips = [Clip(path, "sad", name, "folder") for name, path in paths.items()]
    known = fused_clips.find_evidence("reliability", configs, clips, None)
    assert known["whole"]["face_share"] == 1
    assert known["half"]["face_share"] == pytest.approx(0.5, abs=0.13)
    assert known["whole"]["face_score"] > 0.8
    assert 50 < known["whole"]["face_size"] < 110
    assert 0.2 < known["whole"]["speech"] < 1
    assert known["whole"]["snr"] > 10
    assert np.isnan(known["silent"]["snr"])
    assert fused_clips.find_evidence("mean", configs, clips, None) == {}


def test_fine_tuning_takes_the_best_epoch_and_leaves_the_rule(tuned, trained):
    header = read_header(tuned / "model.safetensors")
    assert header["fusion"] == json.loads((tuned / "fusion.json").read_text())
    assert header["fusion"] == read_header(trained / "fold0" / "model.safetensors")["fusion"]
    with (tuned / "joint.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    best = max(rows, key=lambda row: (float(row["val_uar"]), -float(row["val_nll"])))["epoch"]
    assert ("fine-tuned together" in header["description"]) == (best != "0")
