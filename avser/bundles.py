"""TensorFlow's variables files (`variables.index` with `variables.data-…`) as arrays, without TensorFlow.

The index is a LevelDB table from names to records of where each tensor lies (TensorFlow's `tensor_bundle.proto`).
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
FLOAT = 1


def read_bundle(index: Path) -> dict[str, Callable[[], np.ndarray]]:
    """The float variables of a bundle by name, each to be read when it is called.

    Args:
        index: the file that ends in `.index`; those with the values lie beside it.

    Raises:
        ValueError, IndexError, struct.error: the file is damaged or no such index. OSError: it cannot be read.
    """
    table = index.read_bytes()
    if len(table) < FOOTER or struct.unpack("<Q", table[-8:])[0] != MAGIC:
        raise ValueError(f"{index.name} is no index of TensorFlow variables")
    footer = Cursor(table[-FOOTER:])
    footer.varint(), footer.varint()  # the block of notes, which is not needed
    found: dict[str, Callable[[], np.ndarray]] = {}
    shards = 1
    for _, handle in _entries(_block(table, footer.varint(), footer.varint())):
        place = Cursor(handle)
        for key, record in _entries(_block(table, place.varint(), place.varint())):
            fields = dict(_fields(record))
            if not key:  # the header: number of data files
                shards = fields.get(1, 1)
            elif fields.get(1) == FLOAT:
                shape = [
                    dict(_fields(dim)).get(1, 0) for number, dim in _fields(fields.get(2, b"")) if number == 2
                ]
                file = index.with_name(f"{index.stem}.data-{fields.get(3, 0):05d}-of-{shards:05d}")
                found[key.decode()] = functools.partial(_values, file, fields.get(4, 0), fields.get(5, 0), shape)
    return found


def _values(file: Path, offset: int, size: int, shape: list[int]) -> np.ndarray:
    with file.open("rb") as stream:
        stream.seek(offset)
        return np.frombuffer(stream.read(size), "<f4").reshape(shape)


class Cursor:
    """A place in bytes that moves on as they are read."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def varint(self) -> int:
        """A number in groups of seven bits, the lowest first."""
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def take(self, size: int) -> bytes:
        part = self.data[self.at : self.at + size]
        if len(part) < size:
            raise ValueError("it is cut short")
        self.at += size
        return part


def _block(table: bytes, offset: int, size: int) -> bytes:
    """The entries of a table's block, without the list of restarts behind them."""
    block = table[offset : offset + size + 1]
    if len(block) <= size:
        raise ValueError("it is cut short")
    if block[size]:
        raise ValueError("its index is compressed")
    (restarts,) = struct.unpack("<I", block[size - 4 : size])
    return block[: size - 4 * (restarts + 1)]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values; a key tells only how it differs from the one before."""
    cursor, key = Cursor(block), b""
    while cursor.at < len(block):
        shared, rest, size = cursor.varint(), cursor.varint(), cursor.varint()
        key = key[:shared] + cursor.take(rest)
        yield key, cursor.take(size)


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a protocol buffer, an int or bytes by its kind."""
    cursor = Cursor(message)
    while cursor.at < len(message):
        tag = cursor.varint()
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            yield number, cursor.varint()
        elif kind == 2:
            yield number, cursor.take(cursor.varint())
        elif kind in (1, 5):
            yield number, cursor.take(8 if kind == 1 else 4)
        else:
            raise ValueError("it holds a field of unknown kind")
