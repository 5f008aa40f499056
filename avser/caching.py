"""Arrays that took long to make, kept on disk for the next run: each in a file, or thousands in one.

`cached` keeps an array in a file of its own. A `Shelf` keeps those of a whole corpus in few large files that are
memory-mapped: they need no memory of their own, and processes that use the same ones share them.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import mmap
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from avser import __version__
from avser.files import cache_folder, replacing
from avser.types import Clip, DataError


def file_digest(path: Path) -> hashlib.blake2b:
    """Digest of the bytes of a file, to which more can be added.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb", buffering=0) as file:
            return stream_digest(file)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); get the file again") from None


def stream_digest(file: IO[bytes] | io.RawIOBase) -> hashlib.blake2b:
    """As `file_digest`, of a file that is open already."""
    digest = hashlib.blake2b(digest_size=16)
    while block := file.read(1 << 20):
        digest.update(block)
    return digest


def cached(clip: Clip, settings: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """An array from the cache, keyed by the file's content and the settings; made and stored if not there."""
    digest = file_digest(clip.path)
    digest.update(f"{clip.start}|{clip.end}|{settings}".encode())
    key = digest.hexdigest()
    path = cache_folder() / key[:2] / f"{key}.npy"
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        pass  # not there yet, or cut short by a crash: made anew
    array = make()
    # a full or read-only disk costs speed, not the result
    with contextlib.suppress(OSError), replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)
    return array


# Many arrays in one file

INDEX = np.dtype(
    [("key", "S48"), ("offset", "<u8"), ("dtype", "S8"), ("axes", "u1"), ("shape", "<u8", 4), ("sum", "<u4")]
)
"""What a pack tells of each array; `sum` is the CRC-32 of its bytes."""
END = struct.Struct("<QI8s")
"""How a pack ends: where its index begins, the index's CRC-32, and `MAGIC`."""
MAGIC = b"avserpk2"
ALIGNED = 64
"""Arrays begin at multiples of this, in bytes."""


def write_pack(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays of up to four axes, by keys of up to 48 letters: one after the other, behind them their index.

    Raises:
        OSError: it cannot be written.
    """
    rows = []
    with replacing(path) as temporary, temporary.open("wb") as file:
        for key, array in arrays.items():
            offset = -(-file.tell() // ALIGNED) * ALIGNED
            file.write(b"\0" * (offset - file.tell()))
            raw = array.tobytes()
            file.write(raw)
            shape = (*array.shape, *[0] * (4 - array.ndim))
            rows.append((key.encode(), offset, array.dtype.str.encode(), array.ndim, shape, zlib.crc32(raw)))
        start, index = file.tell(), np.array(rows, INDEX).tobytes()
        file.write(index + END.pack(start, zlib.crc32(index), MAGIC))


class Pack(Mapping[str, np.ndarray]):
    """The arrays of a pack by their keys, memory-mapped; what is written to them stays in this process."""

    def __init__(self, path: Path) -> None:
        """Raises OSError: there is none. ValueError: it is damaged."""
        self.path = path
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # of an empty file a ValueError
        if len(self._bytes) < END.size:
            raise ValueError(f"{path}: is cut short")
        start, checksum, magic = END.unpack(self._bytes[-END.size :])
        index = self._bytes[start : -END.size]
        if magic != MAGIC or zlib.crc32(index) != checksum:
            raise ValueError(f"{path}: is no pack, or a damaged one")
        self._index = np.frombuffer(index, INDEX)
        self._rows = {key.decode(): row for row, key in enumerate(self._index["key"].tolist())}

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: str) -> np.ndarray:
        """The array of a key. Raises ValueError: it is damaged."""
        _, offset, kind, axes, shape, checksum = self._index[self._rows[key]].tolist()
        shape = tuple(shape.tolist()[:axes])
        count = math.prod(shape)
        # of nothing there is no buffer
        array = np.frombuffer(self._bytes, kind.decode(), count, offset) if count else np.zeros(0, kind.decode())
        if zlib.crc32(array.data) != checksum:
            raise ValueError(f"{self.path}: the array {key} is damaged")
        return array.reshape(shape)


class Shelf:
    """Arrays of many clips in packs, of one kind: `keep` them in a `with` block, and take them by key after it.

    Packs are never changed, so that several processes may read the same shelf and add to it; where two make the
    same arrays, one's pack takes the place of the other's or lies beside it. A damaged pack is removed, and what
    it held is made anew. Where nothing can be written, arrays stay in memory.
    """

    def __init__(self, settings: str) -> None:
        """`settings` say how the arrays are made: those made otherwise, or by another version, are not found."""
        name = hashlib.blake2b(f"{__version__}|{settings}".encode(), digest_size=12).hexdigest()
        self.folder = cache_folder() / "packs" / name
        self._packs: dict[str, Pack] = {}  # by key
        self._arrays: dict[str, np.ndarray] = {}
        self._made: dict[str, np.ndarray] = {}  # and not yet written
        self._size = 0  # of these, in bytes
        self._digests: dict[Path, str] = {}
        self._written = time.monotonic()
        for path in sorted(self.folder.glob("*.pack")):
            self._open(path)

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()  # even if something went wrong: what is made is made

    def keep(self, clip: Clip, settings: str, make: Callable[[], np.ndarray]) -> str:
        """See that the array of a clip is there, and tell its key; it is made if it is not.

        Args:
            settings: what is particular to this clip's array.

        Raises:
            DataError: the clip's file cannot be read.
        """
        if clip.path not in self._digests:  # a file may hold many clips
            self._digests[clip.path] = file_digest(clip.path).hexdigest()
        what = f"{self._digests[clip.path]}|{clip.start}|{clip.end}|{clip.row}|{settings}"
        key = hashlib.blake2b(what.encode(), digest_size=16).hexdigest()
        if key not in self._arrays and key not in self._made and not self._find(key):
            self._made[key] = array = make()
            self._size += array.nbytes
            if self._size > LARGEST_PACK or time.monotonic() - self._written > LARGEST_LOSS:
                self._write()
        return key

    def __getitem__(self, key: str) -> np.ndarray:
        """An array that was kept, after the `with` block."""
        return self._arrays[key]

    def _find(self, key: str) -> bool:
        pack = self._packs.get(key)
        if pack is None:
            return False
        try:
            self._arrays[key] = pack[key]
        except ValueError:
            self._packs = {other: there for other, there in self._packs.items() if there is not pack}
            _discard(pack.path)
            return False
        return True

    def _write(self) -> None:
        """Put what was made into a pack, and from now on take it from there."""
        made, self._made, self._size, self._written = self._made, {}, 0, time.monotonic()
        if not made:
            return
        name = hashlib.blake2b("".join(made).encode(), digest_size=16).hexdigest()
        path = self.folder / f"{name}.pack"
        with contextlib.suppress(OSError):  # a full or read-only disk costs memory, not the result
            write_pack(path, made)
            self._open(path)
        self._arrays |= {key: array for key, array in made.items() if not self._find(key)}

    def _open(self, path: Path) -> None:
        try:
            pack = Pack(path)
        except ValueError:
            _discard(path)
        except OSError:
            pass  # gone since, or not ours to read
        else:
            self._packs |= dict.fromkeys(pack, pack)


LARGEST_PACK = 256 * 2**20
"""Bytes of arrays that are held in memory before they are written."""
LARGEST_LOSS = 60.0
"""Time after which what was made is written, s: no more is lost if the process is killed."""


def _discard(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
