"""Fusing tables of logits: reading and joining those of any tool, folds that nothing leaks over, the command."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from avser.fusion.fusing import APART, AUTO, fuse
from avser.fusion.tables import join, read_features, read_table
from avser.logits import read_logits
from avser.metrics import log_softmax
from avser.models.fusion import FUSION_RULES
from avser.splits import LUNA5
from avser.types import ConfigError, DataError

EMOTIONS = ("neutral", "happy", "sad")
PEOPLE, EACH = 6, 30


def clips_of(seed: int = 0) -> tuple[list[str], list[str], dict[str, np.ndarray]]:
    """Names, labels and logits of two branches that err independently."""
    rng = np.random.default_rng(seed)
    targets = np.tile(np.arange(3), PEOPLE * EACH // 3)
    logits = {b: 2.0 * np.eye(3)[targets] + rng.normal(size=(len(targets), 3)) * 1.5 for b in ("audio", "face")}
    return [f"clip{i:03d}" for i in range(len(targets))], [EMOTIONS[i] for i in targets], logits


def write(path: Path, header: list[str], rows) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def tables(tmp_path) -> tuple[Path, Path]:
    """The project's own tables of a voice and a face, six people in three folds."""
    names, labels, logits = clips_of()
    paths = []
    for branch, values in logits.items():
        rows = [
            [name, f"p{i % PEOPLE}", f"fold {i % 3}", label, *value]
            for i, (name, label, value) in enumerate(zip(names, labels, values, strict=True))
        ]
        paths.append(write(tmp_path / f"{branch}.csv", ["clip", "subject", "fold", "label", *EMOTIONS], rows))
    return paths[0], paths[1]


def read(tables: tuple[Path, Path]):
    return join(read_table(tables[0], "audio"), read_table(tables[1], "face"))


def change(path: Path, edit) -> None:
    """Rewrite a table: `edit` takes and gives its rows as dictionaries."""
    with path.open(newline="") as file:
        rows = [edited for row in csv.DictReader(file) if (edited := edit(row)) is not None]
    write(path, list(rows[0]), [list(row.values()) for row in rows])


# Reading and joining


def test_one_file_may_hold_both_branches(tmp_path):
    header = ["clip", "actor", "label", *(f"{b}_{e}" for b in ("audio", "face") for e in ("Joy", "sadness"))]
    path = write(
        tmp_path / "both.csv", header, [["a.wav", "x", "happy", 1, 2, 3, 4], ["b.wav", "y", "sad", 5, 6, 7, 8]]
    )
    audio, face = read_table(path, "audio"), read_table(path, "face")
    assert (audio.classes, face.classes) == (("happy", "sad"), ("happy", "sad"))
    np.testing.assert_array_equal(audio.logits, [[1, 2], [5, 6]])
    np.testing.assert_array_equal(face.logits, [[3, 4], [7, 8]])
    assert (audio.keys, audio.subjects, audio.folds, audio.labels) == (
        ["a", "b"],
        ["x", "y"],
        ["", ""],
        ["happy", "sad"],
    )


def test_a_take_of_ravdess_is_joined_over_its_files_and_known_by_its_name(tmp_path):
    audio = write(tmp_path / "a.csv", ["file", *EMOTIONS], [["x/03-01-04-01-02-01-07.wav", 1, 2, 3]])
    face = write(
        tmp_path / "f.csv",
        ["clip", *EMOTIONS],
        [["01-01-04-01-02-01-07", 4, 5, 6], ["02-02-04-01-02-01-07", 7, 8, 9]],
    )
    pairs = join(read_table(audio, "audio"), read_table(face, "face"))
    assert (pairs.clips, pairs.subjects, pairs.labels) == (["x/03-01-04-01-02-01-07.wav"], ["07"], ["sad"])
    np.testing.assert_array_equal(pairs.logits["face"], [[4, 5, 6]])  # and not the song of the same fields
    assert pairs.notes == [f"1 clips are only in {face}, and left out"]


def test_empty_cells_are_an_absent_branch_and_probabilities_are_known(tmp_path):
    rows = [["a", "sad", "", "", ""], ["b", "sad", 0.2, 0.3, 0.5], ["c", "happy", 0, 1, 0]]
    table = read_table(write(tmp_path / "p.csv", ["clip", "label", *EMOTIONS], rows), "face")
    assert np.isnan(table.logits[0]).all()
    np.testing.assert_allclose(np.exp(table.logits[1]), [0.2, 0.3, 0.5])
    assert np.isfinite(table.logits[2]).all()


def test_cues_and_features_come_along(tmp_path, tables):
    change(tables[1], lambda row: {**row, "face_share": 0.5 if row["clip"] != "clip000" else "", "snr": 3})
    names = clips_of()[0]
    path = write(
        tmp_path / "x.csv", ["clip", "AU01", "AU02"], [[f"{name}.mp4", i, -i] for i, name in enumerate(names[:9])]
    )
    features = read_features(path)
    pairs = join(read_table(tables[0], "audio"), read_table(tables[1], "face"), {"face": features})
    assert set(pairs.evidence) == {"face_share", "face_features"}  # the noise is the voice's affair
    assert np.isnan(pairs.evidence["face_share"][0])
    np.testing.assert_array_equal(pairs.evidence["face_features"][8], [8, -8])
    assert np.isnan(pairs.evidence["face_features"][9:]).all()


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (["clip", "label"], [["a", "sad"]], r"no columns of emotions for audio"),
        (["label", *EMOTIONS], [["sad", 1, 2, 3]], "no column 'clip'"),
        (["clip", *EMOTIONS], [], "holds no rows"),
        (["clip", *EMOTIONS], [["a", 1, 2]], "row 1 of .* has 3 columns instead of 4"),
        (["clip", *EMOTIONS], [["a", 1, 2, "x"]], "row 1 of .* has no number in column 4: 'x'"),
        (["clip", *EMOTIONS], [["a", 1, 2, 3], ["b", 1, "", 3]], "row 2 of .* lacks some of its emotions"),
        (["clip", *EMOTIONS], [["a.wav", 1, 2, 3], ["a.mp4", 1, 2, 3]], "clip 'a.wav' more than once"),
        (["clip", "sad", "sad"], [["a", 1, 2]], "two columns of one name"),
        (["clip", "label", *EMOTIONS], [["a", "glum", 1, 2, 3]], "unknown emotion 'glum'"),
        (["clip", "fold", *EMOTIONS], [["a", "in-sample", 1, 2, 3]], r"fitting on in-sample logits is refused"),
        (["clip", "split", *EMOTIONS], [["a", "Train", 1, 2, 3]], r"fitting on in-sample logits is refused"),
    ],
)
def test_what_is_no_table(tmp_path, header, rows, message):
    with pytest.raises(DataError, match=message):
        read_table(write(tmp_path / "bad.csv", header, rows), "audio")


def test_tables_that_do_not_belong_together(tmp_path, tables):
    change(tables[1], lambda row: {**row, "label": "sad" if row["clip"] == "clip000" else row["label"]})
    with pytest.raises(DataError, match=r"of 'clip000' .* says 'neutral', but .* 'sad': make their labels agree"):
        read(tables)
    change(tables[1], lambda row: {**row, "clip": f"other{row['clip']}"})
    with pytest.raises(DataError, match="share no clip"):
        read(tables)
    with pytest.raises(DataError, match="cannot read the table"):
        read_table(tmp_path / "nowhere.csv", "audio")
    with pytest.raises(DataError, match="no table of features"):
        read_features(write(tmp_path / "x.csv", ["AU01"], [[1]]))


# Folds


def test_a_fold_is_predicted_by_what_the_others_taught(tables):
    """The labels of a fold have no part in what is said of it, and those of the others do."""
    before = fuse(read(tables), "stacking")
    order = dict(zip(EMOTIONS, np.roll(EMOTIONS, 1), strict=True))
    for path in tables:
        change(
            path, lambda row: {**row, "label": order[row["label"]] if row["fold"] == "fold 1" else row["label"]}
        )
    after = fuse(read(tables), "stacking")
    same = np.array(before.fused.folds) == "fold 1"
    np.testing.assert_array_equal(after.fused.logits[same], before.fused.logits[same])
    assert (np.abs(after.fused.logits[~same] - before.fused.logits[~same]).max(1) > 1e-3).mean() > 0.9


@pytest.mark.parametrize("protocol", [None, "table", "loso", "subject5"])
def test_protocols_keep_people_apart_and_fusion_helps(tables, protocol):
    outcome = fuse(read(tables), "weighted", protocol)
    table = outcome.fused
    assert len(set(zip(table.subjects, table.folds, strict=True))) == PEOPLE
    assert len(outcome.folds) == {None: 3, "table": 3, "loso": 6, "subject5": 5}[protocol]
    assert table.report().accuracy > max(outcome.others[b].report().accuracy for b in ("audio", "face")) + 0.02
    assert outcome.oracle > table.report().accuracy
    gain, low, high = outcome.difference("audio")
    assert gain == pytest.approx(table.report().accuracy - outcome.others["audio"].report().accuracy)
    assert low < gain < high


def test_auto_takes_the_rule_that_does_best_inside(tables, monkeypatch):
    from avser.fusion import fusing

    monkeypatch.setattr(
        fusing, "FUSION_RULES", {name: FUSION_RULES[name] for name in ("max", "product", "weighted")}
    )
    outcome = fuse(read(tables), AUTO)
    for fold in outcome.folds:
        assert fold.rule.name == min(fold.losses, key=fold.losses.get)
        assert fold.losses["max"] > fold.losses["weighted"]
        rows = np.flatnonzero(np.array(outcome.fused.folds) == fold.name)
        np.testing.assert_array_equal(outcome.fused.logits[rows], outcome.others[fold.rule.name].logits[rows])
    assert {"audio", "face", "plain mean", "max", "product", "weighted"} == set(outcome.others)


def test_logits_that_nothing_shows_to_be_out_of_fold_are_refused(tables):
    for path in tables:
        change(path, lambda row: {key: value for key, value in row.items() if key != "fold"})
    pairs = read(tables)
    with pytest.raises(DataError, match="fitting on in-sample logits is refused"):
        fuse(pairs, "weighted")
    assert len(fuse(pairs, "mean", "loso").folds) == PEOPLE  # who names a protocol says so


def test_folds_that_are_none(tables):
    pairs = read(tables)
    with pytest.raises(ConfigError, match=f"unknown protocol 'random': choose from table, {', '.join(APART)}"):
        fuse(pairs, "mean", "random")
    with pytest.raises(DataError, match="made of the 24 actors of RAVDESS"):
        fuse(pairs, "mean", "luna5")
    with pytest.raises(ConfigError, match="unknown fusion rule 'none': choose from weighted, mean"):
        fuse(pairs, "none")
    change(tables[0], lambda row: {**row, "fold": "a" if row["fold"] == "fold 0" else "b"})
    with pytest.raises(DataError, match="folds of the two tables differ"):
        fuse(read(tables), "mean")
    change(tables[1], lambda row: {**row, "fold": "a"})
    change(tables[0], lambda row: {**row, "fold": "a"})
    with pytest.raises(DataError, match=r"all clips lie in one fold \('a'\)"):
        fuse(read(tables), "mean")
    for path in tables:
        change(path, lambda row: {**row, "fold": str(int(row["clip"][4:]) % 4)})
    with pytest.raises(DataError, match=r"subject p\d is in folds '\d' and '\d'"):
        fuse(read(tables), "mean")


def test_absent_branches_leave_the_other_as_it_ranks(tables):
    change(tables[0], lambda row: {**row, **dict.fromkeys(EMOTIONS, "")} if row["clip"] < "clip040" else row)
    change(tables[1], lambda row: {**row, **dict.fromkeys(EMOTIONS, "")} if row["clip"] < "clip010" else row)
    outcome = fuse(read(tables), "weighted")
    assert outcome.notes == ["10 clips have neither branch: nothing is said of them, and they count nowhere"]
    assert len(outcome.fused.clips) == len(outcome.others["face"].clips) == PEOPLE * EACH - 10
    assert len(outcome.others["audio"].clips) == PEOPLE * EACH - 40
    alone = outcome.fused.logits[:30], outcome.others["face"].logits[:30]
    np.testing.assert_array_equal(*(values.argsort(1) for values in alone))


def test_label_sets(tables):
    change(tables[1], lambda row: {"calm" if key == "neutral" else key: value for key, value in row.items()})
    assert fuse(read(tables), "mean").fused.classes == EMOTIONS  # calm counts as neutral where there is no calm
    with pytest.raises(ConfigError, match="unknown label set"):
        fuse(read(tables), "mean", labels="none")
    change(tables[1], lambda row: {"angry" if key == "sad" else key: value for key, value in row.items()})
    change(tables[1], lambda row: {**row, "label": ""})
    with pytest.raises(DataError, match="name a label set that both can say"):
        fuse(read(tables), "mean")


# The command


def test_fuse_writes_what_evaluate_recomputes(avser_command, tables, tmp_path):
    out = tmp_path / "new" / "fused.csv"
    done = avser_command(
        "fuse", "--audio", tables[0], "--face", tables[1], "--rule", "weighted", "-o", out, "--json"
    )
    assert (done.code, done.err) == (0, "")
    figures = json.loads(done.out)
    again = avser_command("evaluate", "--from-logits", out, "--json")
    for name in ("uar", "accuracy", "ece", "uar_interval", "n"):
        assert json.loads(again.out)[name] == pytest.approx(figures["fused"][name], abs=2e-4)
    np.testing.assert_allclose(np.exp(read_logits(out).logits).sum(1), 1, atol=1e-4)  # log-probabilities
    assert set(figures["others"]) == set(figures["gains"]) == {"audio", "face", "plain mean"}
    assert [fold["fold"] for fold in figures["folds"]] == ["fold 0", "fold 1", "fold 2"]
    shown = avser_command("fuse", "--audio", tables[0], "--face", tables[1], "--rule", "product")
    assert shown.code == 0
    assert "product: 180 clips of 6 subjects in 3 folds" in shown.out
    assert "either branch is right" in shown.out


def test_fuse_complains_in_one_line(avser_command, tables):
    done = avser_command("fuse", "--audio", tables[0], "--face", tables[1], "--rule", "none")
    assert done.code != 0
    assert done.complaint.startswith("avser: unknown fusion rule 'none': choose from weighted")


# Real logits


@pytest.fixture(scope="module")
def published() -> Path:
    path = Path(os.environ.get("AVSER_DATA", "/nowhere"), "fusion", "ravdess_published_logits.csv")
    if not path.exists():
        pytest.skip("AVSER_DATA names no folder with fusion/ravdess_published_logits.csv")
    return path


def test_published_logits(published):
    """The plain mean of log-probabilities is the 86.88 % of the table's source; the product comes calibrated."""
    pairs = join(read_table(published, "audio"), read_table(published, "face"))
    outcome = fuse(pairs, "product", "luna5")
    assert len(outcome.fused.clips) == 1440
    groups = {
        frozenset(np.array(outcome.fused.subjects)[np.array(outcome.fused.folds) == f.name]) for f in outcome.folds
    }
    assert groups == set(map(frozenset, LUNA5))
    figures = {name: table.report() for name, table in outcome.others.items()}
    assert figures["audio"].accuracy == pytest.approx(0.8194, abs=1e-4)
    assert figures["face"].accuracy == pytest.approx(0.6236, abs=1e-4)
    assert figures["plain mean"].accuracy == pytest.approx(0.8688, abs=1e-4)
    assert outcome.oracle == pytest.approx(0.917, abs=1e-3)
    report = outcome.fused.report()
    assert report.accuracy > 0.86
    assert report.ece < 0.03
    table = fuse(pairs, "product", "table").fused  # the table's own folds are those of the protocol
    np.testing.assert_allclose(log_softmax(table.logits), log_softmax(outcome.fused.logits), atol=1e-6)


def test_the_shipped_fused_table():
    """The figure that is given for the published logits, from the file behind it."""
    path = Path(__file__).parent.parent / "weights" / "results" / "published_fused_luna5.csv"
    report = read_logits(path).report()
    assert report.n == 1440
    assert report.accuracy >= 0.875
    assert report.ece <= 0.03
