"""Many files, one after the other: results written as they come, failures kept apart, nothing lost by Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avser import media, writers
from avser.options import Options
from avser.recognizer import Recognizer, load_model
from avser.results import Result
from avser.types import AvserError, ConfigError


@dataclass(frozen=True)
class Job:
    """What to predict and where to put it.

    Attributes:
        sources: files, and folders that are searched for media.
        output: folder for the results, or one file if there is one source; None writes nothing.
        formats: names of `avser.writers.WRITERS`.
        model: as for `load_model`.
        options: settings of the prediction.
    """

    sources: Sequence[Path]
    output: Path | None = None
    formats: tuple[str, ...] = ("json",)
    model: str = "av-base"
    options: Options = field(default_factory=Options)


@dataclass
class Summary:
    """How a job ended: files done, a sentence for each that failed, whether Ctrl-C stopped it."""

    total: int = 0
    done: int = 0
    failures: list[str] = field(default_factory=list)
    interrupted: bool = False


@dataclass(frozen=True)
class Step:
    """One file of a job: its result and the files written, or the sentence that says why there are none."""

    path: Path
    result: Result | None = None
    written: tuple[Path, ...] = ()
    error: str | None = None


class Batch:
    """A job under way. What is wrong with the request is found before the first file is opened.

    Raises:
        ConfigError: unknown format, or an output that cannot take these results.
        ModelError: unknown model, or one without the modality.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.files, self.problems = _find(job.sources)
        self.targets = _targets(job, self.files)
        self.model: Recognizer = load_model(job.model)
        self.options = self.model.check(job.options)
        _make_folder(job.output, self.targets)

    def __len__(self) -> int:
        return len(self.files) + len(self.problems)

    def run(self, progress: Callable[[Path, float], None] | None = None) -> Iterator[Step]:
        """Predict file by file; an error of one file is its step, and the next one follows."""
        for path, problem in self.problems:
            yield Step(path, error=problem)
        for (_, path), targets in zip(self.files, self.targets, strict=True):
            report = (lambda second, path=path: progress(path, second)) if progress else None
            try:
                result = self.model.run(path, self.options, report)
                written = tuple(writers.write(result, target, name) for target, name in targets)
            except AvserError as error:
                yield Step(path, error=" ".join(str(error).split()))
            else:
                yield Step(path, result, written)


def _find(sources: Sequence[Path]) -> tuple[list[tuple[Path, Path]], list[tuple[Path, str]]]:
    """Files as (what was given, file), and what could not be found with the reason."""
    files, problems, seen = [], [], set()
    for source in sources:
        try:
            found = media.find_media(source)
        except AvserError as error:
            problems.append((source, " ".join(str(error).split())))
            continue
        for path in found:
            if (key := path.absolute()) not in seen:
                seen.add(key)
                files.append((source, path))
    return files, problems


def _targets(job: Job, files: Sequence[tuple[Path, Path]]) -> list[list[tuple[Path, str]]]:
    """The files to write for each source, with the format of each."""
    if unknown := [name for name in job.formats if name not in writers.WRITERS]:
        raise ConfigError(f"unknown output format {unknown[0]!r}: choose from {', '.join(writers.WRITERS)}")
    if job.output is None:
        return [[] for _ in files]
    suffix = job.output.suffix.removeprefix(".").lower()
    if suffix in writers.WRITERS and not job.output.is_dir():
        if len(files) > 1:
            raise ConfigError(f"{job.output}: one file cannot take {len(files)} results; give a folder to -o")
        return [[(job.output, suffix)] for _ in files]
    if job.output.exists() and not job.output.is_dir():
        raise ConfigError(f"{job.output}: is a file; give a folder to -o, or a name that ends in .json or .csv")
    stems = writers.output_stems(files)
    return [[(job.output / f"{stem}.{name}", name) for name in job.formats] for stem in stems]


def _make_folder(output: Path | None, targets: Sequence[list[tuple[Path, str]]]) -> None:
    """Make the folder for the results now: one that cannot be made should not be found after hours of work."""
    if output is None or not targets:
        return
    folder = output.parent if targets[0] and targets[0][0][0] == output else output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written ({error.strerror or error}); choose another -o") from None
