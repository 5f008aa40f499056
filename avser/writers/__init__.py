"""Result to file, one format each. A file appears under its name only when it is complete.

To add a format, write a function and a line in `WRITERS`; the command line's choices come from there. The function
is one of two kinds:

- text: `function(result, file)` writes to an open text file (UTF-8, line ends as written).
- binary: `function(result, path, progress)` makes the file `path`, whose name is temporary (it ends in `.tmp`) but
  whose folder is that of the final file, and calls `progress(second)` with the second of the timeline that is
  written. It may take long and read `result.path` again.

A format that needs a library of an extra names both; the library is imported inside the function, late.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from avser.annotated_video import write_mp4
from avser.files import replacing
from avser.results import Result
from avser.types import AvserError, ConfigError, MissingExtraError
from avser.writers.annotations import write_textgrid
from avser.writers.page import write_html
from avser.writers.plot import write_png
from avser.writers.subtitles import write_srt, write_vtt
from avser.writers.tables import write_csv, write_json, write_parquet

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Writer:
    """How one format is written.

    Attributes:
        function: see the module's words on its two kinds.
        binary: which kind it is.
        library, extra: what must be there to write it, and the extra of avser that brings it.
    """

    function: Callable[..., None]
    binary: bool = False
    library: str | None = None
    extra: str | None = None


def write(result: Result, path: str | Path, format: str | None = None, progress: Progress | None = None) -> Path:
    """Write a result; the format follows from the suffix unless it is given.

    The file is written under a temporary name and renamed, so a half-written one is never found.

    Args:
        progress: called with the second of the timeline that is written, by formats that take long.

    Raises:
        ConfigError: the format is unknown, or the file is the video itself.
        MissingExtraError: the format needs a library that is not installed.
        AvserError: the file cannot be written.
    """
    path = Path(path)
    name = format or path.suffix.removeprefix(".").lower()
    writer = _known(name, f"{path}: ")
    _require(name, writer)
    if _same(path, result.path):
        raise ConfigError(f"{path}: is the file that was read; choose another -o")
    try:
        with replacing(path) as temporary:
            if writer.binary:
                writer.function(result, temporary, progress or (lambda second: None))
            else:
                # a file's name may hold bytes that are no text: they become \udc.., which JSON reads as they were
                with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                    writer.function(result, file)
    except OSError as error:
        raise AvserError(f"{path}: cannot be written ({error.strerror or error}); choose another -o") from None
    return path


def check(formats: Iterable[str]) -> None:
    """Make sure that these formats can be written, before any work is done.

    Raises:
        ConfigError: one is unknown.
        MissingExtraError: one needs a library that is not installed.
    """
    for name in formats:
        _require(name, _known(name))


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there
        return False


def _known(name: str, where: str = "") -> Writer:
    if name not in WRITERS:
        raise ConfigError(f"{where}unknown output format {name!r}: choose from {', '.join(WRITERS)}")
    return WRITERS[name]


def _require(name: str, writer: Writer) -> None:
    if writer.library is None:
        return
    try:
        importlib.import_module(writer.library)
    except ImportError as error:
        raise MissingExtraError(
            f"format {name!r} needs {writer.library}, which does not load ({error}): "
            f"pip install 'avser[{writer.extra}]'"
        ) from None


WRITERS: dict[str, Writer] = {
    "json": Writer(write_json),
    "csv": Writer(write_csv),
    "parquet": Writer(write_parquet, binary=True, library="pyarrow", extra="parquet"),
    "srt": Writer(write_srt),
    "vtt": Writer(write_vtt),
    "mp4": Writer(write_mp4, binary=True),
    "html": Writer(write_html, binary=True),
    "png": Writer(write_png, binary=True, library="matplotlib", extra="plots"),
    "textgrid": Writer(write_textgrid, binary=True, library="praatio", extra="textgrid"),
}
