"""Which file belongs to which piece of the tables: a manifest of any length, sorted by pieces in constant memory.

A piece is what one worker does at a time and what is written at once. Files go to pieces by a hash of their names,
so that a file finds its piece again whatever else a manifest holds. The plan lies below the output folder, where
all machines read it, in parts of some thousand files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import math
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from avser.batch import manifests
from avser.cluster import places
from avser.media.paths import show
from avser.options import Options
from avser.types import AvserError, ConfigError

PLAN = ".plan"
"""Name of the plan's folder below the output folder."""
PART_FILES = 10_000
"""Files of one part of the plan, as long as there are not more than `MOST_PARTS`."""
MOST_PARTS = 500
"""A process may have about a thousand files open."""


@dataclass(frozen=True)
class Request:
    """One file of a manifest.

    Attributes:
        place: its absolute path or URL.
        output: the name that the manifest gives to its results, if any: one file may have several results.
        options: settings, checked by the model.
        given: cells of the manifest that are only carried along, by column.
    """

    place: str
    output: str | None
    options: Options
    given: dict[str, str]

    @property
    def id(self) -> str:
        """What tells it from all others: a digest of place and output."""
        return _digest(self.place, self.output or "").hex()

    def to_json(self) -> str:
        """As text of ASCII; a file's name may hold bytes that are no text."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def of(cls, values: dict) -> Request:
        """What `to_json` wrote, parsed."""
        return cls(**{**values, "options": Options(**values["options"])})


def requests(manifest: str, options: Options, check: Callable[[Options], Options]) -> Iterator[Request]:
    """The files of a manifest, row by row; see `avser.batch.manifests.rows` for its columns.

    Args:
        manifest: path or URL of a CSV; its paths are relative to its folder.
        options: settings of files for which it has no others.
        check: fills in what a model adds to settings, or refuses them.

    Raises:
        ConfigError: it cannot be read, or a row makes no sense.
        ModelError: the model does not have a modality that is asked for.
    """
    place = places.absolute(manifest)
    checked: dict[Options, Options] = {}  # millions of rows share a few
    try:
        with places.reading(place) as file:
            text = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
            lead = functools.partial(places.absolute, folder=places.parent(place))
            columns, wishes = manifests.parsed(text, show(manifest), lead, options)
            for wish in wishes:
                if wish.options not in checked:
                    checked[wish.options] = check(wish.options)
                given = {name: cell for name, cell in zip(columns, wish.extra, strict=True) if cell}
                yield Request(wish.path, wish.output, checked[wish.options], given)
    except AvserError:
        raise
    except Exception as error:  # see `places`
        why = places.reason(error)
        raise ConfigError(f"{show(manifest)}: the manifest cannot be read ({why}); check the name") from None


def piece_of(request: Request, pieces: int) -> int:
    """The piece of a file, from 0 to `pieces` - 1."""
    return int.from_bytes(_digest(request.place, request.output or "")[:8], "big") % pieces


@dataclass(frozen=True)
class Plan:
    """A plan that lies below an output folder.

    Attributes:
        folder: of the plan. parts: how many it has. files: how many files it names, each counted once.
    """

    folder: str
    parts: int
    files: int

    def read(self, part: int) -> Iterator[tuple[int, str]]:
        """Each piece of a part with its requests, as JSON, parted by tabs.

        Raises:
            AvserError: this machine does not see the plan.
        """
        data = places.content(_part(self.folder, part))
        if data is None:
            raise AvserError(
                f"{show(places.parent(self.folder))}: is not seen by machine {platform.node()}; give -o a folder "
                "that all machines share, or a URL"
            )
        for line in data.decode().splitlines():
            piece, _, files = line.partition(" ")
            yield int(piece), files

    def close(self) -> None:
        """Remove it from the output folder."""
        places.remove(self.folder)


def write_plan(wanted: Iterator[Request], count: int, pieces: int, output: str) -> Plan:
    """Sort files by pieces, on the disk of this machine, and put the plan below the output folder.

    Args:
        wanted: the files. count: how many there are. pieces: of the tables. output: absolute place.

    Raises:
        ConfigError: a file is named twice with different settings.
        AvserError: the plan cannot be written.
    """
    parts = min(MOST_PARTS, pieces, max(1, math.ceil(count / PART_FILES)))
    folder = places.absolute(PLAN, output)
    places.remove(folder)  # that of a run which was killed
    files = 0
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        names = [Path(scratch, str(part)) for part in range(parts)]
        heaps = [stack.enter_context(name.open("w", encoding="ascii")) for name in names]
        for request in wanted:
            piece = piece_of(request, pieces)
            heaps[piece % parts].write(f"{piece} {request.to_json()}\n")
        for part, heap in enumerate(heaps):
            heap.close()
            by_piece = _sorted(names[part])
            files += sum(map(len, by_piece.values()))
            lines = (f"{piece} " + "\t".join(by_piece[piece].values()) for piece in sorted(by_piece))
            places.replace(_part(folder, part), "\n".join(lines).encode())
            names[part].unlink()
    return Plan(folder, parts, files)


def _sorted(heap: Path) -> dict[int, dict[str, str]]:
    """The requests of a part, by piece and id; each once."""
    by_piece: dict[int, dict[str, str]] = {}
    with heap.open(encoding="ascii") as lines:
        for line in lines:
            piece, _, text = line.rstrip("\n").partition(" ")
            request = Request.of(json.loads(text))
            earlier = by_piece.setdefault(int(piece), {}).setdefault(request.id, text)
            if earlier != text and Request.of(json.loads(earlier)).options != request.options:
                raise ConfigError(
                    f"{show(request.place)}: is named twice with different settings; name the results of each row "
                    "in a column 'output'"
                )
    return by_piece


def _digest(*words: str) -> bytes:
    joined = "\0".join(words).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(joined, digest_size=16).digest()


def _part(folder: str, part: int) -> str:
    return places.absolute(f"{part:04d}.txt", folder)
