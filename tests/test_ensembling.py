"""Several models as one: clips and labels that all have, and the average by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from corpora import make_corpus

from avser.logits import LogitTable, read_logits, write_logits
from avser.training import ensembling
from avser.types import DataError


def make_table(rows: str, classes: tuple[str, ...], probs: list[list[float]]) -> LogitTable:
    """Rows as "clip:label …" of subject a."""
    clips, labels = zip(*(row.split(":") for row in rows.split()), strict=True)
    n = len(clips)
    return LogitTable(list(clips), ["a"] * n, ["0"] * n, list(labels), classes, np.log(np.array(probs)) + 3.0)


TWO = ("happy", "sad")


def test_average_by_hand():
    one = make_table("x:happy y:sad", TWO, [[0.8, 0.2], [0.4, 0.6]])
    other = make_table("y:sad x:happy", TWO, [[0.9, 0.1], [0.5, 0.5]])
    aligned = ensembling.align([one, other])
    assert [table.clips for table in aligned] == [["x", "y"]] * 2
    joined = ensembling.average(aligned)
    expected = np.sqrt([[0.8 * 0.5, 0.2 * 0.5], [0.4 * 0.9, 0.6 * 0.1]])
    np.testing.assert_allclose(np.exp(joined.logits), expected / expected.sum(1, keepdims=True))
    assert (joined.labels, joined.classes) == (["happy", "sad"], TWO)


def test_only_labels_and_clips_that_all_have():
    eight = make_table("x:calm y:sad z:happy", ("calm", "neutral", *TWO), [[0.3, 0.3, 0.2, 0.2]] * 3)
    three = make_table("z:happy x:neutral w:sad", ("neutral", *TWO), [[0.2, 0.4, 0.4]] * 3)
    aligned = ensembling.align([eight, three])
    for table in aligned:
        assert table.classes == ("neutral", *TWO)
        assert table.clips == ["x", "z"]
        assert table.labels == ["neutral", "happy"]
    np.testing.assert_allclose(np.exp(aligned[0].logits[0]), [0.6, 0.2, 0.2])


def test_clips_of_one_name_are_told_apart_by_order_or_not_at_all():
    one = make_table("x:happy x:happy y:sad", TWO, [[0.9, 0.1], [0.7, 0.3], [0.5, 0.5]])
    same = ensembling.align([one, one])
    np.testing.assert_array_equal(same[0].logits, one.logits)
    fewer = make_table("x:happy y:sad", TWO, [[0.9, 0.1], [0.5, 0.5]])
    assert [table.clips for table in ensembling.align([one, fewer])] == [["y"], ["y"]]


def test_nothing_shared_is_one_clear_sentence():
    one = make_table("x:happy", TWO, [[0.5, 0.5]])
    with pytest.raises(DataError, match="share no clip"):
        ensembling.align([one, make_table("y:happy", TWO, [[0.5, 0.5]])])
    with pytest.raises(DataError, match="share no two emotions to average over: happy, sad; sad, angry"):
        ensembling.align([one, make_table("x:sad", ("sad", "angry"), [[0.5, 0.5]])])


def test_files_of_logits_from_the_command_line(avser_command, tmp_path):
    tables = (
        make_table("x:happy y:sad", TWO, [[0.6, 0.4], [0.6, 0.4]]),
        make_table("y:sad x:happy z:sad", TWO, [[0.1, 0.9], [0.45, 0.55], [0.5, 0.5]]),
    )
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for file, table in zip(files, tables, strict=True):
        write_logits(file, table)
    given = [x for file in files for x in ("--from-logits", file)]
    done = avser_command("evaluate", *given, "-o", tmp_path / "both.csv", "--json", "--plots", tmp_path / "plots")
    assert done.code == 0
    figures = json.loads(done.out)
    assert [figures["models"][str(file)]["accuracy"] for file in files] == [0.5, 0.5]
    assert (figures["ensemble"]["accuracy"], figures["ensemble"]["n"]) == (1.0, 2)
    assert "left out: 1 clips that not all of them have" in done.err
    assert read_logits(tmp_path / "both.csv").report().accuracy == 1.0
    shown = avser_command("evaluate", *given)
    assert "all, averaged" in shown.out
    assert "average of 2 models: 2 clips" in shown.out


def test_models_from_the_command_line(avser_command, small_models, tmp_path):
    root = make_corpus(tmp_path / "pictures", "face", clips=1)
    what = ("--corpus", "folder", "--root", root, "--json")
    done = avser_command("evaluate", small_models.face, small_models.fused, *what)
    assert done.code == 0
    figures = json.loads(done.out)
    alone = json.loads(avser_command("evaluate", small_models.face, *what).out)
    assert figures["models"][str(small_models.face)]["uar"] == pytest.approx(alone["uar"])
    assert set(figures["models"]) == {str(small_models.face), str(small_models.fused)}
    # both look with one network, so the average says what either says
    assert figures["ensemble"]["confusion"] == alone["confusion"]
