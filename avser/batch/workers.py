"""Several processes that each hold a loaded model and take one file after the other.

A process that dies, for want of memory or by a fault in a library, costs nothing but the file it was at; another
one takes its place and tries that file once more.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import connection
from typing import Any

from avser.batch import affinity, manners
from avser.batch.sources import Source
from avser.batch.tasks import Outcome, Task, perform
from avser.media.paths import show
from avser.recognizer import load_model
from avser.runtime import cores
from avser.types import AvserError

TRIES = 2
"""How often a file is tried whose worker dies."""
FAILED_STARTS = 3
"""After so many processes that died before they could begin, no more are started."""

Progress = Callable[[Source, float, "float | None"], None]
"""Called with a file, the second of it that has been reached, and its length in s (None where it is unknown)."""

_log = logging.getLogger(__name__)


class Worker:
    """One process, as its owner sees it."""

    def __init__(self, model: str, runtime: str, threads: int, share: list[int]) -> None:
        self.task: Task | None = None
        self.ready = False
        self.share = share
        self.process, self.pipe = manners.start(_serve, model, runtime, threads, share)

    def give(self, task: Task | None) -> None:
        """Hand over the next task, or None to end. A process that has died will be found dead."""
        self.task, self.ready = task, True
        with contextlib.suppress(OSError):
            self.pipe.send(task)

    def bury(self) -> str:
        """How the dead process ended, in words."""
        self.pipe.close()
        return manners.how_it_ended(self.process)


class Pool:
    """Worker processes, which end with the context.

    Args:
        count: how many.
        model: name or path of the model that each loads. runtime: what runs its networks.
    """

    def __init__(self, count: int, model: str, runtime: str = "auto") -> None:
        self.count, self.model, self.runtime = count, model, runtime
        self.threads = max(1, cores() // count)
        self.workers: list[Worker] = []
        self._tasks: Iterator[Task] = iter(())
        self._again: list[Task] = []  # those whose worker has died
        self._deaths: Counter[Task] = Counter()
        self._failed_starts = 0

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        manners.end(*(worker.process for worker in self.workers))
        for worker in self.workers:
            worker.pipe.close()

    def run(self, tasks: Iterable[Task], progress: Progress) -> Iterator[tuple[Task, Outcome]]:
        """The tasks with what came of them, in the order in which they are done.

        A task is drawn when a worker is free for it.

        Raises:
            AvserError: no worker can be started.
        """
        self._tasks = iter(tasks)
        self.workers = [self._new(share) for share in affinity.shares(self.count)]
        while self.workers:
            by_pipe: dict[Any, Worker] = {worker.pipe: worker for worker in self.workers}
            for pipe in connection.wait(list(by_pipe)):
                worker = by_pipe[pipe]
                task = worker.task
                try:
                    kind, *said = worker.pipe.recv()
                except (EOFError, OSError):
                    yield from self._after_death(worker)
                    continue
                if kind == "at":
                    if task is not None:
                        progress(task.source, *said)
                elif kind == "warning":
                    _log.warning("%s", *said)
                elif kind == "refused":
                    raise AvserError(*said)
                else:  # ready or done
                    self._failed_starts = 0
                    worker.give(self._next())
                    if task is not None:
                        yield task, *said

    def _new(self, share: list[int]) -> Worker:
        return Worker(self.model, self.runtime, self.threads, share)

    def _next(self) -> Task | None:
        return self._again.pop() if self._again else next(self._tasks, None)

    def _after_death(self, worker: Worker) -> Iterator[tuple[Task, Outcome]]:
        """Replace a worker, and try its file once more or give it up."""
        why, task = worker.bury(), worker.task
        self.workers.remove(worker)
        if worker.ready and task is None:  # it was told to end
            for other in self.workers:  # its cores are free
                affinity.release(other.process.pid)
            return
        if task is not None:
            self._deaths[task] += 1
            if self._deaths[task] < TRIES:
                self._again.append(task)
            else:
                path = show(task.source.path)
                sentence = f"{path}: the process that read it died {TRIES} times ({why}); try it alone"
                yield task, Outcome(error=sentence)
        else:
            self._failed_starts += 1
        if self._failed_starts < FAILED_STARTS:
            self.workers.append(self._new(worker.share))
        elif not self.workers:
            raise AvserError(f"no worker process can be started ({why}); do without --workers")


def _serve(pipe: connection.Connection, model: str, runtime: str, threads: int, share: list[int]) -> None:
    """What a worker does: load the model, then file after file, until it is told to end or its owner is gone."""
    affinity.keep_to(share)
    tell = manners.settle(pipe)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the owner is gone
        manners.set_threads(threads)
        try:
            recognizer = load_model(model, runtime)
        except AvserError as error:
            tell("refused", str(error))
            return
        tell("ready")
        while (task := pipe.recv()) is not None:
            tell("done", perform(recognizer, task, manners.steadily(functools.partial(tell, "at"))))
