"""Measuring a model on a corpus: by the way of prediction, and only on what it has not learned from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from corpora import EMOTIONS, PEOPLE, SUBJECT, make_corpus

from avser import datasets
from avser.benchmark import evaluation
from avser.logits import read_logits
from avser.metrics import log_softmax
from avser.recognizer import Recognizer, load_model
from avser.training import data
from avser.types import DataError, ModelError


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("sounds"), "audio", clips=1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("pictures"), "face", clips=1)


@pytest.fixture(scope="module")
def fused(small_models) -> Recognizer:
    return load_model(small_models.fused)


@pytest.fixture
def with_subjects(monkeypatch):
    """The corpus `folder` tells who a clip is of, as corpora with a file scheme of their own do."""
    scan = datasets.scan
    monkeypatch.setattr(datasets, "scan", lambda name, root: scan(name, root, subject=SUBJECT))


def trained_on(model: Recognizer, corpus: str, **header: object) -> Recognizer:
    """The same model with another history."""
    meta = {**model.checkpoint.meta, "corpora": [corpus], **header}
    return Recognizer(dataclasses.replace(model.checkpoint, meta=meta))


@pytest.mark.usefixtures("with_subjects")
def test_clips_go_the_way_of_prediction(fused, sounds):
    done = evaluation.evaluate(fused, "folder", sounds)
    table = done.table
    assert len(table.clips) == len(EMOTIONS) * len(PEOPLE)
    assert sorted(set(table.subjects)) == sorted(PEOPLE)
    assert (table.classes, done.left_out, done.restricted, done.genders) == (fused.labels, [], None, None)
    for row in (0, 10):
        path = sounds / table.labels[row] / f"{table.clips[row]}.wav"
        np.testing.assert_allclose(
            np.exp(table.logits[row]), fused.predict(path, vad=False).overall.probs, atol=1e-9
        )
    report = done.report()
    assert (report.n, report.subjects) == (18, 6)
    assert report.confusion.sum() == 18


def test_pictures_go_through_the_face_branch(fused, pictures):
    done = evaluation.evaluate(fused, "folder", pictures)
    branch = fused.checkpoint.branches["face"]
    clip = next(c for c in datasets.scan("folder", pictures) if c.name == done.table.clips[3])
    picture = torch.from_numpy(datasets.load_image(clip)).permute(2, 0, 1)[None].float() / 255  # (1, 3, 48, 48)
    with torch.inference_mode():
        logits = branch.network.frames(picture)[0].double() / fused.fusion.calibrations["face"].temperature
    index = [i for i, name in enumerate(done.table.clips) if name == clip.name]
    assert any(np.allclose(done.table.logits[i], logits.log_softmax(0), atol=1e-4) for i in index)
    assert done.modality == "face"


@pytest.mark.parametrize("mirror", [False, True])
def test_activations_are_what_the_classifier_goes_by(fused, pictures, monkeypatch, mirror):
    branch, clips = fused.checkpoint.branches["face"], datasets.scan("folder", pictures)
    monkeypatch.setattr(branch.network, "mirror", mirror)
    features, labels = evaluation.activations(branch, clips)
    assert labels == [clip.label for clip in clips]
    with torch.inference_mode():
        logits = branch.network.head(torch.from_numpy(features)).numpy()
    examples, _ = data.load_examples(branch.config, clips)
    np.testing.assert_allclose(logits, data.run_network(branch.network, branch.config, examples), atol=1e-4)


def test_pictures_are_calibrated_as_videos_are(fused, pictures, monkeypatch):
    plain = evaluation.evaluate(fused, "folder", pictures).table.logits
    habits = np.linspace(-3, -1, len(fused.labels))
    without = dataclasses.replace(fused.fusion.calibrations["face"], prior=1.0, log_prior=tuple(habits))
    monkeypatch.setitem(fused.fusion.calibrations, "face", without)
    done = evaluation.evaluate(fused, "folder", pictures).table.logits
    np.testing.assert_allclose(done, log_softmax(plain - habits), atol=1e-6)


def test_pictures_need_a_face_branch(small_models, pictures):
    with pytest.raises(DataError, match="'small-audio' has no face branch, and these clips are pictures"):
        evaluation.evaluate(load_model(small_models.audio), "folder", pictures)


@pytest.mark.usefixtures("with_subjects")
def test_filters(fused, sounds):
    done = evaluation.evaluate(fused, "folder", sounds, {"subject": ["anna", "emil"]})
    assert set(done.table.subjects) == {"anna", "emil"}
    with pytest.raises(DataError, match="no clip of 'folder' is left to measure; check the filters"):
        evaluation.evaluate(fused, "folder", sounds, {"subject": ["nobody"]})


@pytest.mark.usefixtures("with_subjects")
def test_only_what_was_held_out_is_measured(fused, sounds):
    with pytest.raises(DataError, match="was trained on 'folder' and held nothing out"):
        evaluation.evaluate(trained_on(fused, "folder"), "folder", sounds)
    held = trained_on(fused, "folder", held_out={"folder": {"subject": ["dora"]}})
    done = evaluation.evaluate(held, "folder", sounds)
    assert set(done.table.subjects) == {"dora"}
    assert done.restricted.endswith("only what was held out is measured (subject dora)")


def test_a_branch_remembers_what_it_was_trained_on(fused, sounds):
    branches = fused.checkpoint.meta["branches"]
    audio = {**branches["audio"], "corpora": ["folder"]}
    model = trained_on(fused, "savee", branches={**branches, "audio": audio})
    with pytest.raises(DataError, match="was trained on 'folder'"):
        evaluation.evaluate(model, "folder", sounds)


def test_clips_that_give_nothing_are_named(fused, tmp_path):
    root = make_corpus(tmp_path, "audio", clips=1)
    (root / "sad" / "anna_0.wav").write_bytes(b"")
    (root / "bored").mkdir()
    (root / "happy" / "anna_0.wav").rename(root / "bored" / "anna_0.wav")  # no emotion that the model knows
    done = evaluation.evaluate(fused, "folder", root)
    assert len(done.table.clips) == 16
    (sentence,) = done.left_out
    assert "anna_0.wav is empty (0 bytes)" in sentence
    for path in root.rglob("*.wav"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="none of the clips could be measured, the first: "):
        evaluation.evaluate(fused, "folder", root)


def test_modality_that_the_model_lacks(small_models, sounds):
    model = load_model(small_models.audio)
    with pytest.raises((DataError, ModelError), match=r"knows the audio only|none of the clips could be measured"):
        evaluation.evaluate(model, "folder", sounds, modality="face")


def test_from_the_command_line(avser_command, small_models, sounds, tmp_path):
    output = tmp_path / "new" / "logits.csv"
    what = ("evaluate", small_models.fused, "--corpus", "folder", "--root", sounds, "--modality", "audio")
    done = avser_command(*what, "-o", output, "--json")
    assert done.code == 0
    assert read_logits(output).classes == load_model(small_models.fused).labels
    again = avser_command("evaluate", "--from-logits", output, "--json")
    one, two = json.loads(done.out), json.loads(again.out)
    for name in ("n", "uar", "accuracy", "macro_f1", "confusion", "recalls"):
        assert one[name] == two[name]
    assert one["nll"] == pytest.approx(two["nll"], abs=1e-3)
    table = avser_command(*what, "--only", "subject=anna")
    assert table.code == 2
    assert "no clip of 'folder' is left to measure" in table.complaint  # the command knows no subjects here


def test_logits_that_cannot_be_written(avser_command, small_models, sounds, tmp_path):
    (tmp_path / "file").write_text("kept")
    target = tmp_path / "file" / "x.csv"
    done = avser_command(
        *("evaluate", small_models.fused, "--corpus", "folder", "--root", sounds), *("-o", target)
    )
    assert (done.code, done.out) == (2, "")
    assert str(target) in done.complaint
