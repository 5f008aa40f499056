"""The queue: places in it, workers that die or take too long, jobs given up, and what is deleted when."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import time
from collections.abc import Iterator

import pytest
from conftest import SAMPLE

pytest.importorskip("starlette", reason="needs avser[app]")

from avser.app.errors import Refusal
from avser.app.files import as_file
from avser.app.jobs import Desk, Job, Recording
from avser.app.settings import Settings
from avser.errors import ConfigError
from avser.options import Options

LIMIT = 120.0


@contextlib.contextmanager
def desk(folder, small_models, **settings) -> Iterator[Desk]:
    folder = folder / "uploads"
    folder.mkdir()
    opened = Desk(Settings(**settings), {"fused": small_models.fused}, folder)
    try:
        yield opened
    finally:
        opened.close()
    assert not folder.exists()


def receive(at: Desk, name: str = "x.mp4", content: bytes | None = None) -> Recording:
    return at.receive(io.BytesIO(SAMPLE.read_bytes() if content is None else content), name)


def submit(at: Desk, hop: float = 3.0, **sent) -> Job:
    return at.submit(receive(at, **sent), "fused", Options(hop=hop))


def until(true, what: str) -> None:
    deadline = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def answered(job: Job):
    assert job.done.wait(LIMIT)
    return job.answer


def test_places_in_the_queue(tmp_path, small_models):
    with desk(tmp_path, small_models, queue=2) as at:
        first = submit(at)
        until(lambda: first.running, "nobody takes the job")
        second, third = submit(at), submit(at)
        assert [at.position(job) for job in (first, second, third)] == [None, 0, 1]
        with pytest.raises(Refusal, match="2 recordings wait already") as full:
            receive(at)
        assert (full.value.status_code, full.value.headers) == (503, {"Retry-After": "30"})
        with pytest.raises(Refusal, match="2 recordings wait already"):
            at.submit(first.recording, "fused", Options())
        at.drop(second)
        assert at.position(third) == 0
        assert not second.recording.path.exists()
        assert third.recording.path.exists()
        for job in (first, third):
            assert answered(job).result is not None
        with pytest.raises(Refusal, match="the mp4 took longer than 0 s"):
            as_file(first, first.answer.result, "mp4", at.folder, 0.0)
        kept = {first.recording.path.parent, third.recording.path.parent}
        assert set(at.folder.iterdir()) == kept
        assert first.second > 0
        assert first.duration == pytest.approx(5.7, abs=0.2)


def test_a_worker_that_dies_costs_one_job(tmp_path, small_models):
    with desk(tmp_path, small_models) as at:
        killed, next_one = submit(at), submit(at)
        until(lambda: killed.second is not None, "the job does not begin")
        os.kill(at._workers[0].process.pid, signal.SIGKILL)
        answer = answered(killed)
        assert answer.status == 500
        assert "the process that read x.mp4 died (it was stopped by SIGKILL" in answer.error
        assert answered(next_one).result is not None
        # one that dies while nothing is to be done is not missed
        dead = at._workers[0].process
        os.kill(dead.pid, signal.SIGKILL)
        until(lambda: not dead.is_alive(), "the process lives on")
        assert answered(submit(at)).result is not None


def test_a_job_that_is_given_up_is_stopped(tmp_path, small_models):
    with desk(tmp_path, small_models) as at:
        dropped, next_one = submit(at, hop=0.1), submit(at)
        until(lambda: dropped.running, "nobody takes the job")
        at.drop(dropped)
        until(lambda: not dropped.recording.path.exists(), "the recording is kept")
        assert answered(next_one).result is not None
        with pytest.raises(Refusal, match="no such job"):
            at.find(dropped.id)


def test_work_that_takes_too_long_is_ended(tmp_path, small_models):
    with desk(tmp_path, small_models, timeout=0.05) as at:
        answer = answered(submit(at))
        assert answer.status == 504
        assert "x.mp4 took longer than 0.05 s" in answer.error


def test_results_expire(tmp_path, small_models):
    with desk(tmp_path, small_models, keep=0.001) as at:
        job = submit(at, content=b"no video")
        assert answered(job).status == 422
        until(lambda: job.id not in at.jobs, "the job is kept")
        assert not job.recording.path.exists()
        with pytest.raises(Refusal, match="is deleted: upload it again"):
            at.submit(job.recording, "fused", Options())


def test_the_oldest_go_where_there_is_no_room(tmp_path, small_models, monkeypatch):
    monkeypatch.setattr("avser.app.jobs.HELD", 2)
    with desk(tmp_path, small_models) as at:
        jobs = [submit(at, content=b"no video") for _ in range(2)]
        for job in jobs:
            answered(job)
        last = submit(at, content=b"no video")
        assert list(at.jobs) == [jobs[1].id, last.id]
        monkeypatch.setattr("avser.app.jobs.ROOM", 0)
        answered(last)
        receive(at)
        assert not at.jobs


@pytest.mark.parametrize(
    "wrong", [{"port": 70000}, {"workers": 0}, {"queue": 0}, {"keep": -1}, {"max_upload": float("inf")}]
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError):
        Settings(**wrong)


@pytest.mark.parametrize(("host", "local"), [("127.0.0.1", True), ("::1", True), ("localhost", True)])
def test_what_is_local(host, local):
    assert Settings(host=host).is_local
    assert not Settings(host="0.0.0.0").is_local
    assert not Settings(host="example.org").is_local
