"""Temporary folders, and those that killed processes left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from avser.scratch import temporary_folder

HOLDS = """
import sys
import tempfile
from avser.scratch import temporary_folder
tempfile.tempdir = sys.argv[1]
with temporary_folder("mine-") as folder:
    (folder / "copy.mp4").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(os.name != "posix", reason="folders are locked on POSIX systems only")
def test_what_a_killed_process_left_goes_and_what_is_in_use_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    other = tmp_path / "other"
    other.mkdir()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], text=True, **pipes) as process:
        held = Path(process.stdout.readline().strip())
        with temporary_folder("mine-") as folder:
            assert sorted(tmp_path.iterdir()) == sorted([folder, other, held])
        assert not folder.exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert held.exists()
    with temporary_folder("mine-") as folder:
        assert sorted(tmp_path.iterdir()) == sorted([folder, other])
    assert list(tmp_path.iterdir()) == [other]
