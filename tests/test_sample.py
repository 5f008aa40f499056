"""The clip to try avser on, from Python and from the command line; the public names, for type checkers too."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from conftest import SAMPLE

import avser
from avser import sample


def test_the_sample_is_found():
    assert avser.sample_clip().read_bytes() == SAMPLE.read_bytes()  # an installed avser has one of its own


def test_a_missing_sample_is_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.setattr(sample.resources, "files", lambda name: tmp_path / name)
    with pytest.raises(avser.AvserError, match=r"sample\.mp4: the sample clip is not there; install avser again"):
        avser.sample_clip()


def test_sample_command(avser_command, tmp_path):
    path = tmp_path / "new" / "clip.mp4"
    ended = avser_command("sample", "-o", path)
    assert ended.code == 0
    assert ended.out == f"written: {path}\n"
    assert path.read_bytes() == SAMPLE.read_bytes()


def test_sample_command_where_nothing_can_be_written(avser_command, tmp_path):
    ended = avser_command("sample", "-o", tmp_path)
    assert ended.code == 2
    assert "cannot be written" in ended.complaint
    assert list(tmp_path.iterdir()) == []


def test_the_sample_over_itself_stays(tmp_path, monkeypatch):
    path = tmp_path / "sample.mp4"
    path.write_bytes(b"film")
    monkeypatch.setattr(sample, "sample_clip", lambda: path)
    assert sample.copy_sample(path) == path
    assert path.read_bytes() == b"film"


def test_type_checkers_see_the_public_names():
    tree = ast.parse(Path(avser.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == avser._PUBLIC
    assert (Path(avser.__file__).parent / "py.typed").is_file()
