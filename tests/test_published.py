"""The table of published systems: our figures are recomputed from their files, and every shipped row holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from avser.benchmark import published
from avser.logits import LogitTable, write_logits
from avser.types import DataError

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs" / "papers"
ROW = {
    "system": "a network",
    "paper": "A Paper",
    "config": "a_config",
    "figure": 0.9,
    "measure": "accuracy",
    "protocol": "random split",
    "same": {"protocol": "random, inflated", "file": "a_random.csv"},
    "why": "it met the speakers",
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "published.yaml").write_text(yaml.safe_dump([ROW]), encoding="utf-8")
    logits = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    labels = ["happy", "happy", "sad", "sad"]
    table = LogitTable(list("abcd"), list("1122"), ["0"] * 4, labels, ("happy", "sad"), logits)
    write_logits(tmp_path / "a_random.csv", table)
    return tmp_path


def test_figures_are_recomputed(folder):
    (row,) = published.read_published(folder)
    assert row.value(row.same) == pytest.approx(0.75)
    assert row.disjoint is None
    assert row.value(row.disjoint) is None
    text = published.markdown([row])
    assert "0.900 (random split)" in text
    assert "0.750" in text
    assert "| – |" in text


@pytest.mark.parametrize("content", ["- 1\n", "{", "- {system: only}\n"])
def test_a_damaged_table(folder, content):
    (folder / "published.yaml").write_text(content)
    with pytest.raises(DataError, match=r"published\.yaml"):
        published.read_published(folder)


def test_a_missing_file_of_logits(folder):
    (folder / "a_random.csv").unlink()
    with pytest.raises(DataError, match=r"a_random\.csv"):
        published.read_published(folder)


def test_the_shipped_table(avser_command):
    rows = published.read_published()
    assert rows
    for row in rows:
        assert (CONFIGS / f"{row.config}.yaml").is_file(), row.config
        assert row.measure in published.MEASURES
        assert row.why
        for measured in (row.same, row.disjoint):
            assert measured is None or measured.report.n > 50
    assert "spectrogram" in avser_command("benchmark", "papers", "--markdown").out
    assert avser_command("benchmark", "papers").code == 0
    assert "'papers' prints the published systems" in avser_command("benchmark", "faces").err


def test_the_readme_shows_the_table():
    told = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    for row in published.read_published():
        cells = ["–" if value is None else f"{value:.3f}" for value in map(row.value, (row.same, row.disjoint))]
        figure = "accuracy" if row.measure == "accuracy" else "UAR"
        assert f"| {row.system}, `{row.config}` | {figure} {row.figure:.3f} | {' | '.join(cells)} |" in told
