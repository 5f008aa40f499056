"""What a job has done, kept in its output folder, so that the next run can leave out what would not change."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from avser.caching import file_digest
from avser.options import Options
from avser.results import RESULT_SCHEMA_VERSION
from avser.types import AvserError

JOURNAL = ".avser-journal.jsonl"
"""Name of the journal in the output folder: one JSON object a line, the last one on a result counts."""


@dataclass(frozen=True)
class Content:
    """What a file held when it was read: its size, when it was last written to (ns), and a digest of its bytes."""

    size: int
    written: int
    digest: str

    @classmethod
    def of(cls, path: Path) -> Content | None:
        """The content of a file; None where it cannot be read, or is written to meanwhile."""
        try:
            before = path.stat()
            digest = file_digest(path).hexdigest()
            after = path.stat()
        except (OSError, AvserError):
            return None
        same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        return cls(after.st_size, after.st_mtime_ns, digest) if same else None

    def is_in(self, path: Path, unmoved: bool) -> bool:
        """Whether a file holds this. Where it was `unmoved`, size and time tell, else all its bytes."""
        try:
            status = path.stat()
        except OSError:
            return False
        if status.st_size != self.size:
            return False
        if unmoved and status.st_mtime_ns == self.written:
            return True
        found = Content.of(path)
        return found is not None and found.digest == self.digest


@dataclass(frozen=True)
class Entry:
    """One file that is done.

    Attributes:
        stem: of its results.
        path: of the file, absolute.
        content: what it held.
        settings: digest of all that the results depend on besides.
        outputs: size of each file written, by its place below the output folder.
        facts: what the summary says, see `avser.batch.tally`.
    """

    stem: str
    path: str
    content: Content
    settings: str
    outputs: Mapping[str, int]
    facts: Mapping[str, str]

    def holds(self, path: Path, settings: str, folder: Path, targets: list[Path]) -> bool:
        """Whether this work need not be done again: same content, same settings, all results still there."""
        if settings != self.settings:
            return False
        for target in targets:
            try:
                if target.stat().st_size != self.outputs.get(below(folder, target)):
                    return False
            except OSError:
                return False
        return self.content.is_in(path, unmoved=str(path.absolute()) == self.path)


def below(folder: Path, target: Path) -> str:
    """The name of a result in the journal."""
    return target.relative_to(folder).as_posix()


def settings_digest(model: str, options: Options) -> str:
    """Digest of what results depend on besides the file: the model's (digest of its file), settings, schema."""
    facts = {"model": model, "schema": RESULT_SCHEMA_VERSION, **asdict(options)}
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()


class Journal:
    """The journal of an output folder. Memory holds where the entries lie, not what they say.

    A line that was cut off by a crash, or says something else, is passed over. A file comes into being with the
    first entry.

    Args:
        folder: the output folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / JOURNAL
        self._places: dict[str, int] = {}
        self._file: BinaryIO | None = None
        if self.path.exists():
            self._open()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def find(self, stem: str) -> Entry | None:
        """The last entry on a result."""
        if self._file is None or stem not in self._places:
            return None
        self._file.seek(self._places[stem])
        return _parsed(self._file.readline())

    def add(self, entry: Entry) -> None:
        """Note that a file is done.

        Raises:
            AvserError: it cannot be noted.
        """
        file = self._open() if self._file is None else self._file
        with self._errors():
            file.write(json.dumps(asdict(entry)).encode() + b"\n")
            file.flush()

    def _open(self) -> BinaryIO:
        with self._errors():
            self._file = file = self.path.open("a+b")
            file.seek(0)
            place, line = 0, b"\n"
            for line in file:
                entry = _parsed(line)
                if entry is not None:
                    self._places[entry.stem] = place
                place += len(line)
            if not line.endswith(b"\n"):  # a torn line would swallow the next one
                file.write(b"\n")
        return file

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = error.strerror or error
            raise AvserError(f"{self.path}: cannot be written ({why}); choose another -o") from None


def _parsed(line: bytes) -> Entry | None:
    try:
        values = json.loads(line)
        return Entry(**{**values, "content": Content(**values["content"])})
    except (ValueError, TypeError, KeyError):
        return None
