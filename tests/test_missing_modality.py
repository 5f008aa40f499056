"""Fusing with a modality gone: the figures of `avser fuse` with both, those of the other branch without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avser import metrics
from avser.benchmark.missing_modality import SHARES, curves, fuse_with_gaps
from avser.benchmark.resampling import is_right
from avser.caching import cache_folder
from avser.fusion.fusing import fuse
from avser.fusion.tables import Pairs, join, read_table
from avser.logits import LogitTable, write_logits

CLASSES = ("neutral", "happy", "sad")


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    """Logits of a voice and a face on six people in three folds, which err independently."""
    rng = np.random.default_rng(0)
    count = 180
    targets = np.arange(count) % 3
    people = np.arange(count) // 3 % 6
    for branch, strength in (("audio", 2.0), ("face", 1.5)):
        logits = strength * np.eye(3)[targets] + rng.normal(size=(count, 3))
        table = LogitTable(
            clips=[f"clip{i:03d}" for i in range(count)],
            subjects=[f"p{p}" for p in people],
            folds=[str(p % 3) for p in people],
            labels=[CLASSES[t] for t in targets],
            classes=CLASSES,
            logits=logits,
        )
        write_logits(tmp_path / f"{branch}.csv", table)
    return {branch: tmp_path / f"{branch}.csv" for branch in ("audio", "face")}


def read(files: dict[str, Path]) -> Pairs:
    return join(*(read_table(path, branch) for branch, path in files.items()))


@pytest.mark.parametrize("rule", ["weighted", "mean", "max", "vote", "stacking", "reliability"])
def test_with_both_it_is_what_avser_fuse_says(rule, files):
    pairs = read(files)
    expected = fuse(pairs, rule, "table")
    found = fuse_with_gaps(pairs, files, rule, "table", None)
    np.testing.assert_allclose(found.table.logits, expected.fused.logits, atol=1e-9)
    assert (found.table.clips, found.table.folds) == (expected.fused.clips, expected.fused.folds)
    for branch in files:
        np.testing.assert_allclose(found.branches[branch].logits, expected.others[branch].logits)


def test_without_a_branch_the_other_one_decides(files):
    found = fuse_with_gaps(read(files), files, "weighted", "table", None)
    for gone, left in (("face", "audio"), ("audio", "face")):
        np.testing.assert_array_equal(found.without[gone].argmax(1), found.branches[left].logits.argmax(1))
    points = curves(found)
    assert [point["share"] for point in points["face"]] == list(SHARES)
    for gone, left in (("face", "audio"), ("audio", "face")):
        other = found.branches[left]
        assert points[gone][0]["uar"] == pytest.approx(
            metrics.uar(found.table.logits, found.table.targets), abs=1e-4
        )
        assert points[gone][-1]["uar"] == pytest.approx(metrics.uar(other.logits, other.targets), abs=1e-4)
        middle = (points[gone][0]["uar"] + points[gone][-1]["uar"]) / 2
        assert points[gone][5]["uar"] == pytest.approx(middle, abs=2e-4)
        assert all(point["low"] <= point["uar"] <= point["high"] for point in points[gone])


def test_a_clip_that_has_nothing_else_counts_as_wrong(files):
    rows = files["face"].read_text().splitlines()
    files["face"].write_text(
        "\n".join([*rows[:1], *(",".join([*r.split(",")[:4], "", "", ""]) for r in rows[1:61]), *rows[61:]])
    )
    found = fuse_with_gaps(read(files), files, "weighted", "table", None)
    assert np.isnan(found.without["audio"][:60]).all()
    right = is_right(found.branches["face"]).sum()  # of the 120 that have a face
    assert curves(found)["audio"][-1]["accuracy"] == pytest.approx(right / 180, abs=1e-4)
    assert curves(found)["audio"][-1]["answered"] == 120


def test_what_was_fitted_is_kept_for_these_files_only(files):
    pairs = read(files)
    first = fuse_with_gaps(pairs, files, "weighted", "table", None)
    known = {path: path.stat().st_mtime_ns for path in (cache_folder() / "benchmark").glob("*.json")}
    again = fuse_with_gaps(pairs, files, "weighted", "table", None)
    now = {path: path.stat().st_mtime_ns for path in (cache_folder() / "benchmark").glob("*.json")}
    np.testing.assert_array_equal(first.table.logits, again.table.logits)
    assert now == known
    files["audio"].write_text(files["audio"].read_text() + "\n")
    fuse_with_gaps(read(files), files, "weighted", "table", None)
    assert len(list((cache_folder() / "benchmark").glob("*.json"))) == len(known) + 1
