"""A process that predicts for the server, one recording after the other, with whatever model is asked for."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from multiprocessing import connection
from pathlib import Path

from avser import media
from avser.batch import manners
from avser.errors import own_fault
from avser.media.paths import show
from avser.options import Options
from avser.recognizer import Recognizer, load_model
from avser.results import Result
from avser.types import AvserError, MediaError

LOADED = 4
"""Models that a worker holds at the same time."""
GLANCE = 0.1
"""How often it is looked whether a job was given up, s."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """A recording to predict on.

    Attributes:
        path: where it lies. name: what its owner calls it, for messages.
        model: name or path of the model.
        longest: greatest length of a recording, s.
    """

    path: Path
    name: str
    model: str
    options: Options
    longest: float


@dataclass(frozen=True)
class Answer:
    """What came of a task: a result, or a status of HTTP and the sentence that says why there is none."""

    result: Result | None = None
    status: int = HTTPStatus.OK
    error: str | None = None


class Worker:
    """One process, as the server sees it. It is started anew where it has died.

    Args:
        model: the one that is loaded before anybody asks.
        threads: that a network and ffmpeg may use.
    """

    def __init__(self, model: str, threads: int) -> None:
        self._begin = functools.partial(manners.start, serve, model, threads)
        self.process, self.pipe = self._begin()
        self.ready = False

    def ask(
        self,
        task: Task,
        heed: Callable[..., None],
        given_up: Callable[[], bool],
        limit: float,
    ) -> Answer:
        """Have a task done.

        Args:
            heed: called with each message, `("at", second, duration)` or `("warning", text)`.
            given_up: whether nobody waits for the answer any more.
            limit: longest time it may take, s.
        """
        self.look()
        deadline = time.monotonic() + limit
        try:
            self.pipe.send(task)
            while True:
                if self.pipe.poll(GLANCE):
                    kind, *said = self.pipe.recv()
                    self.ready = True
                    if kind == "done":
                        return said[0]
                    heed(kind, *said)
                elif given_up():
                    manners.end(self.process)
                    return Answer(status=HTTPStatus.GONE, error=f"{task.name} was given up")
                elif time.monotonic() > deadline:
                    manners.end(self.process)
                    sentence = f"{task.name} took longer than {limit:g} s: give a shorter recording"
                    return Answer(status=HTTPStatus.GATEWAY_TIMEOUT, error=sentence)
        except (EOFError, OSError):
            why = manners.how_it_ended(self.process)
            sentence = f"the process that read {task.name} died ({why}): try again, or give another recording"
            return Answer(status=HTTPStatus.INTERNAL_SERVER_ERROR, error=sentence)

    def look(self) -> None:
        """See whether the process is there and ready; one that has died is started anew."""
        with contextlib.suppress(EOFError, OSError):
            if not self.ready and self.pipe.poll():
                self.ready = self.pipe.recv()[0] == "ready"
        if not self.process.is_alive():
            self.end()
            self.process, self.pipe = self._begin()
            self.ready = False

    def end(self) -> None:
        """End the process."""
        manners.end(self.process)
        self.pipe.close()


def serve(pipe: connection.Connection, model: str, threads: int) -> None:
    """What the process does: task after task, until its owner ends it."""
    tell = manners.settle(pipe)
    load = functools.lru_cache(LOADED)(load_model)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the owner is gone
        manners.set_threads(threads)
        with contextlib.suppress(AvserError):  # whoever asks for it will be told
            load(model)
        tell("ready")
        while True:
            task = pipe.recv()
            tell("done", perform(load, task, tell))


def perform(load: Callable[[str], Recognizer], task: Task, tell: manners.Tell) -> Answer:
    """Do a task. Whatever goes wrong is answered, not raised."""
    file = show(task.path)
    try:
        info = media.probe(task.path)
        report = manners.steadily(functools.partial(tell, "at"))

        def progress(second: float) -> None:
            if second > task.longest:
                raise _too_long(file, task.longest)
            report(second, info.duration)

        if (info.duration or 0.0) > task.longest:
            raise _too_long(file, task.longest)
        model = load(task.model)
        options = model.check(task.options)
        return Answer(model.run(task.path, options, progress, info))
    except AvserError as error:
        status, said = HTTPStatus.UNPROCESSABLE_ENTITY, str(error)
    except Exception as error:  # a fault of avser costs one job, not the server
        _log.debug("%s", file, exc_info=True)
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        said = own_fault(file, error)
    return Answer(status=status, error=" ".join(said.split()).replace(file, task.name))


def _too_long(file: str, longest: float) -> MediaError:
    return MediaError(f"{file} lasts longer than {longest / 60:g} min: cut it in parts")
