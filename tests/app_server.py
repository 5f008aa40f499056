"""The server of `avser app` in a process of its own, for tests that ask it as anybody would."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

LIMIT = 180.0
"""A server that is not there after so many seconds, or does not end, has failed."""


@dataclass
class Server:
    """A server that runs.

    Attributes:
        address: where it listens.
        folder: in which it keeps what is uploaded, in a folder of its own.
    """

    process: subprocess.Popen
    address: str
    folder: Path

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=LIMIT)

    def kept(self) -> list[Path]:
        """The server's temporary folder, and all that lies in it; libraries may keep files beside it."""
        return [path for home in self.folder.glob("avser-app-*") for path in (home, *home.rglob("*"))]

    def stop(self, how: int) -> int:
        """End it by a signal; its exit code."""
        self.process.send_signal(how)
        return self.process.wait(LIMIT)


@contextlib.contextmanager
def serving(folder: Path, *options: object) -> Iterator[Server]:
    """A server at a free port that keeps its files below a folder.

    Args:
        options: further ones of the command.
    """
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "avser.cli", "app", "--port", "0", *map(str, options)]
    surroundings = {**os.environ, "TMPDIR": str(folder)}
    root = Path(__file__).parent.parent
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=root, env=surroundings, start_new_session=True
    ) as process:
        limit = threading.Timer(LIMIT, process.kill)
        limit.start()
        try:
            line = process.stdout.readline()
            limit.cancel()
            found = re.search(r"http://\S+", line)
            assert found, f"the server did not start: {line!r}"
            yield Server(process, found[0], folder)
        finally:
            limit.cancel()
            process.kill()


def finished(client: httpx.Client, id: str) -> dict:
    """The state of a job when it is over."""
    deadline = time.monotonic() + LIMIT
    while (state := client.get(f"/jobs/{id}").json())["state"] not in ("done", "failed"):
        assert time.monotonic() < deadline, state
        time.sleep(0.1)
    return state
