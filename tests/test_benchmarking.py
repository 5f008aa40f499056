"""`avser benchmark`: a plan in, a folder with the report out, from tables of logits and from a folder of clips."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import SAMPLE, need_encoder
from corpora import make_corpus

if importlib.util.find_spec("matplotlib") is None:
    pytest.skip("pictures need the extra train", allow_module_level=True)

from avser.benchmark.clips import models_of, scan
from avser.benchmark.degradation import DEGRADATIONS
from avser.benchmark.plan import Clips, load_plan
from avser.benchmark.running import run
from avser.caching import cache_folder
from avser.logits import read_logits
from avser.recognizer import load_model
from avser.types import ConfigError, DataError

CONFIGS = Path(__file__).parent.parent / "configs"
CLASSES = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
PARTS = {"happy/anna_1": 0.0, "happy/bert_1": 0.8, "sad/anna_1": 1.6, "sad/bert_1": 2.4, "angry/anna_1": 3.2}
"""Clips of the made-up corpus, and where they begin in the sample."""


@pytest.fixture(scope="module")
def recordings(make_media, tmp_path_factory) -> Path:
    """Five short clips with a face and a voice, of two people and three emotions that somebody made up."""
    root = tmp_path_factory.mktemp("recordings")
    video = need_encoder("libx264", "mpeg4")
    for name, start in PARTS.items():
        media = make_media(
            *("clip.mp4", "-ss", str(start), "-t", "2.2", "-i", SAMPLE, "-vf", "scale=-2:240"),
            *("-c:v", video, "-q:v", "4", "-pix_fmt", "yuv420p", "-c:a", "aac"),
        )
        (root / f"{name}.mp4").parent.mkdir(exist_ok=True)
        shutil.copy(media, root / f"{name}.mp4")
    return root


def write_tables(folder: Path) -> tuple[Path, Path]:
    """Out-of-fold logits of RAVDESS's 24 actors, two clips of each emotion, that somebody made up."""
    rng = np.random.default_rng(0)
    paths = []
    for branch, modality in (("audio", "03"), ("face", "01")):
        rows = [["clip", "subject", "fold", "label", *CLASSES]]
        for actor in range(1, 25):
            for number, label in enumerate(CLASSES):
                for repetition in (1, 2):
                    clip = f"{modality}-01-{number + 1:02d}-{repetition:02d}-01-01-{actor:02d}"
                    logits = 1.5 * np.eye(8)[number] + rng.normal(size=8)
                    rows.append([clip, f"{actor:02d}", (actor - 1) // 4, label, *np.round(logits, 4)])
        paths.append(folder / f"{branch}.csv")
        with paths[-1].open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return tuple(paths)


def plan_of_clips(folder: Path, recordings: Path, model: Path, kinds: str) -> Path:
    path = folder / "plan.yaml"
    path.write_text(
        f"title: Our recordings\nmodel: {model}\ndegradations: [{kinds}]\n"
        f"clips: {{corpus: folder, root: {recordings}, options: {{subject: '/([a-z]+)_'}}}}\n"
    )
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def check_report(folder: Path) -> dict:
    """The report's figures, once its pictures and pages are what they should be."""
    page = (folder / "report.html").read_text()
    pictures = sorted(path.name for path in folder.glob("*.png"))
    assert pictures
    for name in pictures:
        picture = cv2.imread(str(folder / name))
        assert min(picture.shape[:2]) > 100
        assert picture.std() > 5
    assert page.count('src="data:image/png;base64,') == len(pictures)
    assert not re.search(r"<script|<link|https?://|src=\"(?!data:)", page)
    assert 'name="viewport"' in page
    markdown = (folder / "report.md").read_text()
    assert sorted(re.findall(r"\]\((\S+\.png)\)", markdown)) == pictures
    for table in ("systems", "emotions", "confusion", "groups", "comparisons", "contributions", "missing"):
        for row in rows_of(folder / f"{table}.csv") if (folder / f"{table}.csv").exists() else ():
            assert row["protocol"]
            assert row["logits"]
    return json.loads((folder / "report.json").read_text())


def test_tables_of_logits(tmp_path, avser_command):
    audio, face = write_tables(tmp_path)
    plan = tmp_path / "plan.yaml"
    plan.write_text(f"tables: {{audio: {audio}, face: {face}}}\nprotocol: actor6\nrules: [weighted, mean]\n")
    done = avser_command("benchmark", plan, "-o", tmp_path / "report")
    assert done.code == 0, done.err
    assert "fused: mean" in done.out
    report = check_report(tmp_path / "report")
    assert report["title"] == "plan"
    study = report["studies"]["tables"]
    assert list(study["systems"]) == ["audio", "face", "weighted", "mean"]
    assert study["protocol"] == "actor6"
    fused = avser_command("fuse", "--audio", audio, "--face", face, "--protocol", "actor6", "--json")
    expected = json.loads(fused.out)
    mine = study["systems"]["weighted"]
    assert {key: mine[key] for key in ("uar", "uar_interval", "ece")} == {
        key: expected["fused"][key] for key in ("uar", "uar_interval", "ece")
    }
    assert study["either_right"] == expected["either_right"]
    gain = next(row for row in study["comparisons"] if (row["system"], row["against"]) == ("weighted", "audio"))
    np.testing.assert_allclose(gain["uar"], expected["gains"]["audio"]["uar"], atol=1e-4)
    assert set(mine["groups"]) == {"gender", "intensity"}
    genders = [row for row in rows_of(tmp_path / "report" / "groups.csv") if row["fact"] == "gender"]
    assert {row["n"] for row in genders} == {"192"}


def test_a_folder_of_clips(tmp_path, avser_command, recordings, small_models):
    kinds = "white, babble, blur, missing_frames, frame_rate, offset"
    plan = plan_of_clips(tmp_path, recordings, small_models.fused, kinds)
    done = avser_command("benchmark", plan, "-o", tmp_path / "report", "--threads", "1")
    assert done.code == 0, done.err
    assert "white noise, -5.0 dB" in done.err
    report = check_report(tmp_path / "report")
    study, sweeps = report["studies"]["clips"], report["degradation"]["sweeps"]
    assert list(study["systems"]) == ["audio", "face", "fused"]
    assert list(sweeps) == kinds.split(", ")

    # the clips as they are: the figures of avser predict
    model = load_model(small_models.fused)
    for system in ("audio", "face", "fused"):
        table = read_logits(tmp_path / "report" / f"logits_{system}.csv")
        for clip, label, logits in zip(table.clips, table.labels, table.logits, strict=True):
            (path,) = recordings.glob(f"{label}/{clip}.mp4")
            overall = model.predict(path, modality=system, vad=False).overall
            np.testing.assert_allclose(np.exp(logits), overall.probs, atol=2e-4)

    clean = {system: sweeps["white"]["levels"][0][system]["uar"] for system in study["systems"]}
    assert clean == {system: found["uar"] for system, found in study["systems"].items()}
    for name, sweep in sweeps.items():
        untouched = {"audio": "face", "face": "audio"}.get(sweep["affects"])
        for level in sweep["levels"]:
            if untouched:
                assert level[untouched]["uar"] == clean[untouched], name
    gone = sweeps["missing_frames"]["levels"][-1]
    assert (gone["face"]["answered"], gone["face"]["uar"]) == (0, 0)
    assert gone["fused"]["uar"] == clean["audio"]
    assert [level["face"]["uar"] for level in sweeps["frame_rate"]["levels"][:4]] == [clean["face"]] * 4
    assert len({level["windows"] for level in sweeps["offset"]["levels"]}) == 1
    assert len({level["audio"]["uar"] for level in sweeps["offset"]["levels"]}) == 1
    rows = rows_of(tmp_path / "report" / "logits_degraded.csv")
    silent = [
        row
        for row in rows
        if (row["degradation"], row["level"], row["system"]) == ("missing_frames", "100.0", "face")
    ]
    assert len(silent) == len(PARTS)
    assert all(row["happy"] == "" for row in silent)

    # run again, all is there already
    parts = {path: path.stat().st_mtime_ns for path in cache_folder().rglob("*")}
    again = run(load_plan(plan))
    assert {path: path.stat().st_mtime_ns for path in cache_folder().rglob("*")} == parts
    assert json.loads(json.dumps(again.report)) == report


def test_an_interrupted_run_goes_on(tmp_path, recordings, small_models):
    plan = load_plan(plan_of_clips(tmp_path, recordings, small_models.fused, "jpeg, darkness"))

    def stop(step: str) -> None:
        if step.startswith("darkness"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan, None, stop)
    kept = {path: path.stat().st_mtime_ns for path in (cache_folder() / "benchmark").glob("*.json")}
    run(plan)
    now = {path: path.stat().st_mtime_ns for path in (cache_folder() / "benchmark").glob("*.json")}
    assert kept.items() <= now.items()
    assert len(now) == len(kept) + len(DEGRADATIONS["darkness"].levels)


@pytest.mark.parametrize("branch", ["audio", "face"])
def test_a_model_of_one_branch(branch, tmp_path, recordings, small_models):
    plan = load_plan(
        plan_of_clips(tmp_path, recordings, getattr(small_models, branch), "band, resolution, offset")
    )
    report = run(plan).report
    assert list(report["studies"]["clips"]["systems"]) == [branch]
    assert list(report["degradation"]["sweeps"]) == [{"audio": "band", "face": "resolution"}[branch]]


def test_sounds_alone_have_no_face(tmp_path, small_models):
    plan = load_plan(
        plan_of_clips(tmp_path, make_corpus(tmp_path / "s", "audio", 1), small_models.fused, "blur, offset")
    )
    report = run(plan).report
    assert list(report["studies"]["clips"]["systems"]) == ["audio", "fused"]
    assert "shapley" not in report["studies"]["clips"]
    assert {level["face"]["answered"] for level in report["degradation"]["sweeps"]["blur"]["levels"]} == {0}
    assert report["degradation"]["sweeps"]["offset"]["levels"] == []


def test_pictures_are_for_avser_evaluate(tmp_path, small_models):
    plan = plan_of_clips(tmp_path, make_corpus(tmp_path / "p", "face", 1), small_models.face, "blur")
    with pytest.raises(DataError, match="avser evaluate"):
        run(load_plan(plan))


def test_no_babble_of_the_speaker_alone(tmp_path, recordings, small_models):
    path = plan_of_clips(tmp_path, recordings, small_models.audio, "babble")
    path.write_text(path.read_text().replace("options:", "only: {subject: [anna]}, options:"))
    report = run(load_plan(path)).report
    assert "degradation" not in report
    assert "no babble" in report["studies"]["clips"]["notes"][0]
    path.write_text(
        f"{path.read_text()}babble: {{corpus: folder, root: {recordings}, options: {{subject: '/([a-z]+)_'}}}}\n"
    )
    assert "babble" in run(load_plan(path)).report["degradation"]["sweeps"]


def test_each_fold_of_a_run_judges_what_it_held_out(tmp_path, recordings, small_models):
    clips = [(f"{person}_1", person) for person in ("anna", "bert")]
    for number, (name, person) in enumerate(clips):
        fold = tmp_path / "run" / f"fold{number}"
        fold.mkdir(parents=True)
        shutil.copy(small_models.audio, fold / "model.safetensors")
        row = f"{name},{person},{number},happy,0,0,0,0,0,0,0"
        header = "clip,subject,fold,label,neutral,happy,sad,angry,fearful,disgust,surprised"
        (fold / "logits.csv").write_text(f"{header}\n{row}\n")
    wanted = Clips(corpus="folder", root=recordings, options={"subject": "/([a-z]+)_"})
    parts = [part for _, part, _ in models_of(str(tmp_path / "run"), wanted, scan(wanted, None))]
    assert [{clip.subject for clip in part} for part in parts] == [{"anna"}, {"bert"}]
    plan = load_plan(plan_of_clips(tmp_path, recordings, tmp_path / "run", "band"))
    study = run(plan).report["studies"]["clips"]
    assert study["systems"]["audio"]["n"] == len(PARTS)
    assert "the fold that held it out" in study["protocol"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: x\n", "nothing to measure"),
        ("tables: {audio: a.csv}\n", "tables.face"),
        ("tabels: {audio: a.csv, face: b.csv}\n", "did you mean 'tables'"),
        ("clips: {corpus: folder, rot: x}\n", "did you mean 'root'"),
        ("clips: {corpus: folder, root: x}\nrules: [wighted]\n", "choose from weighted"),
        ("clips: {corpus: folder, root: x}\ndegradations: [fog]\n", "choose from white"),
        ("clips: {corpus: folder, root: x}\nlabels: few\n", "unknown label set"),
        ("- a list\n", "is a YAML mapping"),
        ("a: [\n", "not valid YAML"),
    ],
)
def test_plans_that_make_no_sense(text, message, tmp_path, avser_command):
    (tmp_path / "plan.yaml").write_text(text)
    done = avser_command("benchmark", tmp_path / "plan.yaml", "-o", tmp_path / "report")
    assert done.code == 2
    assert message in done.complaint
    assert "plan.yaml" in done.complaint
    assert not (tmp_path / "report").exists()


def test_a_plan_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="no such plan"):
        load_plan(tmp_path / "none.yaml")


def test_no_clip_is_left(tmp_path, recordings, small_models):
    path = plan_of_clips(tmp_path, recordings, small_models.fused, "")
    path.write_text(path.read_text().replace("options:", "only: {subject: [nobody]}, options:"))
    with pytest.raises(DataError, match="no clip of 'folder' is left"):
        run(load_plan(path))


def test_a_folder_that_cannot_be_written(tmp_path, avser_command):
    audio, face = write_tables(tmp_path)
    (tmp_path / "plan.yaml").write_text(f"tables: {{audio: {audio}, face: {face}}}\nrules: [mean]\n")
    (tmp_path / "file").write_text("in the way")
    done = avser_command("benchmark", tmp_path / "plan.yaml", "-o", tmp_path / "file")
    assert done.code == 2
    assert "cannot write" in done.err


@pytest.mark.parametrize("name", ["benchmark_ravdess", "benchmark_folder"])
def test_shipped_plans_are_valid(name):
    plan = load_plan(CONFIGS / f"{name}.yaml")
    assert plan.degradations == list(DEGRADATIONS)


@pytest.mark.skipif("AVSER_DATA" not in os.environ, reason="needs the real recordings that AVSER_DATA names")
def test_the_shipped_model_on_real_clips(tmp_path, data_root):
    plan = load_plan(CONFIGS / "benchmark_ravdess.yaml")
    only = {
        "subject": ["01"],
        "modality": ["av"],
        "statement": ["kids"],
        "intensity": ["strong"],
        "repetition": ["1"],
    }
    clips = plan.clips.model_copy(update={"only": only})
    report = run(
        plan.model_copy(update={"tables": None, "clips": clips, "degradations": ["occlusion"]}), data_root
    )
    study = report.report["studies"]["clips"]
    assert study["systems"]["fused"]["n"] == 6
    assert "held out" in study["notes"][0]
    known = {}
    for system in ("audio", "face", "fused"):
        shipped = read_logits(CONFIGS.parent / "weights" / "results" / f"actor01_{system}.csv")
        known[system] = dict(zip(shipped.clips, shipped.logits, strict=True))
        for clip, logits in zip(
            report.tables[f"logits_{system}.csv"].clips, report.tables[f"logits_{system}.csv"].logits, strict=True
        ):
            np.testing.assert_allclose(np.exp(logits), np.exp(known[system][clip]), atol=1e-3)
