"""The model that ships: found by name, small, described, and as good as it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import SAMPLE

import avser
from avser.checkpoint import known_models, read_header
from avser.labels import LABEL_SETS
from avser.logits import read_logits

NAME = "av-base"
WEIGHTS = Path(__file__).parent.parent / "weights"
RESULTS = sorted((WEIGHTS / "results").glob("*.csv"))

pytestmark = pytest.mark.skipif(NAME not in known_models(), reason=f"weights/{NAME}.safetensors is not there")


@pytest.fixture(scope="module")
def header() -> dict:
    return read_header(known_models()[NAME])


@pytest.fixture(scope="module")
def model() -> avser.Recognizer:
    return avser.load_model(NAME)


def test_size_and_card():
    path = known_models()[NAME]
    assert path.stat().st_size < 10e6
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    for topic in ("CC BY-NC-SA 4.0", "RAVDESS", "EmoDB", "FER2013", "## Limits", "## Not to be used"):
        assert topic.lower() in card.lower(), topic


def test_header_describes_the_model(header):
    assert header["name"] == NAME
    assert tuple(header["labels"]) == LABEL_SETS["basic7"]
    assert {"ravdess", "fer2013"} <= set(header["corpora"])
    assert "CC BY-NC-SA" in header["licence"]
    assert header["protocol"]
    assert header["held_out"]["ravdess"] == {"subject": ["01"]}
    assert header["metrics"]
    assert set(header["branches"]) == {"audio", "face"}


def test_predict_in_python(model, tmp_path):
    result = model.predict(SAMPLE)
    assert result.label in result.labels
    assert sum(result.probs.values()) == pytest.approx(1, abs=1e-3)
    avser.write(result, tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text())["overall"]["label"] == result.label


def test_predict_on_the_command_line(avser_command):
    done = avser_command("predict", SAMPLE)
    assert (done.code, done.err) == (0, "")
    rows = [line for line in done.out.splitlines() if " – " in line]
    assert rows
    assert all(row.count("×") == 2 for row in rows)  # voice and face both have their share


def test_info_and_models(avser_command, header):
    done = avser_command("info")
    assert done.code == 0
    assert header["licence"] in done.out
    assert "model card: " in done.out
    assert all(name.split(",")[0] in done.out for name in header["metrics"])
    assert NAME in avser_command("models").out


def measured(header: dict, path: Path) -> dict | None:
    """The header's figures that a file of logits stands behind; None if it has none."""
    return next((figures for figures in header["metrics"].values() if figures["file"] == path.name), None)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_figures_can_be_recomputed(avser_command, header, path):
    done = avser_command("evaluate", "--from-logits", path, "--json")
    assert (done.code, done.err) == (0, "")
    figures = json.loads(done.out)
    assert figures["n"] == len(read_logits(path).clips)
    told = measured(header, path)
    for key in (
        ("n", "uar", "accuracy", "confusion") if told else ()
    ):  # others are of further models and of fusions
        assert figures[key] == (pytest.approx(told[key], abs=5e-4) if isinstance(told[key], float) else told[key])


def test_every_figure_has_its_file(header):
    assert {figures["file"] for figures in header["metrics"].values()} <= {path.name for path in RESULTS}


def test_actor_01_gives_the_logits_of_the_results(model, data_root):
    """The figures on real clips come out of `predict` as it is now; decoders may differ a little."""
    table = read_logits(WEIGHTS / "results" / "actor01_fused.csv")
    for row in range(0, len(table.clips), 13):
        path = data_root / "av" / "ravdess" / "Actor_01" / f"{table.clips[row]}.mp4"
        np.testing.assert_allclose(
            model.predict(path, vad=False).overall.probs, np.exp(table.logits[row]), atol=0.05
        )


def test_edge_clips_give_results(avser_command, data_root, tmp_path):
    done = avser_command("predict", data_root / "av" / "edge", "-o", tmp_path, "-f", "json,csv", "-q")
    assert (done.code, done.err) == (0, "")
    found = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert len(found) == len({path.stem for path in tmp_path.glob("*.csv")} - {"summary"}) == 11
    assert not found["pyfeat_no_face"]["overall"]["face_frames"]
    assert found["faceapi_video"]["overall"]["reason"] == "no audio track and no face seen"
    assert set(found["inferno_test"]["overall"]["modalities"]) == {"face"}
    assert set(found["GRID_sbwe5n"]["overall"]["modalities"]) == {"audio", "face"}
    seen = [p["face_frames"] > 0 for p in found["pyfeat_face_noface"]["predictions"]]
    assert seen[0]
    assert not seen[-1]
