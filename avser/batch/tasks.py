"""One file of a job from beginning to end, in whatever process."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from avser import media, writers
from avser.batch.journal import Content
from avser.batch.sources import Source
from avser.errors import own_fault
from avser.media.paths import show
from avser.options import Options
from avser.recognizer import Recognizer
from avser.results import Result
from avser.types import AvserError

Report = Callable[[float, "float | None"], None]
"""Called with the second of the file that has been reached, and its length in s (None where it is unknown)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """What is to be done with a file.

    Attributes:
        source: the file.
        options: settings that the model has checked.
        targets: the files to write, with the format of each.
        remember: whether the content is to be told, for a journal.
    """

    source: Source
    options: Options
    targets: tuple[tuple[Path, str], ...] = ()
    remember: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a task: a result, or the sentence that says why there is none; and how long it took, in s."""

    result: Result | None = None
    error: str | None = None
    seconds: float = 0.0
    content: Content | None = None


def perform(model: Recognizer, task: Task, report: Report) -> Outcome:
    """Do a task. Whatever goes wrong with the file is told, not raised."""
    began = time.monotonic()
    path = Path(task.source.path)
    try:
        info = media.probe(path)
        report(0.0, info.duration)
        content = Content.of(path) if task.remember else None
        result = model.run(path, task.options, lambda second: report(second, info.duration), info)
        for target, name in task.targets:
            writers.write(result, target, name)
    except AvserError as error:
        return Outcome(error=" ".join(str(error).split()), seconds=time.monotonic() - began)
    except Exception as error:  # a fault of avser costs one file, not the job
        _log.debug("%s", show(path), exc_info=True)
        return Outcome(error=own_fault(show(path), error), seconds=time.monotonic() - began)
    return Outcome(result, seconds=time.monotonic() - began, content=content)
