"""Prediction on a cluster: places, plans, tables and workers in this process; all of it on several Ray nodes."""

from __future__ import annotations

import csv
import functools
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import SAMPLE
from pyarrow import parquet

from avser import checkpoint
from avser.batch.workers import TRIES
from avser.caching import file_digest
from avser.cluster import actors, places, running, tables
from avser.cluster.actors import Reader, Work, Worker
from avser.cluster.plan import piece_of, requests, write_plan
from avser.cluster.tables import Layout
from avser.options import Options
from avser.recognizer import load_model
from avser.types import AvserError, ConfigError, MediaError
from avser.writers.tables import arrow_table

OPTIONS = Options(window=1.0, hop=0.5)


@pytest.fixture(scope="session")
def sounds(make_media) -> list[Path]:
    """Eighteen short sounds, all different."""
    source = "aevalsrc='0.4*sin(2*PI*{}*t)':s=16000:d={}"
    return [
        make_media(f"s{i:02d}.wav", "-f", "lavfi", "-i", source.format(200 + 20 * i, 1 + i / 10))
        for i in range(18)
    ]


@pytest.fixture
def clips(sounds, tmp_path) -> Path:
    """A folder of its own with these sounds, a broken one, and a manifest of them."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for sound in sounds:
        shutil.copy(sound, folder)
    (folder / "broken.wav").write_text("no media")
    manifest(folder / "m.csv", sorted(path.name for path in folder.glob("*.wav")))
    return folder


def manifest(path: Path, names: list[str], **columns: str) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", *columns])
        writer.writerows([name, *columns.values()] for name in names)
    return path


def table(folder: Path, name: str) -> pa.Table:
    """One of the two tables, as any reader of Parquet sees it."""
    return parquet.read_table(folder / name)


def files(folder: Path) -> dict[str, dict]:
    """Rows of the files' table by name; each file has one."""
    rows = table(folder, "files").to_pylist()
    by_name = {Path(row["file"]).name: row for row in rows}
    assert len(by_name) == len(rows)
    return by_name


def check_windows(folder: Path, model: Path, options: Options = OPTIONS) -> None:
    """The windows of each file are there once, and are those that avser finds without a cluster."""
    recognizer = load_model(model)
    windows = table(folder, "windows")
    for row in files(folder).values():
        mine = windows.filter(pa.compute.equal(windows["id"], row["id"])).sort_by("start")
        assert len(mine) == row["windows"]
        if row["status"] == "done":
            alone = arrow_table(recognizer.run(row["file"], recognizer.check(options)))
            for name in ("start", "end", "label", "fused_happy", "audio_sad"):
                assert mine[name].to_pylist() == pytest.approx(alone[name].to_pylist(), abs=1e-5)
    assert len(windows) == sum(row["windows"] for row in files(folder).values())


@pytest.fixture
def work(clips, small_models, tmp_path):
    """`work(…)`: do a manifest in this process, as one worker of a cluster would; the rows of its files."""

    def do(name: str = str(clips / "m.csv"), options: Options = OPTIONS, **settings) -> list[dict]:
        output = places.absolute(settings.pop("output", str(tmp_path / "out")))
        model = load_model(small_models.audio)
        wanted = list(requests(name, options, model.check))
        layout = Layout.at(output, 5, model.labels)
        digest = file_digest(checkpoint.find_model(small_models.audio)).hexdigest()
        run = uuid.uuid4().hex
        plan = write_plan(iter(wanted), len(wanted), layout.pieces, output)
        values = {"plan": plan, "layout": layout, "model": str(small_models.audio), "runtime": "torch"}
        values |= {"digest": digest, "run": run, "resume": False, "limit": 10**9}
        ledger = settings.pop("ledger", None)
        worker = Worker(Work(**values | settings), ledger)
        rows = []
        for part in range(plan.parts):
            for read in Reader(plan)({"part": [part]}):
                answer = worker(pa.table(read))
                if answer["refused"][0]:
                    raise AvserError(answer["refused"][0])
                rows += json.loads(answer["rows"][0])
        plan.close()
        return rows

    return do


# Places


@pytest.mark.parametrize("scheme", ["", "local://"])
def test_files_here_and_elsewhere(scheme, tmp_path):
    place = f"{scheme}{tmp_path}/folder/a b#?.bin"
    assert places.content(place) is None
    with pytest.raises(MediaError, match="there is no file"):
        places.stand(place)
    for data in (b"one", b"second"):
        places.replace(place, data)
        assert places.content(place) == data
        assert places.stand(place)[0] == len(data)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["a b#?.bin"]
    assert places.digest(place) == file_digest(tmp_path / "folder" / "a b#?.bin").hexdigest()
    with pytest.raises(MediaError, match="folder"):
        places.stand(places.parent(place))
    places.remove(places.parent(place))
    assert not (tmp_path / "folder").exists()


def test_fetching(tmp_path):
    source = tmp_path / "x.mp4"
    source.write_bytes(b"12345")
    assert places.fetch(f"local://{source}", tmp_path, 5).name == "copy.mp4"
    with pytest.raises(MediaError, match=r"local://.*x\.mp4 has more than .* --max-fetch"):
        places.fetch(f"local://{source}", tmp_path, 4)
    with pytest.raises(ConfigError, match="nonsense://"):
        places.fetch("nonsense://x/y.mp4", tmp_path, 4)
    with pytest.raises(AvserError, match="cannot be written"):
        places.replace(f"{source}/below", b"")


# Plans


def test_every_file_is_in_one_piece(tmp_path):
    names = [f"a{i % 90}.mp4" for i in range(100)]
    listed = list(requests(str(manifest(tmp_path / "m.csv", names, who="me")), OPTIONS, lambda options: options))
    plan = write_plan(iter(listed), len(listed), 7, str(tmp_path / "out"))
    assert (plan.files, plan.parts) == (90, 1)
    found = {}
    for piece, text in plan.read(0):
        for line in text.split("\t"):
            request = actors.Request.of(json.loads(line))
            assert piece == piece_of(request, 7)
            assert request.id not in found
            found[request.id] = request
    assert found == {request.id: request for request in listed}
    assert {request.given["who"] for request in listed} == {"me"}
    plan.close()
    with pytest.raises(AvserError, match="not seen by machine"):
        list(plan.read(0))


def test_a_file_with_two_settings_needs_two_names(tmp_path):
    (tmp_path / "m.csv").write_text("path,window,output\na.mp4,1,\na.mp4,2,\n")
    listed = functools.partial(requests, str(tmp_path / "m.csv"), OPTIONS, lambda options: options)
    with pytest.raises(ConfigError, match=r"a\.mp4: is named twice with different settings"):
        write_plan(listed(), 2, 1, str(tmp_path / "out"))
    (tmp_path / "m.csv").write_text("path,window,output\na.mp4,1,one\na.mp4,2,two\n")
    assert write_plan(listed(), 2, 1, str(tmp_path / "out")).files == 2


def test_manifests_elsewhere(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    manifest(folder / "m.csv", ["b/c.mp4", "/d.mp4", "s3://bucket/e f.mp4", "file:///g%20h.mp4"])
    listed = requests(f"local://{folder}/m.csv", OPTIONS, lambda options: options)
    wanted = [f"local://{folder}/b/c.mp4", "/d.mp4", "s3://bucket/e f.mp4", "/g h.mp4"]
    assert [request.place for request in listed] == wanted
    with pytest.raises(ConfigError, match=r"nothing\.csv: the manifest cannot be read"):
        list(requests(f"local://{folder}/nothing.csv", OPTIONS, lambda options: options))


# Tables and workers


def test_a_worker_does_a_manifest(work, small_models, tmp_path):
    rows = work()
    out = tmp_path / "out"
    assert len(rows) == 19
    found = files(out)
    assert {name for name, row in found.items() if row["status"] == "failed"} == {"broken.wav"}
    assert "broken.wav is damaged" in found["broken.wav"]["error"]
    check_windows(out, small_models.audio)
    assert sorted(path.name for path in out.iterdir()) == [tables.MARK, "files", "windows"]
    names = ("id", "file", "status", "label", "duration", "share_happy", "settings")
    assert set(names) < set(table(out, "files").column_names)


def test_resume_by_content_and_settings(work, clips, small_models, tmp_path):
    out = tmp_path / "out"

    def again(**settings) -> set[str]:
        """Names of the files that were done now."""
        rows = work(resume=True, **settings)
        (now,) = {row["run"] for row in rows if row["status"] == "failed"}
        return {Path(row["file"]).name for row in rows if row["run"] == now}

    work()
    before = files(out)
    assert again() == {"broken.wav"}
    shutil.copy(clips / "s03.wav", clips / "s02.wav")
    os.utime(clips / "s04.wav")
    assert again() == {"broken.wav", "s02.wav"}
    assert files(out)["s02.wav"]["digest"] == before["s03.wav"]["digest"]
    manifest(clips / "m.csv", ["broken.wav", "s05.wav"])
    assert again(options=Options(window=2.0)) == {"broken.wav", "s05.wav"}
    assert len(files(out)) == 19  # what a manifest does not name stays
    assert files(out)["s06.wav"] == before["s06.wav"]
    manifest(clips / "m.csv", ["broken.wav", "s05.wav", "s06.wav"])
    assert again() == {"broken.wav", "s05.wav"}
    check_windows(out, small_models.audio)


def test_windows_that_are_not_all_there_are_made_anew(work, clips, small_models, tmp_path):
    out = tmp_path / "out"
    work()
    first, second, *_ = sorted((out / "windows").rglob("*.parquet"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-9])
    gone = (first.name, second.name)
    listed = requests(str(clips / "m.csv"), OPTIONS, lambda options: options)
    lost = {Path(r.place).name for r in listed if f"{piece_of(r, 5):08x}.parquet" in gone}
    rows = work(resume=True)
    now = next(row["run"] for row in rows if row["status"] == "failed")
    assert {Path(row["file"]).name for row in rows if row["run"] == now} == lost | {"broken.wav"}
    check_windows(out, small_models.audio)


def test_files_from_elsewhere_are_fetched_and_removed(work, clips, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    url = f"local://{clips}"
    rows = work(f"{url}/m.csv", output=f"local://{tmp_path}/out", limit=(clips / "s09.wav").stat().st_size)
    assert not list(scratch.iterdir())
    errors = {Path(row["file"]).name: row.get("error") for row in rows if row["status"] == "failed"}
    assert set(errors) == {"broken.wav", *(f"s{i}.wav" for i in range(10, 18))}
    assert errors["broken.wav"].startswith(f"{url}/broken.wav is damaged")
    windows = table(tmp_path / "out", "windows")
    assert set(windows["file"].to_pylist()) == {f"{url}/s0{i}.wav" for i in range(10)}
    again = work(f"{url}/m.csv", output=f"local://{tmp_path}/out", resume=True)
    assert {row["run"] for row in again if Path(row["file"]).name == "s01.wav"} == {rows[0]["run"]}
    assert {row["status"] for row in again if Path(row["file"]).name == "s12.wav"} == {"done"}


def test_a_name_that_is_no_text(work, clips, sounds, tmp_path):
    shutil.copy(sounds[0], os.fsencode(clips) + b"/\xff.wav")
    (clips / "m.csv").write_bytes(b"path\n\xff.wav\n")
    (row,) = work()
    assert (row["status"], row["file"]) == ("done", f"{clips}/\\udcff.wav")
    (again,) = work(resume=True)
    assert again["run"] == row["run"]


def test_what_stops_a_run(work, tmp_path):
    with pytest.raises(AvserError, match="another model on some machine"):
        work(digest="of another file")
    work()
    layout = Layout.at(str(tmp_path / "out"), 99, load_model("av-base").labels)
    assert layout.pieces == 5
    with pytest.raises(ConfigError, match="other emotions"):
        Layout.at(str(tmp_path / "out"), 5, ["calm"])
    (tmp_path / "out" / tables.MARK).write_text("{}")
    with pytest.raises(ConfigError, match="not of this version"):
        Layout.at(str(tmp_path / "out"), 5, ["calm"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["m.csv", "--engine", "ray"], "needs -o"),
        (["m.csv", "n.csv", "--engine", "ray", "-o", "out"], "one manifest"),
        (["--list", "m.csv", "--engine", "ray", "-o", "out"], "one manifest"),
        (["m.csv", "--engine", "ray", "-o", "out", "-f", "json"], "leave out -f"),
        (["m.csv", "--engine", "spark"], "choose from local, ray"),
        (["m.csv", "--address", "auto"], "--engine ray"),
    ],
)
def test_requests_that_make_no_sense(avser_command, arguments, words):
    ended = avser_command("predict", *arguments)
    assert ended.code == 2
    assert words in " ".join(ended.err.split())


def test_ray_that_is_not_installed(avser_command, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.data", None)
    ended = avser_command("predict", tmp_path / "m.csv", "--engine", "ray", "-o", tmp_path / "out")
    assert ended.code == 2
    assert "pip install 'avser[cluster]'" in ended.complaint


# On a cluster


@pytest.fixture(scope="module")
def ray_nodes(cache_folder):
    """A Ray cluster of three nodes on this machine: one without processors, and two with one each."""
    pytest.importorskip("ray.data", reason="needs ray[data]: pip install 'avser[cluster]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVSER_CACHE", str(cache_folder))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        import ray
        from ray.cluster_utils import Cluster

        settings = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **settings})
        # before there are other nodes, one of which it could take for its own
        ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(2)]
        yield cluster, nodes
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def job(clips, small_models, tmp_path):
    """`job(…)`: what to do with the sounds."""
    values = {"manifest": str(clips / "m.csv"), "output": str(tmp_path / "out"), "model": str(small_models.audio)}
    values |= {"options": OPTIONS, "block": 2, "workers": 2}
    return lambda **settings: running.Job(**values | settings)


def test_the_sample_with_the_shipped_model(ray_nodes, avser_command, tmp_path):
    (tmp_path / "m.csv").write_text(f"path,who\n{SAMPLE},me\nnothing.mp4,you\n")
    ended = avser_command(
        "predict", tmp_path / "m.csv", "--engine", "ray", "-o", tmp_path / "out", "-f", "parquet"
    )
    assert ended.code == 1
    assert "1 of 2 files done, 1 failed" in ended.err
    assert f"avser: there is no file {tmp_path}/nothing.mp4: check the name" in ended.err.splitlines()
    found = files(tmp_path / "out")
    result = load_model("av-base").predict(SAMPLE)
    assert found["sample.mp4"]["label"] == result.label
    assert found["sample.mp4"]["windows"] == len(result.predictions)
    assert {name: json.loads(row["given"]) for name, row in found.items()} == {
        "sample.mp4": {"who": "me"},
        "nothing.mp4": {"who": "you"},
    }
    assert table(tmp_path / "out", "windows")["fused_happy"].to_pylist() == pytest.approx(
        [float(p.probs[result.labels.index("happy")]) for p in result.predictions], abs=1e-3
    )


def test_an_interrupted_run_is_completed(ray_nodes, job, monkeypatch, tmp_path, capsys):
    whole = running._rows

    def interrupted(*arguments):
        with running.contextlib.closing(whole(*arguments)) as rows:
            for row in rows:
                yield row
                if row["status"] == "done":  # a file that failed is tried again, one that is done is kept
                    break
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(running, "_rows", interrupted)
        summary = running.run(job())
    assert summary.interrupted
    assert (summary.done, summary.failed) in ((1, 0), (1, 1))
    assert "interrupted" in capsys.readouterr().err
    assert not (tmp_path / "out" / ".plan").exists()
    summary = running.run(job(resume=True), quiet=True)
    assert (summary.done, summary.failed, summary.total) == (18, 1, 19)
    assert summary.kept >= 1
    assert len(files(tmp_path / "out")) == 19


def test_without_a_ledger_a_worker_stops(ray_nodes, work, clips, tmp_path):
    import ray

    ledger = ray.remote(actors.Ledger).options(num_cpus=0).remote()
    assert ray.get(ledger.begin.remote("x")) == 0
    manifest(clips / "m.csv", ["s05.wav"])
    assert [row["status"] for row in work(ledger=ledger)] == ["done"]
    assert ray.get(ledger.done.remote()) == 1
    ray.kill(ledger)
    manifest(clips / "m.csv", ["s05.wav", "s06.wav"])
    with pytest.raises(AvserError, match="the machine that leads the run is lost"):
        work(ledger=ledger)
    assert list(files(tmp_path / "out")) == ["s05.wav"]


def test_nothing_is_lost_and_nothing_twice_when_workers_die(
    ray_nodes, job, clips, small_models, monkeypatch, tmp_path
):
    """One file kills its worker once, one whenever it is read; and a machine goes in the middle of the work."""
    cluster, nodes = ray_nodes
    deaths = tmp_path / "deaths"
    deaths.mkdir()

    class Mortal(Worker):
        def _outcome(self, request):
            name = Path(request.place).name
            if name == "s05.wav" or (name == "s03.wav" and not (deaths / name).exists()):
                (deaths / name).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.3)
            return super()._outcome(request)

    def remove_a_node():
        out = tmp_path / "out"
        while len(list((out / "files").rglob("*.parquet"))) < 2:
            time.sleep(0.1)
        while "s03.wav" not in files(out):  # a second loss would be one too many for that file
            time.sleep(0.1)
        cluster.remove_node(nodes.pop(), allow_graceful=False)

    Mortal.__module__ = "__main__"  # so that it travels by value: the workers do not know this file
    monkeypatch.setattr(running, "Worker", Mortal)
    remover = threading.Thread(target=remove_a_node, daemon=True)
    remover.start()
    summary = running.run(job(), quiet=True)
    remover.join(30)
    assert (deaths / "s03.wav").exists()
    assert len(nodes) == 1
    found = files(tmp_path / "out")
    assert set(found) == {path.name for path in clips.glob("*.wav")}
    failed = {name: row["error"] for name, row in found.items() if row["status"] == "failed"}
    assert set(failed) == {"broken.wav", "s05.wav"}
    assert f"died {TRIES} times" in failed["s05.wav"]
    assert (summary.done, summary.failed, summary.kept) == (17, 2, 0)
    check_windows(tmp_path / "out", small_models.audio)
