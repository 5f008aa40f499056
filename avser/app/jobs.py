"""Recordings that were uploaded, the jobs on them, and the queue in which they wait for a worker."""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

from avser.app.errors import Refusal
from avser.app.settings import HELD, ROOM, Settings
from avser.app.workers import Answer, Task, Worker
from avser.media.paths import MEDIA_SUFFIXES
from avser.options import Options
from avser.runtime import cores
from avser.wording import printable

LONGEST_NAME = 120
SWEEP = 2.0
"""How often expired results are looked for, s."""

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Recording:
    """An uploaded file in a folder of its own, which goes with the last job on it.

    Attributes:
        name: what its owner calls it; never part of a path.
        size: bytes.
    """

    path: Path
    name: str
    size: int
    users: int = 0


@dataclass(eq=False)
class Job:
    """A prediction that was asked for.

    Attributes:
        model: the name by which it was chosen.
        second, duration: how far it is, s; None where it is unknown.
        warnings: what the reader said of the file.
        answer: what came of it.
        ended: when, by the monotonic clock.
        given_up: nobody waits for it any more.
    """

    id: str
    recording: Recording
    model: str
    options: Options
    second: float | None = None
    duration: float | None = None
    warnings: list[str] = field(default_factory=list)
    running: bool = False
    answer: Answer | None = None
    ended: float = 0.0
    given_up: bool = False
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def state(self) -> str:
        """waiting, running, done or failed."""
        if self.answer is None:
            return "running" if self.running else "waiting"
        return "failed" if self.answer.result is None else "done"

    def heed(self, kind: str, *said: Any) -> None:
        """Take in a message of the worker."""
        if kind == "at":
            self.second, self.duration = said
        elif kind == "warning" and len(self.warnings) < 10:
            text = str(said[0]).replace(str(self.recording.path), self.recording.name)
            self.warnings.append(printable(text))


class Desk:
    """The queue, the workers and the results. Its methods may be called from any thread.

    Args:
        models: paths by the names under which they can be chosen; the first is loaded at once.
        folder: for recordings; it is removed in the end.
    """

    def __init__(self, settings: Settings, models: dict[str, Path], folder: Path) -> None:
        self.settings, self.models, self.folder = settings, models, folder
        self.jobs: dict[str, Job] = {}
        self._waiting: deque[Job] = deque()
        self._change = threading.Condition()
        self._closed = threading.Event()
        self._recordings: set[Recording] = set()
        first, threads = str(next(iter(models.values()))), max(1, cores() // settings.workers)
        self._workers = [Worker(first, threads) for _ in range(settings.workers)]
        self._threads = [threading.Thread(target=self._tend, args=(w,), daemon=True) for w in self._workers]
        self._threads.append(threading.Thread(target=self._sweep, daemon=True))
        for thread in self._threads:
            thread.start()

    @property
    def ready(self) -> bool:
        """Whether some worker has loaded its model."""
        return any(worker.ready for worker in self._workers)

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._waiting)

    def check_room(self) -> None:
        """Refuse an upload for which there is no place in the queue."""
        if len(self._waiting) >= self.settings.queue:
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{len(self._waiting)} recordings wait already, no more are taken: try again in a while",
                wait=30,
            )

    def receive(self, stream: BinaryIO, name: str | None) -> Recording:
        """Keep an upload under a name of the server's own.

        Raises:
            Refusal: it is empty, or there is no place for it.
        """
        self.check_room()
        name = shown_name(name)
        suffix = Path(name).suffix.lower()
        folder = self.folder / secrets.token_hex(8)
        path = folder / f"recording{suffix if suffix in MEDIA_SUFFIXES else ''}"
        try:
            folder.mkdir()
            with path.open("wb") as file:
                shutil.copyfileobj(stream, file, 1 << 20)
            size = path.stat().st_size
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            _log.warning("an upload cannot be kept (%s)", error)
            status = HTTPStatus.INSUFFICIENT_STORAGE
            raise Refusal(status, f"{name} cannot be kept ({error.strerror}): tell the operator") from None
        if not size:
            shutil.rmtree(folder, ignore_errors=True)
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"{name} is empty: give a video or sound file")
        recording = Recording(path, name, size)
        with self._change:
            self._recordings.add(recording)
            self._make_room()
        return recording

    def submit(self, recording: Recording, model: str, options: Options) -> Job:
        """Put a job in the queue.

        Raises:
            Refusal: the queue is full, or the recording is gone.
        """
        job = Job(secrets.token_urlsafe(16), recording, model, options)
        with self._change:
            try:
                self.check_room()
                if recording not in self._recordings:
                    raise Refusal(HTTPStatus.GONE, f"{recording.name} is deleted: upload it again")
            except Refusal:
                self._release(recording)
                raise
            recording.users += 1
            self.jobs[job.id] = job
            self._waiting.append(job)
            self._make_room()
            self._change.notify()
        return job

    def find(self, id: str) -> Job:
        """A job by its id.

        Raises:
            Refusal: there is none, or it has expired.
        """
        try:
            return self.jobs[id]
        except KeyError:
            keep = f"{self.settings.keep:g} min"
            raise Refusal(
                HTTPStatus.NOT_FOUND, f"there is no such job (results are kept for {keep}): upload the file again"
            ) from None

    def position(self, job: Job) -> int | None:
        """How many jobs are before one in the queue; None where it does not wait."""
        with self._change:
            return self._waiting.index(job) if job in self._waiting else None

    def drop(self, job: Job) -> None:
        """Forget a job, and its recording where no other job is on it. One under way is stopped."""
        with self._change:
            if self.jobs.pop(job.id, None) is None:
                return
            job.given_up = True
            if job in self._waiting:
                self._waiting.remove(job)
            job.recording.users -= 1
            if not job.running:
                self._release(job.recording)
        job.done.set()

    def close(self) -> None:
        """End the workers and delete everything."""
        with self._change:
            self._closed.set()
            for job in self.jobs.values():
                job.given_up = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()
        for worker in self._workers:
            worker.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _tend(self, worker: Worker) -> None:
        """Give a worker job after job."""
        while not self._closed.is_set():
            with self._change:
                if not self._waiting:
                    self._change.wait(SWEEP if worker.ready else 0.2)
                job = self._waiting.popleft() if self._waiting else None
                if job is not None:
                    job.running = True
            if job is None:
                worker.look()
                continue
            answer = self._answer(worker, job)
            with self._change:
                job.running, job.answer, job.ended = False, answer, time.monotonic()
                if job.given_up:
                    self._release(job.recording)
            job.done.set()

    def _answer(self, worker: Worker, job: Job) -> Answer:
        file, longest = job.recording, 60 * self.settings.max_minutes
        task = Task(file.path, file.name, str(self.models[job.model]), job.options, longest)
        try:
            return worker.ask(task, job.heed, lambda: job.given_up, self.settings.timeout)
        except Exception as error:  # the queue goes on, whatever happens
            _log.exception("a job failed")
            sentence = f"avser itself failed on {file.name} ({type(error).__name__}); please report this"
            return Answer(status=HTTPStatus.INTERNAL_SERVER_ERROR, error=sentence)

    def _sweep(self) -> None:
        """Drop what has expired, again and again."""
        while not self._closed.wait(SWEEP):
            oldest = time.monotonic() - 60 * self.settings.keep
            for job in list(self.jobs.values()):
                if job.answer is not None and job.ended < oldest:
                    self.drop(job)

    def _make_room(self) -> None:
        """Drop the oldest results while there are too many, or too many bytes of recordings."""
        ended = [job for job in self.jobs.values() if job.answer is not None]  # in order of their beginning
        while ended and (len(self.jobs) > HELD or self._size() > ROOM * self.settings.upload_bytes):
            self.drop(ended.pop(0))

    def _size(self) -> int:
        return sum(recording.size for recording in self._recordings)

    def _release(self, recording: Recording) -> None:
        """Delete a recording on which there is no job any more."""
        if recording.users <= 0 and recording in self._recordings:
            self._recordings.remove(recording)
            shutil.rmtree(recording.path.parent, ignore_errors=True)


def shown_name(name: str | None) -> str:
    """A file's name as it is shown: without folders, on one line, not too long.

    >>> shown_name("../../etc/pass\\nwd"), shown_name("C:\\\\clips\\\\a.mp4"), shown_name("..")
    ('pass wd', 'a.mp4', 'recording')
    """
    last = printable((name or "").replace("\\", "/").rpartition("/")[2].replace("\0", ""))
    stem, dot, suffix = last.rpartition(".")
    if len(last) > LONGEST_NAME:
        last = f"{stem[: LONGEST_NAME - 10]}…{dot}{suffix[:8]}" if dot else f"{last[:LONGEST_NAME]}…"
    return last if last.strip(". ") else "recording"
