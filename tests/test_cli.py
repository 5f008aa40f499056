"""The command line as its users meet it: what it prints, what it writes, how it ends."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from conftest import SAMPLE

from avser import cli, writers
from avser.batch.journal import JOURNAL
from avser.media import ffmpeg_binary
from avser.recognizer import Recognizer
from avser.types import MissingExtraError
from avser.writers import WRITERS

COMMANDS = ("predict", "live", "train", "evaluate", "explain", "info", "models")


@pytest.fixture
def predict(avser_command, small_models):
    """`predict(path, …)`: `avser predict` with the small audio model, or with the `model` given."""

    def run(*arguments: object, model: object = small_models.audio):
        return avser_command("predict", *arguments, "--model", model)

    return run


@pytest.fixture
def good(tmp_path, audio_only) -> Path:
    return Path(shutil.copyfile(audio_only, tmp_path / "good.wav"))


def files(folder: Path) -> list[str]:
    """Every file below a folder, hidden ones and left-over temporary ones too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(avser_command, command):
    done = avser_command(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"avser {command}" in done.out


def test_help_names_every_command(avser_command):
    done = avser_command("--help")
    assert done.code == 0
    assert all(command in done.out for command in COMMANDS)
    named = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert set(COMMANDS) <= named | {group.name for group in cli.app.registered_groups}


def test_version(avser_command):
    from avser import __version__

    assert avser_command("--version").out == f"avser {__version__}\n"


@pytest.mark.parametrize("arguments", [("predict",), ("predict", "--nonsense"), ("nonsense",), ("evaluate",)])
def test_misuse(avser_command, arguments):
    done = avser_command(*arguments)
    assert done.code == 2
    assert "Traceback" not in done.err


# Prediction


def test_table_of_voice_and_face(predict, small_models, tmp_path):
    done = predict(SAMPLE, "-o", tmp_path / "out", "-f", "json,csv", model=small_models.fused)
    assert done.code == 0
    assert [name in done.out for name in ("time (s)", "emotion", "confidence", "voice says", "face says")] == [
        True
    ] * 5
    result = json.loads((tmp_path / "out" / "sample.json").read_text())
    rows = [line for line in done.out.splitlines() if " – " in line or "whole file" in line]
    assert len(rows) == len(result["predictions"]) + 1
    for row, p in zip(rows, [*result["predictions"], result["overall"]], strict=True):
        assert p["label"] in row
        assert "×0.60" in row
        assert "×0.40" in row
    assert done.err.splitlines() == [
        f"written: {tmp_path / 'out' / name}" for name in ("sample.json", "sample.csv")
    ]
    with (tmp_path / "out" / "sample.csv").open(newline="") as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    assert labels == [p["label"] for p in result["predictions"]]
    assert files(tmp_path) == [f"out/{name}" for name in (JOURNAL, "sample.csv", "sample.json")]


def test_table_fits_a_narrow_terminal(predict, small_models, monkeypatch):
    wide = predict(SAMPLE, model=small_models.fused).out
    monkeypatch.setattr("os.get_terminal_size", lambda *_: os.terminal_size((80, 24)))
    monkeypatch.setenv("COLUMNS", "80")
    narrow = predict(SAMPLE, model=small_models.fused).out
    assert len(wide.splitlines()) - len(narrow.splitlines()) == 0


def test_absent_modality_is_a_dash(predict, small_models):
    done = predict(SAMPLE, "--modality", "audio", model=small_models.fused)
    assert done.code == 0
    assert "×1.00" in done.out
    assert "×0.40" not in done.out


def test_nothing_to_go_by_is_no_failure(predict, small_models, video_only, tmp_path):
    done = predict(video_only, "-o", tmp_path / "x.json", model=small_models.fused)
    assert done.code == 0
    assert "no audio track and no face seen" in done.out
    overall = json.loads((tmp_path / "x.json").read_text())["overall"]
    assert (overall["label"], overall["probs"]) == (None, None)
    assert overall["reason"] == "no audio track and no face seen"


def test_folders_and_files_at_once(predict, good, tmp_path):
    for name in ("in/a.wav", "in/deep/a.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(good, tmp_path / name)
    done = predict(tmp_path / "in", good, "-q", "-o", tmp_path / "out")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert files(tmp_path / "out") == [JOURNAL, "a.json", "deep/a.json", "good.json", "summary.csv"]


def test_a_line_for_each_of_many_files_and_a_summary(predict, good, tmp_path):
    other = shutil.copyfile(good, tmp_path / "other.wav")
    done = predict(good, other, "-o", tmp_path / "out")
    assert done.code == 0
    lines = [line.rstrip() for line in done.out.splitlines() if line.strip()]
    assert lines[0].startswith(f"{good}: ")
    assert lines[1].startswith(f"{other}: ")
    label = lines[0].removeprefix(f"{good}: ").split()[0]
    assert lines[2].split() == ["emotion", "files", "share", "mean", "confidence"]
    assert lines[-1].split()[:3] == [label, "2", "100%"]
    assert done.err.startswith("2 of 2 files done; 2 s of sound and pictures in ")
    done = predict(good, other, "-o", tmp_path / "out", "--resume")
    assert (done.code, done.out.count(": ")) == (0, 0)
    assert done.err.startswith("2 of 2 files done, 2 of them by an earlier run")


def test_lists_patterns_and_manifests(predict, good, tmp_path):
    (tmp_path / "list").write_text("good.wav\n")
    (tmp_path / "m.csv").write_text("path,output,window\ngood.wav,named,0.5\n")
    for arguments in (("--list", tmp_path / "list"), (f"@{tmp_path}/list",), (f"{tmp_path}/*.wav",)):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        assert predict(*arguments, "-q", "-o", out).code == 0
        assert (out / "good.json").exists()
    assert predict("--manifest", tmp_path / "m.csv", "-q", "-o", tmp_path / "out").code == 0
    assert json.loads((tmp_path / "out" / "named.json").read_text())["settings"]["window"] == 0.5


@pytest.mark.parametrize("name", WRITERS)
def test_output_in_one_file(predict, good, tmp_path, name):
    try:
        writers.check([name])
    except MissingExtraError as missing:
        pytest.skip(str(missing))
    assert predict(good, "-o", tmp_path / f"result.{name}").code == 0
    assert files(tmp_path) == sorted(["good.wav", f"result.{name}"])


def test_window_and_hop(predict, good, tmp_path):
    assert predict(good, "-o", tmp_path / "x.json", "--window", "0.5", "--hop", "0.25").code == 0
    windows = json.loads((tmp_path / "x.json").read_text())["predictions"]
    assert [(p["start"], p["end"]) for p in windows] == [(0, 0.5), (0.25, 0.75), (0.5, 1)]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text there")
def test_file_name_that_is_no_text(predict, good, tmp_path):
    odd = Path(shutil.copyfile(good, tmp_path / os.fsdecode(b"caf\xe9.wav")))
    done = predict(odd, "-o", tmp_path / "out")
    assert done.code == 0
    assert "caf\\udce9" in done.out
    assert json.loads((tmp_path / "out" / odd.name).with_suffix(".json").read_text())["file"] == str(odd)


# Files that cannot be read


def bad_file(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.mp4"
    if kind == "text":
        path.write_text("This is no video.\n" * 50)
    elif kind == "cut":  # its index lies at the end
        command = [ffmpeg_binary(), "-loglevel", "error", "-i", SAMPLE, "-c", "copy", path]
        subprocess.run(command, check=True)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "zero":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
        (path / "notes.txt").write_text("no media")
    return path


BAD_FILES = {
    "none": "there is no file",
    "folder": "no media files in",
    "text": "is damaged or no media file",
    "cut": "is cut short",
    "zero": "is empty (0 bytes)",
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_file_is_one_line(predict, tmp_path, kind):
    path = bad_file(kind, tmp_path)
    before = files(tmp_path)
    done = predict(path, "-o", tmp_path / "out")
    assert (done.code, done.out) == (1, "")
    assert BAD_FILES[kind] in done.complaint
    assert str(path) in done.complaint
    assert files(tmp_path) == before


def test_the_others_of_a_batch_are_done(predict, good, tmp_path):
    bad = [bad_file(kind, tmp_path) for kind in BAD_FILES]
    done = predict(*bad[:2], good, *bad[2:], "-q", "-o", tmp_path / "out")
    assert done.code == 1
    lines = done.err.splitlines()
    assert len(lines) == len(bad) + 1
    for path in bad:
        assert sum(line.startswith("avser: ") and str(path) in line for line in lines) == 1
    assert lines[-1] == f"1 of {len(bad) + 1} files done, {len(bad)} failed"
    assert files(tmp_path / "out") == [JOURNAL, "failures.csv", "good.json", "summary.csv"]


def test_half_of_a_video_that_streams(predict, small_models, make_media, tmp_path):
    whole = make_media("whole.mkv", "-i", SAMPLE, "-c", "copy")
    half = tmp_path / "half.mkv"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    done = predict(half, "-o", tmp_path / "x.json", model=small_models.fused)
    assert done.code == 0
    assert "Traceback" not in done.err
    windows = json.loads((tmp_path / "x.json").read_text())["predictions"]
    assert 1 < windows[-1]["end"] < 5


# Requests that make no sense


def bad_model(kind: str, folder: Path, model: Path) -> Path:
    path = folder / f"{kind}.safetensors"
    if kind == "text":
        path.write_text("weights")
    elif kind == "cut":
        path.write_bytes(model.read_bytes()[:-100])
    elif kind == "zero":
        path.write_bytes(b"")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
    elif kind == "foreign":
        safetensors.numpy.save_file({"layer": np.zeros(3, np.float32)}, path)
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["none", "text", "cut", "zero", "pickle", "foreign", "folder"])
@pytest.mark.parametrize("command", ["predict", "info"])
def test_bad_model(avser_command, small_models, good, tmp_path, kind, command):
    model = bad_model(kind, tmp_path, small_models.audio)
    arguments = ("info", model) if command == "info" else ("predict", good, "--model", model)
    done = avser_command(*arguments)
    assert done.code == 2
    assert str(model) in done.complaint
    assert done.out == ""


def test_unknown_model_name_lists_the_known_ones(avser_command, good):
    done = avser_command("predict", good, "--model", "av-nobody")
    assert done.code == 2
    assert "av-nobody: no such model file, and no model of this name; shipped models: " in done.complaint


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--modality", "smell"), "unknown modality 'smell': choose from fused, audio, face"),
        (("--modality", "face"), "knows the audio only; choose a fused model for 'face'"),
        (("-f", "json,xml"), "unknown output format 'xml': choose from json, csv"),
        (("--window", "0"), "must be above zero"),
        (("--hop", "-1"), "must be above zero"),
    ],
)
def test_unknown_settings(predict, good, tmp_path, arguments, said):
    done = predict(good, *arguments, "-o", tmp_path / "out")
    assert (done.code, done.out) == (2, "")
    assert said in done.complaint
    assert files(tmp_path) == ["good.wav"]


@pytest.mark.parametrize("output", ["file", "file/below", "file/below/x.json", "/proc/avser", "/proc/avser/x.csv"])
def test_output_that_cannot_be_written(predict, good, tmp_path, output):
    if output.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("this system has no /proc")
    (tmp_path / "file").write_text("kept")
    done = predict(good, SAMPLE if not output.endswith((".json", ".csv")) else good, "-o", tmp_path / output)
    assert (done.code, done.out) == (2, "")
    assert str(tmp_path / output) in done.complaint
    assert files(tmp_path) == ["file", "good.wav"]
    assert (tmp_path / "file").read_text() == "kept"


def test_one_file_for_many_results(predict, good, tmp_path):
    done = predict(good, SAMPLE, "-o", tmp_path / "x.json")
    assert done.code == 2
    assert "one file cannot take 2 results" in done.complaint


# Ctrl-C


def test_interrupted_batch_keeps_what_is_done(predict, good, tmp_path, monkeypatch):
    for name in ("b.wav", "c.wav"):
        shutil.copyfile(good, tmp_path / name)
    whole = Recognizer.run

    def stops(self, path, *arguments):
        if path.name == "b.wav":
            raise KeyboardInterrupt
        return whole(self, path, *arguments)

    monkeypatch.setattr(Recognizer, "run", stops)
    done = predict(good, tmp_path / "b.wav", tmp_path / "c.wav", "-q", "-o", tmp_path / "out")
    assert (done.code, done.out) == (130, "")
    assert done.complaint == "avser: interrupted; 1 of 3 files done, their results are kept"
    assert files(tmp_path / "out") == [JOURNAL, "good.json", "summary.csv"]


def test_interrupted_before_the_first_file(predict, good, monkeypatch):
    def stops(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("avser.batch.jobs.load_model", stops)
    done = predict(good)
    assert (done.code, done.complaint) == (130, "avser: interrupted")


def running(path: Path) -> list[str]:
    """Processes that have a file in their command, on Linux."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes()
            if os.fsencode(path) in command and b"ffmpeg" in command:
                found.append(folder.name)
    return found


def in_group(number: int) -> list[str]:
    """Living processes of a group, on Linux, but for Python's own that clears up after others."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            command = (folder / "cmdline").read_text(errors="replace")  # empty of one that is ending
            if int(group) == number and state != "Z" and command and "resource_tracker" not in command:
                found.append(command)
    return found


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is no signal there")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_real_interrupt(small_models, make_media, good, tmp_path, workers):
    """As a terminal does it: the signal goes to avser and to all that it runs."""
    # enough windows to be busy until the signal comes
    long = make_media("long.wav", "-f", "lavfi", "-i", "sine=f=300:r=16000:d=900")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "avser.cli", "predict", str(good), str(long), "-o", str(out), "-q"]
    command += ["--model", str(small_models.audio), "--hop", "0.02", "--workers", str(workers)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a runner in the background ignores it
    )
    first = out / "good.json"
    seen = not Path("/proc/self").exists()
    limit = time.monotonic() + 120
    while not (first.exists() and (seen or running(long))) and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    printed, said = process.communicate()
    assert process.returncode == 130, said
    assert printed == b""
    assert said.decode().splitlines() == ["avser: interrupted; 1 of 2 files done, their results are kept"]
    assert files(out) == [JOURNAL, "good.json", "summary.csv"]
    assert json.loads(first.read_text())["overall"]
    assert not running(long)
    assert not in_group(process.pid)


# Models and figures


def test_info_tells_what_a_model_is(avser_command, small_models):
    done = avser_command("info", small_models.fused)
    assert (done.code, done.err) == (0, "")
    for fact in (
        "small 1  (fused)",
        "emotions: neutral, happy",
        "resnet_attention on savee",
        "resnet_face on savee",
    ):
        assert fact in done.out
    done = avser_command("info", small_models.audio)
    assert "licence: MIT" in done.out


def test_models_lists_the_shipped_ones(avser_command):
    from avser.checkpoint import known_models

    done = avser_command("models")
    assert (done.code, done.err) == (0, "")
    assert all(name in done.out for name in known_models())


LOGITS = """\
clip,subject,fold,label,happy,sad
a,anna,0,happy,2.0,0.0
b,anna,0,sad,1.0,0.0
c,bert,0,sad,0.0,3.0
d,bert,0,happy,1.0,0.5
"""


def test_figures_from_logits(avser_command, tmp_path):
    path = tmp_path / "logits.csv"
    path.write_text(LOGITS)
    done = avser_command("evaluate", "--from-logits", path, "--json")
    assert (done.code, done.err) == (0, "")
    figures = json.loads(done.out)
    assert (figures["uar"], figures["accuracy"], figures["n"], figures["subjects"]) == (0.75, 0.75, 4, 2)
    assert figures["confusion"] == [[2, 0], [1, 1]]
    table = avser_command("evaluate", "--from-logits", path)
    assert "4 clips of 2 subjects" in table.out
    assert "UAR       0.750" in table.out


def test_figures_over_other_labels(avser_command, tmp_path):
    path = tmp_path / "logits.csv"
    path.write_text(LOGITS)
    figures = json.loads(avser_command("evaluate", "--from-logits", path, "--labels", "basic7", "--json").out)
    assert len(figures["labels"]) == 7
    assert figures["uar"] == 0.75


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from-logits", "none.csv"), "cannot read the table of logits none.csv"),
        (("--from-logits", SAMPLE), "cannot read the table of logits"),
        (("--from-logits", "LOGITS", "--labels", "basic8"), "unknown label set 'basic8'"),
        (("MODEL", "--corpus", "savee", "--root", "nowhere"), "there is no nowhere: corpus 'savee' needs"),
        (("MODEL", "--corpus", "nobody", "--root", "."), "unknown corpus 'nobody'"),
        (("MODEL", "--corpus", "folder", "--root", ".", "--only", "subject"), "not of the form KEY=VALUE"),
        (("MODEL", "--corpus", "folder", "--root", ".", "--modality", "face"), "knows the audio only"),
    ],
)
def test_evaluations_that_make_no_sense(avser_command, small_models, tmp_path, arguments, said):
    (tmp_path / "logits.csv").write_text(LOGITS)
    put = {"MODEL": small_models.audio, "LOGITS": tmp_path / "logits.csv"}
    done = avser_command("evaluate", *(put.get(argument, argument) for argument in arguments))
    assert (done.code, done.out) == (2, "")
    assert said in done.complaint
