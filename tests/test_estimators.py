"""Classical classifiers: what they learn, what they refuse, and a training run from sound to report."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest

if importlib.util.find_spec("sklearn") is None or importlib.util.find_spec("librosa") is None:
    pytest.skip("classical classifiers need the extra train", allow_module_level=True)

from corpora import SUBJECT, make_corpus

from avser.config import Config, parse_config
from avser.labels import label_set
from avser.logits import read_logits
from avser.training import estimators, runs
from avser.training.data import Example
from avser.training.estimators import ESTIMATORS
from avser.types import Clip, ConfigError, DataError

LABELS = label_set("basic7")
SMALL = {"svm": {}, "random_forest": {"trees": 20}, "mlp": {"hidden": 16, "alpha": 0.001, "max_iter": 300}}

every_estimator = pytest.mark.parametrize("name", ESTIMATORS)


def make_config(name: str = "svm", options: dict | None = None, **settings) -> Config:
    values = {
        "name": "test",
        "branch": "audio",
        "labels": "basic7",
        "protocol": "subject5",
        "validation": 1,
        "folds": [0, 1],
        "corpora": [{"name": "folder", "root": "sounds", "options": {"subject": SUBJECT}}],
        "audio": {"kind": "features", "features": "means162"},
        "network": {"name": name, "options": SMALL[name] if options is None else options},
        **settings,
    }
    return parse_config(values, "test")


def make_examples(classes: tuple[str, ...], count: int = 12, seed: int = 0) -> list[Example]:
    """Clouds of points, one an emotion, in two of five features of different sizes; the rest is noise."""
    rng = np.random.default_rng(seed)
    examples = []
    for number in range(count * len(classes)):
        label = classes[number % len(classes)]
        column = LABELS.index(label)
        features = rng.normal(0, 1, 5)
        features[:2] += 8 * np.array([np.cos(column), np.sin(column)])
        target = np.eye(len(LABELS), dtype=np.float32)[column]
        clip = Clip(Path(f"{label}_{number}.wav"), label, None, "made")
        examples.append(Example(clip, (features * [1, 1000, 1e-3, 1, 1]).astype(np.float32), target))
    return examples


def targets_of(examples: list[Example]) -> np.ndarray:
    return np.array([example.target.argmax() for example in examples])


@every_estimator
def test_what_can_be_told_apart_is_learned(name):
    seen = ("neutral", "happy", "sad", "disgust")
    predict = estimators.fit(make_config(name), make_examples(seen))
    fresh = make_examples(seen, seed=1)
    logs = predict(fresh)
    assert logs.shape == (len(fresh), len(LABELS))
    assert (logs.argmax(1) == targets_of(fresh)).mean() > 0.9
    assert np.exp(logs).sum(1) == pytest.approx(1, abs=len(LABELS) * estimators.FLOOR)


@every_estimator
def test_a_class_never_seen_is_never_chosen(name):
    predict = estimators.fit(make_config(name), make_examples(("happy", "surprised")))
    logs = predict(make_examples(("happy", "angry", "surprised"), seed=1))
    unseen = [number for number, label in enumerate(LABELS) if label not in ("happy", "surprised")]
    assert (logs[:, unseen] == np.log(estimators.FLOOR)).all()
    assert set(logs.argmax(1)) <= {LABELS.index("happy"), LABELS.index("surprised")}
    assert predict([]).shape == (0, len(LABELS))


@every_estimator
def test_same_seed_same_answer_and_no_warning(name):
    examples = make_examples(("happy", "sad"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, two = (estimators.fit(make_config(name), examples)(examples) for _ in range(2))
    assert np.array_equal(one, two)


@every_estimator
@pytest.mark.parametrize(
    ("options", "said"), [({"depth": 3}, "depth"), ({"kernel": "round", "trees": -1, "alpha": -1}, "")]
)
def test_options_that_do_not_fit(name, options, said):
    if not said:
        known = {"svm": "kernel", "random_forest": "trees", "mlp": "alpha"}[name]
        options = {known: options[known]}
    with pytest.raises(ConfigError, match=rf"test: options of '{name}' do not fit \(.*{said}") as error:
        estimators.fit(make_config(name, options), make_examples(("happy", "sad")))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("settings", [{"audio": {"kind": "log_mel"}}, {"branch": "face"}])
def test_inputs_that_are_no_features(settings):
    with pytest.raises(ConfigError, match=r"svm takes hand-crafted features: audio.kind=features"):
        estimators.fit(make_config("svm", **settings), make_examples(("happy", "sad")))


def test_too_little_to_learn_from():
    with pytest.raises(DataError, match="are all happy"):
        estimators.fit(make_config("random_forest"), make_examples(("happy",)))
    few = [*make_examples(("happy",)), *make_examples(("sad",), 2)]
    with pytest.raises(DataError, match="svm needs 3 clips of each emotion to train on, there are 2 of sad"):
        estimators.fit(make_config("svm"), few)
    estimators.fit(make_config("random_forest"), few)


# From sound to report


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_corpus(folder / "sounds", "audio")
    return folder


@every_estimator
def test_trained_measured_and_kept(name, root, tmp_path, capsys):
    config = make_config(name, augment={"copies": 2, "copy_kinds": ["noise", "shift"]})
    done = runs.train(config, root, tmp_path)
    assert done.folder == tmp_path / "test"
    assert done.report.uar > 0.7  # chance is 0.33
    folds = [read_logits(done.folder / f"fold{number}" / "logits.csv") for number in (0, 1)]
    assert not set(folds[0].subjects) & set(folds[1].subjects)
    assert not any("#" in clip for table in folds for clip in table.clips)
    table = read_logits(done.folder / "logits.csv")
    assert table.clips == [*folds[0].clips, *folds[1].clips]
    assert (done.folder / "fold0" / "val_logits.csv").exists()
    assert not list(done.folder.rglob("*.safetensors"))
    assert "done already" not in capsys.readouterr().out

    again = runs.train(config, root, tmp_path, resume=True)
    assert capsys.readouterr().out.count("done already") == 2
    assert again.report.to_dict() == done.report.to_dict()
    with pytest.raises(ConfigError, match="holds a run already"):
        runs.train(config, root, tmp_path)


def test_copies_on_both_sides_are_measured_too(root, tmp_path):
    config = make_config("random_forest", protocol="copies", folds=None)
    config = config.model_copy(
        update={"augment": config.augment.model_copy(update={"copies": 1, "copy_kinds": ["noise"]})}
    )
    done = runs.train(config, root, tmp_path)
    assert len(done.table.clips) == 14  # a fifth of 36 sounds and a copy of each
    assert any(clip.endswith("#1") for clip in done.table.clips)
    assert done.report.uar > 0.7
