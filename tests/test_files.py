"""Files appear complete or not at all, and a process that was killed leaves nothing that stays."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time

import pytest

from avser import files

LEAVE = """
import os, signal, sys
from pathlib import Path
from avser.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def new_run():
    """As a process finds things that has written to no folder yet."""
    files._sweep.cache_clear()


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / ("ü" * 120 + ".json")  # nothing longer fits into most file systems
    with files.replacing(path) as temporary:
        temporary.write_text("all")
        assert not path.exists()
    assert path.read_text() == "all"
    with contextlib.suppress(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("ha")
        raise RuntimeError
    assert path.read_text() == "all"
    assert len(names(path.parent)) == 1


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "one.json"
    with files.replacing(path) as first, files.replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the outer block ended last
    assert names(tmp_path) == ["one.json"]


@pytest.mark.skipif(os.name != "posix", reason="only POSIX tells at once whether a process is still there")
def test_what_a_killed_process_left_goes_with_the_next_one(tmp_path):
    path = tmp_path / "result.json"
    done = subprocess.run([sys.executable, "-c", LEAVE, path])
    assert done.returncode == -9
    (left,) = names(tmp_path)
    assert left.startswith(".avser-")
    with files.replacing(path) as temporary:
        assert names(tmp_path) == []
        temporary.write_text("all")
    assert names(tmp_path) == ["result.json"]


def test_what_others_may_be_writing_stays(tmp_path):
    own = f".avser-{files._machine():08x}-{os.getpid()}-999999.tmp"
    parent = f".avser-{files._machine():08x}-{os.getppid()}-0.tmp"
    foreign, abandoned = ".avser-00000000-1-0.tmp", ".avser-00000000-1-1.tmp"
    for name in (own, parent, foreign, abandoned, "notes.tmp"):
        (tmp_path / name).touch()
    past = time.time() - files.ABANDONED - 10
    os.utime(tmp_path / abandoned, (past, past))
    with files.replacing(tmp_path / "a.json") as temporary:
        temporary.touch()
    assert names(tmp_path) == sorted([own, parent, foreign, "a.json", "notes.tmp"])
