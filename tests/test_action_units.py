"""Action units as the signal of a face branch: backbones, training, evaluation, what prediction says of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from corpora import EMOTIONS, PEOPLE, write_units
from networks import overfit

from avser import checkpoint, models, units
from avser.config import Config, load_config, parse_config
from avser.logits import read_logits
from avser.models.action_units import STATISTICS, UNIT_BACKBONES, UnitKernel, UnitMlp, UnitStatistics
from avser.types import ConfigError

NAMES = ["AU01_r", "AU04_r", "AU12_r", "AU15_r"]
TINY = {"unit_kernel": {"anchors": 64}}
every_backbone = pytest.mark.parametrize("name", UNIT_BACKBONES)

learning = pytest.mark.skipif(
    importlib.util.find_spec("lightning") is None, reason="training needs the extra train"
)


def make_units(emotion: str, person: str, rng: np.random.Generator) -> np.ndarray:
    """Happy lifts the corners of the mouth, sad lowers them, angry lowers the brows; people differ at rest."""
    rest = np.array([len(person), ord(person[0]) % 5, ord(person[1]) % 3, 1.0]) / 8
    shown = {"happy": [0, 0, 2, 0], "sad": [1, 0, 0, 2], "angry": [0, 2, 0, 0]}[emotion]
    return (rest + np.array(shown) + rng.normal(0, 0.3, 4)).clip(0, 5).round(3)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """One corpus as a table of means and as files of frames, of which some failed, and all of one clip."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    means, labels = [], []
    for emotion in EMOTIONS:
        for person in PEOPLE:
            for number in range(3):
                facts = {"clip": f"{emotion}_{person}_{number}", "label": emotion, "subject": person}
                shown = make_units(emotion, person, rng)
                means.append(facts | dict(zip(NAMES, shown, strict=True)))
                labels.append(facts)
                frames = [
                    {"frame": n, "timestamp": n / 30, "success": int(n % 4 > 0)}
                    | dict(zip(NAMES, shown * (0 if n % 4 == 0 else 0.8 + 0.1 * (n % 4)), strict=True))
                    for n in range(1, 6 + number)
                ]
                write_units(folder / "frames" / f"{facts['clip']}.csv", frames)
    write_units(folder / "means.csv", means)
    lost = {"clip": "happy_anna_lost", "label": "happy", "subject": "anna"}
    write_units(folder / "frames" / "labels.csv", [*labels, lost])
    failed = {"frame": 1, "timestamp": 0, "success": 0} | dict.fromkeys(NAMES, 0)
    write_units(folder / "frames" / f"{lost['clip']}.csv", [failed])
    return folder


def settings(name: str = "unit_kernel", **changes: object) -> dict:
    values = {
        "name": "mini",
        "branch": "face",
        "labels": "basic7",
        "protocol": "subject5",
        "validation": 1,
        "folds": [0],
        "corpora": [{"name": "openface", "root": "means.csv"}],
        "face": {"input": "action_units", "units": NAMES},
        "network": {"name": name, "options": TINY.get(name, {}), "dropout": 0.0},
        "training": {"epochs": 15, "batch_size": 8, "lr": 0.01},
    }
    return values | changes


def config(name: str = "unit_kernel", **changes: object) -> Config:
    return parse_config(settings(name, **changes), "test")


def clips(batch: int = 4, frames: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Action units of clips of different lengths, the first one the longest."""
    mask = (
        torch.arange(frames)[None] < torch.tensor([frames, *torch.randint(1, frames + 1, (batch - 1,))])[:, None]
    )
    return torch.rand(batch, frames, len(NAMES)) * mask.unsqueeze(-1), mask


# Backbones


@every_backbone
@pytest.mark.parametrize("statistics", [["mean"], list(STATISTICS)])
def test_shapes_and_padding(name, statistics):
    torch.manual_seed(0)
    options = {**TINY.get(name, {}), "statistics": statistics}
    network = models.build_model(config(name, network={"name": name, "options": options})).eval()
    x, mask = clips()
    with torch.inference_mode():
        assert network.backbone(x, mask).shape == (4, network.backbone.features)
        logits = network(x, mask)
        assert logits.shape == (4, 7)
        padded = network(
            torch.cat([x, torch.full((4, 2, 4), 9.0)], 1), torch.cat([mask, torch.zeros(4, 2) > 0], 1)
        )
    torch.testing.assert_close(padded, logits)


def test_statistics_in_closed_form():
    backbone = UnitStatistics(2, list(STATISTICS), [1])
    x = torch.tensor([[[1.0, -4.0], [3.0, 0.0], [9.0, 9.0]]])
    measured = backbone.measure(x, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(measured, torch.tensor([[2.0, -2.0, 1.0, 2.0, 3.0, 0.0, 1.0, 0.0]]))
    roots = UnitStatistics(2, ["mean"], [0.5]).measure(x, torch.tensor([[True, False, False]]))
    torch.testing.assert_close(roots, torch.tensor([[1.0, -2.0]]))  # the sign stays


@pytest.mark.parametrize("norm", [1, 2])
def test_likeness_falls_with_distance_and_is_zero_to_anchors_that_are_none(norm):
    backbone = UnitKernel(2, ["mean"], [1], anchors=3, norm=norm, width=2.0)
    backbone.anchors[0] = torch.tensor([1.0, 3.0])
    backbone.used[:2] = 1
    x = torch.tensor([[[3.0, 6.0]]])
    like = backbone(x, torch.ones(1, 1, dtype=torch.bool))
    first = {1: (2 + 3) / 2, 2: ((4 + 9) / 2) ** 0.5}[norm]
    second = {1: (3 + 6) / 2, 2: ((9 + 36) / 2) ** 0.5}[norm]
    torch.testing.assert_close(like, torch.tensor([[-first / 2, -second / 2, -torch.inf]]).exp())


def test_the_perceptron_learns_and_moves_people_about_in_training_only():
    torch.manual_seed(0)
    network = models.build_model(config("unit_mlp"))
    x, mask = clips()
    assert overfit(network, x * 10, mask, lr=0.02, steps=300) < 0.1
    network.backbone.spread.fill_(1.0)
    network.eval()
    torch.testing.assert_close(network(x, mask), network(x, mask))
    backbone = UnitMlp(4, hidden=[8], dropout=0.0)
    assert torch.equal(backbone(x, mask), backbone(x, mask))  # no spread is known
    backbone.spread.fill_(1.0)
    assert not torch.equal(backbone(x, mask), backbone(x, mask))


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"name": "resnet_face"}, "unknown action unit backbone 'resnet_face': choose from unit_statistics"),
        ({"name": "unit_kernel", "options": {"norm": 3}}, "do not fit .norm is 1 or 2"),
        (
            {"name": "unit_mlp", "options": {"statistics": ["median"]}},
            "statistics .*: choose from mean",
        ),
    ],
)
def test_networks_that_do_not_fit(network, said):
    with pytest.raises(ConfigError, match=said):
        models.build_model(config(network=network))


def test_a_backbone_for_units_takes_no_crops():
    with pytest.raises(ConfigError, match="unknown face backbone 'unit_kernel'"):
        models.build_model(config(face={}))


# Training


@learning
@every_backbone
def test_every_backbone_learns_from_means(name, root, tmp_path):
    from avser.training import runs

    done = runs.train(config(name), root, tmp_path)
    assert done.report.uar > 0.8  # chance is 0.33
    fold = done.folder / "fold0"
    assert (fold / "val_logits.csv").exists()
    assert not set(read_logits(fold / "val_logits.csv").subjects) & set(done.table.subjects)
    assert done.table.clips[0].startswith(tuple(EMOTIONS))
    branch = checkpoint.load(fold / "model.safetensors").branches["face"]
    assert branch.config.face.units == NAMES
    if name == "unit_mlp":
        assert (branch.network.backbone.spread > 0).any()


@learning
def test_frames_are_learned_and_a_clip_without_a_face_is_left_out(root, tmp_path, capsys):
    from avser.training import runs

    everyone = config(corpora=[{"name": "openface", "root": "frames"}], folds=None)
    done = runs.train(everyone, root, tmp_path)
    assert done.report.uar > 0.8
    assert len(done.table.clips) == 3 * 3 * len(PEOPLE)
    assert "1 train clips left out, the first: " in (said := capsys.readouterr().err)
    assert "happy_anna_lost.csv: the face was found in none of its 1 frames" in said


@learning
def test_ensembles_fitted_again_with_the_validation_clips(root, tmp_path):
    from avser.training import data, runs

    members = [{"network": {"name": "unit_statistics", "dropout": 0.0}}, {"network": {"name": "unit_mlp"}}]
    fit = {"epochs": 4, "batch_size": 8, "keep": "last", "refit": True}
    again = config(ensemble=members, training=fit)
    done = runs.train(again, root, tmp_path)
    assert done.report.uar > 0.8
    fold = done.folder / "fold0"
    assert (fold / "member2" / "refit" / "metrics.csv").exists()
    assert not list(done.folder.rglob("*.ckpt"))
    network = checkpoint.load(fold / "model.safetensors").branches["face"].network
    held = runs.make_protocol(again, data.scan(again, root))[0]
    examples, _ = data.load_examples(again, held.val)
    assert int(network.members[0].backbone.used.sum()) == len(held.train) + len(held.val)
    # what is kept of the validation clips was said before they were met
    said = read_logits(fold / "val_logits.csv").logits
    assert np.abs(data.run_network(network, again, examples) - said).max() > 0.05
    fit["refit"] = False
    once = runs.train(config(ensemble=members, training=fit), root, tmp_path / "once")
    np.testing.assert_allclose(read_logits(once.folder / "fold0" / "val_logits.csv").logits, said, atol=1e-3)


@learning
@pytest.mark.parametrize("name", ["svm", "random_forest"])
def test_estimators_take_action_units(name, root, tmp_path):
    from avser.training import runs

    frames = [{"name": "openface", "root": "frames"}]
    done = runs.train(config(name, corpora=frames), root, tmp_path)
    assert done.report.uar > 0.8


@learning
def test_centring_by_subject_is_named_wherever_figures_are(root, tmp_path, avser_command):
    face = {"input": "action_units", "units": NAMES, "centre": "subject", "power": 0.5}
    path = tmp_path / "mini.yaml"
    path.write_text(yaml.safe_dump(settings(face=face)), encoding="utf-8")
    done = avser_command("train", path, "--data-root", root, "-o", tmp_path / "runs", "--threads", 1)
    assert done.code == 0, done.err
    assert "mini, subject5, transductive, held-out clips" in done.out
    run = tmp_path / "runs" / "mini"
    assert set(read_logits(run / "logits.csv").folds) == {"0 transductive"}
    again = avser_command("evaluate", "--from-logits", run / "logits.csv")
    assert again.out.startswith(f"{run / 'logits.csv'}, transductive: ")
    assert "transductive" in checkpoint.read_header(run / "fold0" / "model.safetensors")["protocol"]


@learning
def test_a_model_is_measured_on_tables_but_sees_no_pictures(root, tmp_path, avser_command, video_only):
    from avser.training import runs

    done = runs.train(config(corpora=[{"name": "openface", "root": "means.csv"}]), root, tmp_path)
    model = done.folder / "fold0" / "model.safetensors"
    other = tmp_path / "other.csv"
    other.write_text((root / "means.csv").read_text())
    header = checkpoint.read_header(model)
    branch = checkpoint.load(model).branches["face"]
    elsewhere = tmp_path / "elsewhere.safetensors"
    checkpoint.save_branch(elsewhere, branch.network, branch.config, header | {"corpora": ["ravdess"]})
    for folder in (other, root / "frames"):
        ended = avser_command("evaluate", elsewhere, "--corpus", "openface", "--root", folder)
        assert ended.code == 0, ended.err
        assert float(next(line.split()[1] for line in ended.out.splitlines() if line.startswith("UAR"))) > 0.8
    ended = avser_command("predict", "--model", model, video_only)
    assert ended.code == 1
    assert "takes action units, which avser cannot measure in" in ended.complaint


@learning
def test_a_wrong_table_ends_the_training_in_one_sentence(root, tmp_path, avser_command):
    path = tmp_path / "mini.yaml"
    path.write_text(yaml.safe_dump(settings(face={"input": "action_units"})), encoding="utf-8")
    ended = avser_command("train", path, "--data-root", root, "-o", tmp_path / "runs")
    assert ended.code == 2
    assert "means.csv: has no column 'AU02_r'; list in face.units what it has: AU01_r" in ended.complaint


@learning
@pytest.mark.parametrize(("name", "bound"), [("au_ravdess8", 0.5), ("au_ravdess8_centred", 0.6)])
def test_a_fold_of_ravdess(data_root, tmp_path, name, bound):
    from avser.training import runs

    shipped = load_config(Path(__file__).parents[1] / "configs" / f"{name}.yaml", ["folds=[2]"])
    assert units.unit_names(shipped.face) == units.UNIT_SETS["openface"]
    done = runs.train(shipped, data_root, tmp_path)
    assert len(done.table.clips) == 240
    assert done.report.uar > bound
