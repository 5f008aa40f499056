"""Many files, in one process or several: results written as they come, failures kept apart, nothing done twice."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avser import checkpoint, writers
from avser.batch import journal, sources, tally
from avser.batch.journal import Content, Entry, Journal
from avser.batch.sources import Source
from avser.batch.tasks import Outcome, Task, perform
from avser.batch.workers import Pool, Progress
from avser.caching import file_digest
from avser.media.paths import MEDIA_SUFFIXES, show
from avser.options import Options
from avser.recognizer import Recognizer, load_model
from avser.results import Result
from avser.runtime import cores
from avser.types import ConfigError


@dataclass(frozen=True)
class Job:
    """What to predict and where to put it.

    Attributes:
        sources: files, folders, patterns and lists, as for `avser.batch.sources.find`.
        output: folder for the results, or one file if there is one source; None writes nothing.
        formats: names of `avser.writers.WRITERS`.
        model, runtime: as for `load_model`.
        options: settings of the prediction.
        list_file: file with a path a line. manifest: CSV with a row a file; see `avser.batch.manifests`.
        workers: processes that share the work; 0 for as many as there are cores.
        resume: leave out what an earlier run has done with the same content and settings.
    """

    sources: Sequence[str | Path] = ()
    output: Path | None = None
    formats: tuple[str, ...] = ("json",)
    model: str = "av-base"
    options: Options = field(default_factory=Options)
    list_file: str | None = None
    manifest: str | None = None
    workers: int = 1
    resume: bool = False
    runtime: str = "auto"


@dataclass(frozen=True)
class Step:
    """One file of a job: its result and the files written, or the sentence that says why there are none.

    Attributes:
        kept: whether an earlier run has done it; `result` is None then.
        facts: what the summary says of it, see `avser.batch.tally`.
    """

    source: Source
    result: Result | None = None
    written: tuple[Path, ...] = ()
    error: str | None = None
    kept: bool = False
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.source.path)


class Batch:
    """A job under way. What is wrong with the request is found before the first file is opened.

    Attributes:
        sources: its files, and what was named and is none.
        labels: the model's emotions.
        size: bytes of all files.

    Raises:
        ConfigError: unknown format, a list or manifest that makes no sense, or an output that cannot take these
            results.
        ModelError: unknown model, or one without the modality.
    """

    def __init__(self, job: Job) -> None:
        if job.workers < 0:
            raise ConfigError(f"workers ({job.workers}) must not be below zero")
        writers.check(job.formats)
        self.job = job
        reserved = (Path(tally.SUMMARY).stem, Path(tally.FAILURES).stem) if "csv" in job.formats else ()
        found = sources.find(job.sources, job.options, job.list_file, job.manifest, reserved)
        self.sources, self._columns = found.sources, found.columns
        self.size = sum(source.size for source in self.sources)
        self._single = _single_file(job, sum(source.error is None for source in self.sources))
        self.folder = None if self._single else job.output
        if job.resume and self.folder is None:
            raise ConfigError("--resume needs the folder of the earlier results; give it to -o")
        self._spare_sources()
        model = load_model(job.model, job.runtime)
        self.labels = model.labels
        self._options = {options: model.check(options) for options in {s.options for s in self.sources}}
        self.workers = min(job.workers or cores(), max(1, len(self.sources)))
        self._model: Recognizer | None = model if self.workers == 1 else None  # each worker loads its own
        if any(source.error is None for source in self.sources):
            self._make_folder()

    def __len__(self) -> int:
        return len(self.sources)

    def run(self, progress: Progress | None = None) -> Generator[Step]:
        """Predict file by file; an error of one file is its step, and the next one follows.

        What was done before and what cannot be found comes first, then the files in their order; several workers
        end in any order. Closing the iterator ends them.

        Args:
            progress: called with the file, the second of it that is reached, and its length (s; None if unknown).
        """
        with contextlib.ExitStack() as stack:
            folder = self.folder if self.folder and self.folder.is_dir() else None
            notes = stack.enter_context(Journal(folder)) if folder else None
            table = None
            if folder and (len(self) > 1 or self.job.manifest or self.job.list_file):
                table = stack.enter_context(tally.Tables(folder, self.labels, self._columns))
            for step in self._steps(notes, progress or (lambda *_: None)):
                if table:
                    table.add(step.facts, step.source.extra)
                yield step

    def _steps(self, notes: Journal | None, progress: Progress) -> Iterator[Step]:
        model = file_digest(checkpoint.find_model(self.job.model)).hexdigest() if notes else ""
        digests = {o: journal.settings_digest(model, checked) for o, checked in self._options.items()}
        left = []
        for source in self.sources:
            step = self._problem(source) or self._kept(source, notes, digests[source.options])
            if step:
                yield step
            else:
                left.append(source)
        tasks = (Task(s, self._options[s.options], self._targets(s), remember=notes is not None) for s in left)
        for task, outcome in self._outcomes(tasks, min(self.workers, len(left)), progress):
            step = self._step(task, outcome)
            if notes and outcome.content:
                self._note(notes, step, outcome.content, digests[task.source.options])
            yield step

    def _outcomes(self, tasks: Iterator[Task], workers: int, progress: Progress) -> Iterator[tuple[Task, Outcome]]:
        if self._model is not None:
            for task in tasks:
                yield task, perform(self._model, task, functools.partial(progress, task.source))
        elif workers > 0:
            with Pool(workers, self.job.model, self.job.runtime) as pool:
                yield from pool.run(tasks, progress)

    def _problem(self, source: Source) -> Step | None:
        if source.error is None:
            return None
        facts = {"path": source.path, "status": "failed", "error": source.error}
        return Step(source, error=source.error, facts=facts)

    def _kept(self, source: Source, notes: Journal | None, settings: str) -> Step | None:
        """The step of a file that need not be done again."""
        if notes is None or not self.job.resume:
            return None
        entry = notes.find(source.stem)
        targets = [target for target, _ in self._targets(source)]
        if entry is None or not entry.holds(Path(source.path), settings, notes.folder, targets):
            return None
        facts = {**entry.facts, "path": source.path, "status": "kept"}
        return Step(source, written=tuple(targets), kept=True, facts=facts)

    def _step(self, task: Task, outcome: Outcome) -> Step:
        facts = {"path": task.source.path, "status": "failed", "seconds": f"{outcome.seconds:.3f}"}
        if outcome.result is None:
            return Step(task.source, error=outcome.error, facts=facts | {"error": outcome.error or ""})
        written = tuple(target for target, _ in task.targets)
        names = [journal.below(self.folder, target) if self.folder else str(target) for target in written]
        facts |= {"status": "done", **tally.facts(outcome.result, outcome.seconds, names)}
        return Step(task.source, outcome.result, written, facts=facts)

    def _note(self, notes: Journal, step: Step, content: Content, settings: str) -> None:
        outputs = {}
        for target in step.written:
            with contextlib.suppress(OSError):  # gone already: it will be done anew
                outputs[journal.below(notes.folder, target)] = target.stat().st_size
        path = str(step.path.absolute())
        notes.add(Entry(step.source.stem, path, content, settings, outputs, step.facts))

    def _targets(self, source: Source) -> tuple[tuple[Path, str], ...]:
        """The files to write for a source, with the format of each."""
        if self._single:
            return ((self._single, self._single.suffix.removeprefix(".").lower()),)
        if self.folder is None or source.error is not None:
            return ()
        return tuple((self.folder / f"{source.stem}.{name}", name) for name in dict.fromkeys(self.job.formats))

    def _spare_sources(self) -> None:
        """Make sure that no result takes the place of a file that is to be read.

        Raises:
            ConfigError: one would.
        """
        formats = [name for name in self.job.formats if f".{name}" in MEDIA_SUFFIXES]
        if not formats and not self._single:
            return
        read = {Path(source.path).absolute() for source in self.sources}
        for source in self.sources:
            for target, _ in self._targets(source):
                if target.absolute() in read:
                    raise ConfigError(f"{show(target)}: is a file to be read; choose another -o")

    def _make_folder(self) -> None:
        """Make the output folder now: one that cannot be made should not be found after hours of work."""
        output = self.job.output
        if output is None:
            return
        try:
            (self.folder or output.parent).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{output}: cannot be written ({error.strerror or error}); choose another -o"
            ) from None


def _single_file(job: Job, count: int) -> Path | None:
    """The one file that takes the results, where a file and not a folder is asked for."""
    output = job.output
    if output is None or output.is_dir():
        return None
    if output.suffix.removeprefix(".").lower() in writers.WRITERS:
        if count > 1:
            raise ConfigError(f"{output}: one file cannot take {count} results; give a folder to -o")
        return output
    if output.exists():
        raise ConfigError(f"{output}: is a file; give a folder to -o, or a name that ends in .json or .csv")
    return None
