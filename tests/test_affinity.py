"""Workers keep to their own cores, and get those of workers that have ended."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest

from avser.batch import affinity
from avser.batch.jobs import Batch, Job
from avser.batch.tasks import Task
from avser.batch.workers import Pool

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shares_are_all_cores_and_no_core_twice(monkeypatch, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 3, 5, 7, 11, 13, 17})
    shares = affinity.shares(count)
    assert len(shares) == count
    assert list(itertools.chain(*shares)) == [2, 3, 5, 7, 11, 13, 17]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_more_workers_than_cores_share_them_all(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    assert affinity.shares(3) == [[], [], []]
    affinity.keep_to([])  # changes nothing


def test_where_the_system_cannot_tell(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    assert affinity.shares(2) == [[], []]
    affinity.release(os.getpid())


def test_held_and_released():
    free = os.sched_getaffinity(0)
    code = (
        "from avser.batch import affinity\nimport sys\n"
        f"affinity.keep_to([{min(free)}])\nprint('held', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        assert os.sched_getaffinity(process.pid) == {min(free)}
        affinity.release(process.pid)
        assert os.sched_getaffinity(process.pid) == free
        process.communicate("")
    affinity.release(process.pid)  # it has ended


@pytest.mark.skipif(len(affinity.shares(1)[0]) < 2, reason="needs two cores")
def test_a_worker_is_held_on_its_share(make_media, small_models):
    paths = [make_media(f"{tone}.wav", "-f", "lavfi", "-i", f"sine=f={tone}:r=16000:d=1") for tone in (300, 400)]
    work = Batch(Job(paths, model=str(small_models.audio)))
    tasks = [Task(source, work._options[source.options]) for source in work.sources]
    held = []
    with Pool(2, str(small_models.audio)) as pool:

        def progress(source, second, duration):
            (worker,) = [w for w in pool.workers if w.task and w.task.source == source]
            held.append((sorted(os.sched_getaffinity(worker.process.pid)), worker.share))

        outcomes = [outcome for _, outcome in pool.run(tasks, progress)]
    assert [outcome.error for outcome in outcomes] == [None, None]
    cores, share = held[0]  # later ones may have the cores of a worker that has ended
    assert cores == share
    assert share in affinity.shares(2)
