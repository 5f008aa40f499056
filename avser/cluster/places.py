"""Files that lie on this machine or elsewhere: read, fetched and replaced by paths and by URLs alike.

A path, or a URL that begins with `file://`, is opened as it is. Any other URL is a matter of pyarrow's file
systems (`s3://`, `gs://`, `hdfs://`), or else of fsspec's, which asks for the package of its protocol. What they
raise is not of one kind, so any exception of theirs becomes a sentence here.
"""

from __future__ import annotations

import contextlib
import functools
import posixpath
import re
import urllib.parse
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from avser.caching import stream_digest
from avser.files import replacing
from avser.media.paths import existing_file, show
from avser.types import AvserError, ConfigError, MediaError

if TYPE_CHECKING:
    from pyarrow import fs

BLOCK = 2**20
"""Bytes that are fetched at once."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


def absolute(place: str, folder: str = "") -> str:
    """Where a path or URL leads, seen from a folder (a path or URL; by default the current one).

    >>> absolute("clips/a b.mp4", "s3://bucket/lists"), absolute("/a.mp4", "s3://bucket"), absolute("file:///a%20b.mp4")
    ('s3://bucket/lists/clips/a b.mp4', '/a.mp4', '/a b.mp4')
    """
    if place.lower().startswith("file://"):
        return urllib.parse.unquote(urllib.parse.urlsplit(place).path)
    if _URL.match(place):
        return place
    if is_remote(folder) and not place.startswith("/"):
        return f"{folder.rstrip('/')}/{place}"
    return str(Path(folder, place).absolute())


def is_remote(place: str) -> bool:
    """Whether an absolute place is a URL.

    >>> is_remote("s3://bucket/a.mp4"), is_remote("/clips/a.mp4")
    (True, False)
    """
    return _URL.match(place) is not None


def parent(place: str) -> str:
    """The folder of an absolute place."""
    return posixpath.dirname(place) if is_remote(place) else str(Path(place).parent)


@contextlib.contextmanager
def reading(place: str) -> Iterator[IO[bytes]]:
    """A file that is open for reading, as bytes.

    Raises:
        FileNotFoundError: there is none. Other errors are those of its file system.
    """
    if not is_remote(place):
        with Path(place).open("rb") as file:
            yield file
        return
    system, path = _system(place)
    with system.open_input_stream(path, compression=None, buffer_size=BLOCK) as file:
        yield file


def content(place: str) -> bytes | None:
    """All bytes of a file; None where there is none.

    Raises:
        AvserError: it cannot be read.
    """
    try:
        with reading(place) as file:
            return file.read()
    except FileNotFoundError:
        return None
    except Exception as error:
        raise AvserError(f"{show(place)}: cannot be read ({reason(error)}); check the folder") from None


def replace(place: str, data: bytes) -> None:
    """Write a file that appears under its name only when it is complete, in place of an older one.

    Raises:
        AvserError: it cannot be written.
    """
    try:
        if not is_remote(place):
            with replacing(Path(place)) as temporary:
                temporary.write_bytes(data)
            return
        system, path = _system(place)
        folder, name = posixpath.split(path)
        system.create_dir(folder, recursive=True)
        hidden = f"{folder}/.{uuid.uuid4().hex}-{name}.tmp"  # readers of tables pass over it
        with system.open_output_stream(hidden) as file:
            file.write(data)
        system.move(hidden, path)
    except Exception as error:
        raise AvserError(f"{show(place)}: cannot be written ({reason(error)}); choose another -o") from None


def remove(folder: str) -> None:
    """Remove a folder with all in it, if it is there."""
    with contextlib.suppress(OSError):
        system, path = _system(folder)
        system.delete_dir(path)


def stand(place: str) -> tuple[int, int]:
    """Size of a file in bytes, and when it was last written to (ns; 0 where the file system does not tell).

    Raises:
        MediaError: there is no such file, or it cannot be asked after.
    """
    if not is_remote(place):
        status = existing_file(Path(place)).stat()
        return status.st_size, status.st_mtime_ns
    from pyarrow import fs

    try:
        system, path = _system(place)
        info = system.get_file_info(path)
    except ConfigError:
        raise
    except Exception as error:
        raise MediaError(f"{show(place)} cannot be asked after ({reason(error)}): check the name") from None
    if info.type == fs.FileType.NotFound:
        raise MediaError(f"there is no file {show(place)}: check the name")
    if info.type == fs.FileType.Directory:
        raise MediaError(f"{show(place)} is a folder: name a file in it")
    return info.size or 0, info.mtime_ns or 0


def fetch(place: str, folder: Path, limit: int) -> Path:
    """A copy of a file from elsewhere in a folder of this machine.

    Args:
        limit: most bytes that are fetched.

    Raises:
        MediaError: there is no such file, it is larger than that, or it cannot be fetched.
    """
    size, _ = stand(place)
    _check_size(place, size, limit)
    suffix = posixpath.splitext(place)[1]
    copy = folder / f"copy{suffix if _SUFFIX.fullmatch(suffix) else ''}"
    try:
        with reading(place) as source, copy.open("wb") as target:
            while block := source.read(BLOCK):
                target.write(block)
                _check_size(place, target.tell(), limit)
    except AvserError:
        raise
    except Exception as error:
        raise MediaError(f"{show(place)} cannot be fetched ({reason(error)}): try again later") from None
    return copy


def digest(place: str) -> str:
    """Digest of the bytes of a file, as of `avser.caching.file_digest`.

    Raises:
        MediaError: it cannot be read.
    """
    try:
        with reading(place) as file:
            return stream_digest(file).hexdigest()
    except Exception as error:
        raise MediaError(f"{show(place)} cannot be fetched ({reason(error)}): try again later") from None


def reason(error: Exception) -> str:
    """Why a file system refused, in one line."""
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())


def _check_size(place: str, size: int, limit: int) -> None:
    if size > limit:
        raise MediaError(
            f"{show(place)} has more than {limit / 1e9:g} GB, the most that is fetched: raise --max-fetch, or put "
            "it where all machines can open it"
        )


def _system(place: str) -> tuple[fs.FileSystem, str]:
    """The file system of an absolute place, and the path there."""
    from pyarrow import fs

    if not is_remote(place):
        return fs.LocalFileSystem(), place
    scheme, rest = place.split("://", 1)
    bucket, _, key = rest.partition("/")
    system, root = _root(scheme, bucket)
    return system, posixpath.join(root, key)


@functools.lru_cache(maxsize=64)
def _root(scheme: str, bucket: str) -> tuple[fs.FileSystem, str]:
    """The file system of a URL and the path of its root, opened once: keys may hold what no URL may."""
    import fsspec
    import pyarrow as pa
    from pyarrow import fs

    url = f"{scheme}://{bucket}/"
    try:
        return fs.FileSystem.from_uri(url)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # not one of pyarrow's
        pass
    try:
        system, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(f"{show(url)}: this kind of place cannot be opened ({said})") from None
    return fs.PyFileSystem(fs.FSSpecHandler(system)), root
