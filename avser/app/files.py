"""Results as files to download."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
import tempfile
import threading
import time
from http import HTTPStatus
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from avser import writers
from avser.app.errors import Refusal
from avser.app.jobs import Job
from avser.results import Result
from avser.writers import WRITERS

SLOW = ("mp4",)
"""Formats that take about as long as the prediction; one such file is made at a time."""

MOST_SLOW = 4
"""Requests for such files that may wait; each of them takes a thread of the server."""

_slowly = threading.Lock()
_places = threading.BoundedSemaphore(MOST_SLOW)


def formats() -> list[dict]:
    """Which formats there are, and what the missing ones need."""
    found = []
    for name, writer in WRITERS.items():
        there = writer.library is None or importlib.util.find_spec(writer.library) is not None
        found.append({"name": name, "available": there, "needs": None if there else f"avser[{writer.extra}]"})
    return found


def as_file(job: Job, result: Result, format: str, folder: Path, limit: float) -> FileResponse:
    """A result in one format; the file is deleted when it has been sent.

    Args:
        folder: for temporary folders. limit: longest time it may take, s.

    Raises:
        Refusal: it takes too long, or the job was dropped meanwhile.
        MissingExtraError: the format needs a library that is not installed.
    """
    home = Path(tempfile.mkdtemp(dir=folder))
    target = home / f"result.{format}"
    try:
        if format in SLOW:
            _write_slowly(job, result, target, format, limit)
        else:
            writers.write(_named(job, result, format, home), target, format)
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    return FileResponse(
        target,
        media_type="application/octet-stream",
        filename=f"{Path(job.recording.name).stem}.{format}",
        background=BackgroundTask(shutil.rmtree, home, ignore_errors=True),
    )


def _write_slowly(job: Job, result: Result, target: Path, format: str, limit: float) -> None:
    """Write a format that reads the recording once more."""
    deadline = time.monotonic() + limit

    def check(second: float) -> None:
        if job.given_up:
            raise Refusal(HTTPStatus.GONE, f"{job.recording.name} is deleted: upload it again")
        if time.monotonic() > deadline:
            raise Refusal(HTTPStatus.GATEWAY_TIMEOUT, f"the {format} took longer than {limit:g} s: choose another")

    if not _places.acquire(blocking=False):
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"others wait for a {format} as well: try again later", 30)
    try:
        with _slowly:
            check(0.0)
            writers.write(result, target, format, check)
    finally:
        _places.release()


def _named(job: Job, result: Result, format: str, home: Path) -> Result:
    """A result that names the recording as its owner does; the report looks for it beside itself."""
    name = Path(job.recording.name)
    return dataclasses.replace(result, path=home / name if format == "html" else name)
