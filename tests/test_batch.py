"""Many files at once: where each result goes, that one failure stops nothing else, and nothing is done twice."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import SAMPLE

from avser import media
from avser.batch.jobs import Batch, Job, Step
from avser.batch.journal import JOURNAL
from avser.batch.tasks import Task
from avser.batch.workers import Pool
from avser.options import Options
from avser.recognizer import Recognizer
from avser.runtime import cores
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


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


TABLES = [JOURNAL, "summary.csv"]
"""What a job of many files leaves besides their results."""


def test_folders_and_files_at_once(job, tree, tone):
    out = tree / "out"
    work = Batch(job(tree / "in", tree / "other", tone, output=out, formats=("json", "csv")))
    steps = list(work.run())
    assert len(work) == len(steps) == 5
    assert all(step.error is None for step in steps)
    stems = ["a.wav", "deep/a.WAV", "deep/a.wav-2", "a.wav-2", "tone"]
    results = [f"{stem}.{suffix}" for stem in stems for suffix in ("csv", "json")]
    assert written(out) == sorted([*results, *TABLES])
    for step in steps:
        assert json.loads(step.written[0].read_text())["file"] == str(step.path)


def test_failures_are_steps_of_their_own(job, tree, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"")
    steps = list(Batch(job(tmp_path / "none.wav", broken, tree / "other", output=tmp_path / "out")).run())
    assert [step.error is None for step in steps] == [False, False, True]
    assert "there is no file" in steps[0].error
    assert "is empty (0 bytes)" in steps[1].error
    assert steps[1] == Step(steps[1].source, error=steps[1].error, facts=steps[1].facts)
    assert written(tmp_path / "out") == sorted(["a.json", "failures.csv", *TABLES])


def test_a_fault_of_avser_costs_one_file(job, tree, monkeypatch):
    whole = Recognizer.run

    def fails(self, path, *arguments):
        return whole(self, path, *arguments) if path.suffix == ".wav" else 1 / 0

    monkeypatch.setattr(Recognizer, "run", fails)
    errors = [step.error for step in Batch(job(tree / "in")).run()]
    assert [error is None for error in errors] == [True, False, True]
    assert "avser itself failed (ZeroDivisionError: division by zero)" in errors[1]


def test_a_file_that_vanishes(job, tree):
    work = Batch(job(tree / "in"))
    (tree / "in" / "a.wav").unlink()
    first, *others = work.run()
    assert "there is no file" in first.error
    assert all(step.error is None for step in others)


def test_one_file_for_one_result(job, tone, tmp_path):
    (step,) = Batch(job(tone, output=tmp_path / "new" / "x.CSV")).run()
    assert step.written == (tmp_path / "new" / "x.CSV",)
    assert step.written[0].read_text().startswith("file,start,end")
    assert written(tmp_path / "new") == ["x.CSV"]


def test_folder_whose_name_looks_like_a_file(job, tone, tmp_path):
    (tmp_path / "x.json").mkdir()
    (step,) = Batch(job(tone, output=tmp_path / "x.json")).run()
    assert step.written == (tmp_path / "x.json" / "tone.json",)


def test_without_output_nothing_is_written(job, tree):
    before = written(tree)
    assert [step.written for step in Batch(job(tree / "in")).run()] == [()] * 3
    assert written(tree) == before


def test_progress_names_the_file_and_its_length(job, tree):
    seen: list[tuple[str, float, float]] = []
    list(Batch(job(tree / "in")).run(lambda source, *at: seen.append((Path(source.path).name, *at))))
    assert seen == [(name, at, 1.0) for name in ("a.wav", "a.WAV", "a.wav") for at in (0.0, 1.0)]


# The summary and the failures


def test_summary(job, tree, make_media):
    voice = make_media("voice.wav", "-i", SAMPLE, "-vn", "-t", "2", "-ac", "1", "-ar", "16000")
    shutil.copyfile(voice, tree / "in" / "a.wav")
    (tree / "m.csv").write_text("path,window,label,who\nin/a.wav,0.5,sad,anna\nnone.wav,,,bert\nother,,,\n")
    out = tree / "out"
    steps = list(Batch(job(output=out, manifest=str(tree / "m.csv"))).run())
    rows = table(out / "summary.csv")
    assert [row["status"] for row in rows] == ["failed", "done", "done"]  # what is not there comes first
    assert [row["who"] for row in rows] == ["bert", "anna", ""]
    assert [row["given_label"] for row in rows] == ["", "sad", ""]
    result = json.loads((out / "in" / "a.json").read_text())
    done = rows[1]
    assert (done["path"], done["duration"], done["people"]) == (str(tree / "in" / "a.wav"), "2.000", "0")
    assert done["label"] == result["overall"]["label"]
    assert float(done["confidence"]) == pytest.approx(result["overall"]["confidence"], abs=1e-4)
    assert done["written"] == "in/a.json"
    assert float(done["seconds"]) > 0
    shares = {name: float(done[f"share_{name}"]) for name in result["labels"]}
    whole = sum(s["end"] - s["start"] for s in result["segments"])
    for name, share in shares.items():
        lengths = [s["end"] - s["start"] for s in result["segments"] if s["label"] == name]
        assert share == pytest.approx(sum(lengths) / whole, abs=1e-3)
    assert result["settings"]["window"] == 0.5
    assert steps[1].result.options.window == 0.5
    assert table(out / "failures.csv") == [{"path": str(tree / "none.wav"), "error": rows[0]["error"]}]


def test_failures_are_a_manifest_of_what_to_try_again(job, tree, tone):
    out = tree / "out"
    late = tree / "late.wav"
    list(Batch(job(late, tone, output=out)).run())
    shutil.copyfile(tone, late)
    (step,) = Batch(job(manifest=str(out / "failures.csv"), output=out)).run()
    assert (step.path, step.error) == (late, None)
    assert not (out / "failures.csv").exists()  # all is well now


def test_a_video_called_summary(job, tree, tone):
    path = Path(shutil.copyfile(tone, tree / "summary.wav"))
    list(Batch(job(path, tone, output=tree / "out", formats=("csv",))).run())
    assert written(tree / "out") == sorted(["summary-2.csv", "tone.csv", *TABLES])


# Resuming


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """Names of the files that are predicted."""
    names: list[str] = []
    whole = Recognizer.run

    def counted(self, path, *arguments):
        names.append(Path(path).name)
        return whole(self, path, *arguments)

    monkeypatch.setattr(Recognizer, "run", counted)
    return names


@pytest.fixture
def two(tmp_path, make_media) -> Path:
    """A folder with two files, whose contents differ."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, tone in (("a", 300), ("b", 400)):
        made = make_media(f"{name}.wav", "-f", "lavfi", "-i", f"sine=f={tone}:r=16000:d=1")
        shutil.copyfile(made, folder / f"{name}.wav")
    return folder


def test_resume_leaves_out_what_is_done(job, two, opened, tmp_path):
    out = tmp_path / "out"
    settings = {"output": out, "formats": ("json", "csv"), "resume": True}

    def again(**changes) -> list[str]:
        """Files that are predicted in the next run."""
        opened.clear()
        steps = list(Batch(job(two, **settings | changes)).run())
        assert [step.kept for step in steps].count(False) == len(opened)
        assert len(table(out / "summary.csv")) == 2
        return sorted(opened)

    assert again() == ["a.wav", "b.wav"]
    first = table(out / "summary.csv")
    assert again() == []
    assert table(out / "summary.csv") == [{**row, "status": "kept"} for row in first]
    assert again(formats=("csv",)) == []
    # time, then content
    status = (two / "a.wav").stat()
    os.utime(two / "a.wav", ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    assert again() == []
    shutil.copyfile(two / "b.wav", two / "a.wav")
    assert again() == ["a.wav"]
    # settings
    assert again(options=Options(window=0.5)) == ["a.wav", "b.wav"]
    assert again(options=Options(window=0.5)) == []
    assert again() == ["a.wav", "b.wav"]
    # results that are gone or cut short
    (out / "a.csv").unlink()
    (out / "b.json").write_text("{")
    assert again() == ["a.wav", "b.wav"]
    assert again(resume=False) == ["a.wav", "b.wav"]
    # a journal that was cut off, and one with nonsense in it
    notes = out / JOURNAL
    notes.write_bytes(b"".join(notes.read_bytes().splitlines(keepends=True)[-2:])[:-20])
    assert again() == ["b.wav"]
    assert again() == []
    notes.write_bytes(b'\xff\n[]\n{"stem": 1}\n' + notes.read_bytes())
    assert again() == []


def test_resume_knows_another_model(job, small_models, two, opened, tmp_path):
    model = Path(shutil.copyfile(small_models.audio, tmp_path / "one.safetensors"))
    settings = {"output": tmp_path / "out", "resume": True, "model": str(model)}
    list(Batch(job(two, **settings)).run())
    moved = Path(shutil.copyfile(model, tmp_path / "two.safetensors"))
    list(Batch(job(two, **settings | {"model": str(moved)})).run())
    assert len(opened) == 2  # the same model by another name
    shutil.copyfile(small_models.fused, moved)
    list(Batch(job(two, **settings | {"model": str(moved), "options": Options(modality="audio")})).run())
    assert len(opened) == 4


def test_resume_after_an_interrupt(job, two, opened, tmp_path):
    settings = {"output": tmp_path / "out", "resume": True}
    with contextlib.closing(Batch(job(two, **settings)).run()) as steps:
        next(steps)
    list(Batch(job(two, **settings)).run())
    assert opened == ["a.wav", "b.wav"]


# Worker processes


def test_workers_do_what_one_process_does(job, two, tmp_path):
    (two / "broken.wav").write_text("no media")
    steps, seen = {}, set()
    for workers in (1, 2):
        work = Batch(job(two, output=tmp_path / f"out{workers}", workers=workers, formats=("json", "csv")))
        steps[workers] = sorted(work.run(lambda source, *_: seen.add(source.path)), key=lambda step: step.path)
    assert seen == {str(two / "a.wav"), str(two / "b.wav")}
    for one, other in zip(*steps.values(), strict=True):
        assert (one.path, one.error, one.facts.get("label")) == (other.path, other.error, other.facts.get("label"))
    for name in written(tmp_path / "out1"):
        if name not in TABLES:
            assert (tmp_path / "out1" / name).read_text() == (tmp_path / "out2" / name).read_text()
    assert written(tmp_path / "out1") == written(tmp_path / "out2")


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_a_worker_that_dies_costs_its_file(job, two, make_media, small_models):
    """One file kills whoever reads it, the other one only the first time."""
    long = make_media("long.wav", "-f", "lavfi", "-i", "sine=f=300:r=16000:d=200")
    unlucky = make_media("unlucky.wav", "-f", "lavfi", "-i", "sine=f=300:r=16000:d=200")
    work = Batch(job(long, unlucky, two, options=Options(hop=0.1)))
    tasks = [Task(source, work._options[source.options]) for source in work.sources]
    killed: list[str] = []
    with Pool(2, str(small_models.audio)) as pool:

        def progress(source, second, duration):
            if source.path == str(long) or (source.path == str(unlucky) and not killed.count(source.path)):
                killed.append(source.path)
                (worker,) = [w for w in pool.workers if w.task and w.task.source == source]
                worker.process.kill()
                worker.process.join()

        errors = {Path(task.source.path).name: outcome.error for task, outcome in pool.run(tasks, progress)}
        assert pool.threads == max(1, cores() // 2)
    assert killed.count(str(long)) == 2
    assert killed.count(str(unlucky)) == 1
    assert errors.pop("long.wav").endswith(
        "long.wav: the process that read it died 2 times (it was stopped by SIGKILL, perhaps for want of memory); "
        "try it alone"
    )
    assert errors == {"unlucky.wav": None, "a.wav": None, "b.wav": None}


def test_worker_without_a_model(tmp_path):
    with Pool(1, str(tmp_path / "none")) as pool, pytest.raises(Exception, match="no such model file"):
        list(pool.run([], lambda *_: None))


# Requests that make no sense


@pytest.fixture
def no_file_is_opened(monkeypatch):
    """What is wrong with the request must be found before the first file."""

    def opened(*_):
        pytest.fail("a file was opened")

    monkeypatch.setattr(media, "probe", opened)


@pytest.mark.usefixtures("no_file_is_opened")
@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"formats": ("json", "xyz")}, ConfigError, "unknown output format 'xyz': choose from json, csv"),
        ({"options": {"modality": "smell"}}, ConfigError, "unknown modality 'smell'"),
        ({"options": {"modality": "face"}}, ModelError, "knows the audio only"),
        ({"model": "av-nobody"}, ModelError, "av-nobody: no such model file"),
        ({"options": {"window": 0.0}}, ConfigError, "must be above zero"),
        ({"output": Path("one.json")}, ConfigError, "one file cannot take 3 results"),
        ({"output": Path(__file__)}, ConfigError, "is a file; give a folder to -o"),
        ({"output": Path(__file__) / "below"}, ConfigError, "cannot be written"),
        ({"resume": True}, ConfigError, "--resume needs the folder"),
        ({"workers": -1}, ConfigError, "must not be below zero"),
        ({"list_file": "nowhere/list"}, ConfigError, "nowhere/list: the list cannot be read"),
    ],
)
def test_requests_that_make_no_sense(job, tree, settings, error, said):
    options = settings.pop("options", {})
    with pytest.raises(error, match=said):
        list(Batch(job(tree / "in", options=Options(**options), **settings)).run())


@pytest.mark.usefixtures("no_file_is_opened")
def test_results_take_no_place_of_sources(job, tone, tmp_path):
    path = Path(shutil.copyfile(tone, tmp_path / "x.json"))  # whatever its name, a file named outright is read
    with pytest.raises(ConfigError, match="is a file to be read; choose another -o"):
        Batch(job(path, output=path))
