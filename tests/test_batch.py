"""Many files at once: what is found, where each result goes, and that one failure stops nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import SAMPLE

from avser.batch import Batch, Job, Step
from avser.recognizer import Recognizer
from avser.types import ConfigError, ModelError


@pytest.fixture
def tone(audio_only) -> Path:
    return audio_only


@pytest.fixture
def job(small_models):
    def make(*sources: Path, **settings) -> Job:
        return Job(sources, **{"model": str(small_models.audio), **settings})

    return make


@pytest.fixture
def tree(tmp_path, tone) -> Path:
    """Folders with a file of the same name in each, one twice by stem, and things that are no media."""
    for name in ("in/a.wav", "in/deep/a.wav", "in/deep/a.WAV", "in/deep/.hidden.wav", "other/a.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tone, path)
    (tmp_path / "in" / "notes.txt").write_text("no media")
    return tmp_path


def written(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_folders_and_files_at_once(job, tree, tone):
    out = tree / "out"
    work = Batch(job(tree / "in", tree / "other", tone, output=out, formats=("json", "csv")))
    steps = list(work.run())
    assert len(work) == len(steps) == 5
    assert all(step.error is None for step in steps)
    stems = ["a.wav", "deep/a.WAV", "deep/a.wav-2", "a.wav-2", "tone"]
    assert written(out) == sorted(f"{stem}.{suffix}" for stem in stems for suffix in ("csv", "json"))
    for step in steps:
        assert json.loads(step.written[0].read_text())["file"] == str(step.path)


def test_a_file_named_twice_is_read_once(job, tree):
    work = Batch(job(tree / "in", tree / "in" / "a.wav", tree / "in" / "deep"))
    assert [path.name for _, path in work.files] == ["a.wav", "a.WAV", "a.wav"]


def test_failures_are_steps_of_their_own(job, tree, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"")
    steps = list(Batch(job(tmp_path / "none.wav", broken, tree / "other", output=tmp_path / "out")).run())
    assert [step.error is None for step in steps] == [False, False, True]
    assert "there is no file" in steps[0].error
    assert "is empty (0 bytes)" in steps[1].error
    assert steps[1] == Step(broken, error=steps[1].error)
    assert written(tmp_path / "out") == ["a.json"]


def test_one_file_for_one_result(job, tone, tmp_path):
    (step,) = Batch(job(tone, output=tmp_path / "new" / "x.CSV")).run()
    assert step.written == (tmp_path / "new" / "x.CSV",)
    assert step.written[0].read_text().startswith("file,start,end")


def test_folder_whose_name_looks_like_a_file(job, tone, tmp_path):
    (tmp_path / "x.json").mkdir()
    (step,) = Batch(job(tone, output=tmp_path / "x.json")).run()
    assert step.written == (tmp_path / "x.json" / "tone.json",)


def test_without_output_nothing_is_written(job, tree):
    before = written(tree)
    assert [step.written for step in Batch(job(tree / "in")).run()] == [()] * 3
    assert written(tree) == before


def test_progress_names_the_file(job, tree):
    seen: list[tuple[Path, float]] = []
    list(Batch(job(tree / "in")).run(lambda path, second: seen.append((path, second))))
    assert [path.name for path, _ in seen] == ["a.wav", "a.WAV", "a.wav"]
    assert all(second == pytest.approx(1.0) for _, second in seen)


@pytest.fixture
def no_file_is_opened(monkeypatch):
    """What is wrong with the request must be found before the first file."""

    def opened(*_):
        pytest.fail("a file was opened")

    monkeypatch.setattr(Recognizer, "predict", opened)


@pytest.mark.usefixtures("no_file_is_opened")
@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"formats": ("json", "xyz")}, ConfigError, "unknown output format 'xyz': choose from json, csv"),
        ({"modality": "smell"}, ConfigError, "unknown modality 'smell'"),
        ({"modality": "face"}, ModelError, "knows the audio only"),
        ({"model": "av-nobody"}, ModelError, "av-nobody: no such model file"),
        ({"window": 0.0}, ConfigError, "must be above zero"),
        ({"output": Path("one.json")}, ConfigError, "one file cannot take 3 results"),
        ({"output": SAMPLE}, ConfigError, "is a file; give a folder to -o"),
        ({"output": SAMPLE / "below"}, ConfigError, "cannot be written"),
    ],
)
def test_requests_that_make_no_sense(job, tree, settings, error, said):
    with pytest.raises(error, match=said):
        list(Batch(job(tree / "in", **settings)).run())
