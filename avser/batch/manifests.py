"""Files that name files: a list with one path a line, and a CSV manifest with settings for each."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydantic

from avser.media.paths import show
from avser.options import Options
from avser.types import ConfigError

DELIMITERS = ",;\t"
"""What may part the columns of a manifest; its first line tells which."""

_SETTINGS = pydantic.TypeAdapter(Options)
_NAMES = tuple(field.name for field in dataclasses.fields(Options))


@dataclass(frozen=True, slots=True)
class Wish:
    """A path that somebody named, before anybody looked whether it exists.

    Attributes:
        path: a file or folder.
        options: settings for what lies there.
        pattern: whether it may have wildcards.
        root: folder below which the results keep the place of their files; None for none.
        output: stem of the results, if a manifest names it.
        extra: cells of a manifest that are only carried along.
    """

    path: str
    options: Options
    pattern: bool = True
    root: str | None = None
    output: str | None = None
    extra: tuple[str, ...] = ()


def listed(name: str, options: Options) -> Iterator[Wish]:
    """The lines of a list: files, folders or patterns, relative to the list's folder.

    Empty lines and those that begin with # are left out. Where the list holds a zero byte, zero bytes part the
    paths (as `find -print0` does), which may then hold anything.

    Args:
        name: of the list; - for standard input, whose paths are relative to the current folder.

    Raises:
        ConfigError: it cannot be read.
    """
    content = _content(name, "list")
    folder = "" if name == "-" else str(Path(name).parent)
    if b"\0" in content:
        lines = [line for line in content.split(b"\0") if line]
    else:
        lines = [line for line in content.splitlines() if line.strip() and not line.startswith(b"#")]
    for line in lines:
        yield Wish(str(Path(folder, os.fsdecode(line))), options, root=folder)


def rows(name: str, options: Options) -> tuple[tuple[str, ...], Iterator[Wish]]:
    """The rows of a manifest: a CSV with column `path`, relative to the manifest's folder.

    Column `output` names the results of a row, below the output folder; columns with names of settings (see
    `avser.options.Options`) hold settings for it. Empty cells leave all as it is.

    Args:
        name: of the manifest; - for standard input.

    Returns:
        names of the other columns, and the rows.

    Raises:
        ConfigError: it cannot be read, or a row makes no sense.
    """
    text = io.StringIO(_content(name, "manifest").decode("utf-8", "surrogateescape"), newline="")
    folder = "" if name == "-" else str(Path(name).parent)
    manifest = show("standard input" if name == "-" else name)
    columns, wishes = parsed(text, manifest, lambda path: str(Path(folder, path)), options)
    return columns, (dataclasses.replace(wish, root=folder) for wish in wishes)


def parsed(
    text: Iterable[str], manifest: str, place: Callable[[str], str], options: Options
) -> tuple[tuple[str, ...], Iterator[Wish]]:
    """The rows of a manifest that is open already; see `rows`.

    Args:
        text: its lines, read one by one. manifest: its name, for messages.
        place: where a path of it leads.
    """
    lines = iter(text)
    first = next(lines, "")
    reader = csv.reader(itertools.chain([first], lines), delimiter=max(DELIMITERS, key=first.count), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
    except csv.Error as error:
        raise ConfigError(f"{manifest}: is no CSV ({error}); write it anew") from None
    if "path" not in header:
        raise ConfigError(f"{manifest}: has no column 'path'; name the columns in the first line")
    if doubled := [cell for cell in header if cell and header.count(cell) > 1]:
        raise ConfigError(f"{manifest}: has two columns {doubled[0]!r}; rename one")
    others = tuple(cell for cell in header if cell and cell not in ("path", "output", *_NAMES))
    return others, _wishes(reader, header, others, manifest, place, options)


def _wishes(
    reader,
    header: Sequence[str],
    others: Iterable[str],
    manifest: str,
    place: Callable[[str], str],
    options: Options,
) -> Iterator[Wish]:
    settings: dict[tuple[str, ...], Options] = {}  # thousands of rows share a few
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            where = f"{manifest}, line {reader.line_num}"
            if len(cells) > len(header):
                raise ConfigError(f"{where}: has more cells than the first line; put cells with commas in quotes")
            row = dict(zip(header, [*cells, *[""] * (len(header) - len(cells))], strict=True))
            if not row["path"]:
                raise ConfigError(f"{where}: names no path; fill it in or remove the line")
            values = tuple(row.get(key, "").strip() for key in _NAMES)
            if values not in settings:
                settings[values] = _settings(dict(zip(_NAMES, values, strict=True)), options, where)
            yield Wish(
                place(row["path"]),
                settings[values],
                output=_output(row.get("output", "").strip(), where),
                extra=tuple(row[key] for key in others),
            )
    except csv.Error as error:
        raise ConfigError(f"{manifest}, line {reader.line_num}: is no CSV ({error}); correct it") from None


def _settings(values: dict[str, str], options: Options, where: str) -> Options:
    given = {name: value for name, value in values.items() if value}
    try:
        return _SETTINGS.validate_python({**dataclasses.asdict(options), **given})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {name} is {values.get(name)!r}; {first['msg']}") from None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _output(text: str, where: str) -> str | None:
    if not text:
        return None
    path = Path(text)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise ConfigError(f"{where}: output {text!r} is no name below the output folder; give one")
    return str(path)


def _content(name: str, kind: str) -> bytes:
    """The bytes of a list or manifest, without a mark of their order."""
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{show(name)}: the {kind} cannot be read ({why}); check the name") from None
    return content.removeprefix(b"\xef\xbb\xbf")
