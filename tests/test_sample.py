"""The clip to try avser on, from Python and from the command line; the public names, for type checkers too."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from conftest import SAMPLE

import avser
from avser import sample


def test_the_samples_are_found():
    assert avser.sample_clip().read_bytes() == SAMPLE.read_bytes()  # an installed avser has one of its own
    for name in sample.CLIPS:
        assert avser.sample_clip(name).read_bytes() == SAMPLE.with_stem(name).read_bytes()


def test_an_unknown_sample_is_one_clear_error(avser_command, tmp_path):
    ended = avser_command("sample", "film", "-o", tmp_path / "clip.mp4")
    assert ended.code == 2
    assert "film: no sample clip; there are sample and conversation" in ended.complaint


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


def test_the_second_sample(avser_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert avser_command("sample", "conversation").out == "written: conversation.mp4\n"
    result = avser.load_model("av-base").predict(tmp_path / "conversation.mp4")
    assert len(result.people) == 2
    speakers = [p.person for p in result.predictions if "audio" in p.modalities and p.person is not None]
    assert speakers == sorted(speakers)  # one after the other
    assert set(speakers) == {0, 1}


def test_sample_command_where_nothing_can_be_written(avser_command, tmp_path):
    ended = avser_command("sample", "-o", tmp_path)
    assert ended.code == 2
    assert "cannot be written" in ended.complaint
    assert list(tmp_path.iterdir()) == []


def test_the_sample_over_itself_stays(tmp_path, monkeypatch):
    path = tmp_path / "sample.mp4"
    path.write_bytes(b"film")
    monkeypatch.setattr(sample, "sample_clip", lambda name: path)
    assert sample.copy_sample(path) == path
    assert path.read_bytes() == b"film"


def test_type_checkers_see_the_public_names():
    tree = ast.parse(Path(avser.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == avser._PUBLIC
    assert (Path(avser.__file__).parent / "py.typed").is_file()
