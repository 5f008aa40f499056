"""Ways to damage a media file, for `fuzz_media`: on any bytes, or where its container keeps lengths and counts."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

BOXES = b"moov trak mdia minf stbl edts dinf mvex moof traf udta meta".split()
"""Boxes of MP4 that hold boxes."""

MASTERS = (0x18538067, 0x1654AE6B, 0xAE, 0x1F43B675, 0xA0, 0x1549A966, 0x1C53BB6B, 0xE0, 0xE1, 0xBB, 0x114D9B74)
"""Elements of Matroska that hold elements: segment, tracks, cluster and so on."""

NUMBERS = (0, 1, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
"""Numbers at which code goes wrong."""


def mutate(data: bytes, other: bytes, rng: random.Random) -> tuple[bytes, str]:
    """A damaged copy of a file, and by which of `MUTATIONS`, one to three of them.

    Args:
        other: another file, from which parts may come.
    """
    names = rng.choices(list(MUTATIONS), k=rng.choice((1, 1, 1, 2, 3)))
    changed = bytearray(data)
    for name in names:
        changed = MUTATIONS[name](changed, other, rng) if changed else changed
    return bytes(changed), "+".join(names)


def flip_bits(data: bytearray, other: bytes, rng: random.Random) -> bytearray:
    """From one bit to one in a thousand, anywhere or among the first."""
    end = rng.choice((len(data), min(len(data), 600)))
    for _ in range(rng.choice((1, 2, 8, max(1, end // 1000)))):
        data[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return data


def swap_blocks(data: bytearray, other: bytes, rng: random.Random) -> bytearray:
    """Two stretches of the same length change places."""
    size = rng.randint(1, max(1, len(data) // 4))
    a, b = (rng.randint(0, len(data) - size) for _ in range(2))
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]
    return data


def truncate(data: bytearray, other: bytes, rng: random.Random) -> bytearray:
    """The end is missing."""
    return data[: rng.choice((rng.randrange(len(data)), rng.randrange(min(len(data), 64))))]


def behead(data: bytearray, other: bytes, rng: random.Random) -> bytearray:
    """The beginning is missing."""
    return data[rng.randrange(min(len(data), 5000)) :]


def zero(data: bytearray, other: bytes, rng: random.Random) -> bytearray:
    """A stretch of zeros or of ones."""
    start, size = _stretch(data, rng)
    data[start : start + size] = bytes([rng.choice((0, 255))]) * size
    return data


def duplicate(data: bytearray, other: bytes, rng: random.Random) -> bytearray:
    """A stretch comes several times."""
    start, size = _stretch(data, rng)
    data[start:start] = data[start : start + size] * rng.choice((1, 2, 20))
    return data


def remove(data: bytearray, other: bytes, rng: random.Random) -> bytearray:
    """A stretch is missing."""
    start, size = _stretch(data, rng)
    del data[start : start + size]
    return data


def noise(data: bytearray, other: bytes, rng: random.Random) -> bytearray:
    """A stretch of random bytes."""
    start, size = _stretch(data, rng)
    data[start : start + size] = rng.randbytes(size)
    return data


def splice(data: bytearray, other: bytes, rng: random.Random) -> bytearray:
    """The head of one file on the body of another."""
    cut = rng.randrange(min(len(data), 8000))
    return bytearray(other[:cut]) + data[cut:] if rng.random() < 0.5 else data[:cut] + bytearray(other[cut:])


def numbers(data: bytearray, other: bytes, rng: random.Random) -> bytearray:
    """A number near the start or the end, where indices lie, becomes one at which code goes wrong."""
    for _ in range(rng.choice((1, 3))):
        place = rng.randrange(min(len(data), 4000))
        _put(data, rng.choice((place, len(data) - 1 - place)), rng.choice((2, 4, 8)), rng)
    return data


def lengths(data: bytearray, other: bytes, rng: random.Random) -> bytearray:
    """A length that the container states, of a box, an element or a chunk, is wrong."""
    places = _lengths(data)
    if not places:
        return numbers(data, other, rng)
    place, size = rng.choice(places)
    if size < 0:  # the variable length of EBML: its first byte says how many follow
        marker = data[place] & -data[place] if rng.random() < 0.1 else 1 << (data[place].bit_length() - 1)
        for i in range(-size):
            data[place + i] = rng.choice((0, 0xFF, rng.randrange(256), data[place + i]))
        data[place] = marker | (data[place] & (marker - 1))
    else:
        _put(data, place, size, rng, "<" if data[:4] == b"RIFF" else ">")
    return data


def counts(data: bytearray, other: bytes, rng: random.Random) -> bytearray:
    """The header of a table in an MP4 index: how many entries, and the first of them."""
    tables = (
        b"stts",
        b"stsz",
        b"stco",
        b"stsc",
        b"ctts",
        b"stss",
        b"stsd",
        b"elst",
        b"mvhd",
        b"tkhd",
        b"mdhd",
        b"co64",
    )
    found = [place for name in tables if (place := data.find(name)) >= 0]
    if not found:
        return numbers(data, other, rng)
    _put(data, rng.choice(found) + 8 + 4 * rng.randrange(8), 4, rng)
    return data


def _put(data: bytearray, place: int, size: int, rng: random.Random, order: str = "") -> None:
    """Overwrite a number of `size` bytes by one of `NUMBERS`, or by itself and a little."""
    order = order or rng.choice("<>")
    form = order + {2: "H", 4: "I", 8: "Q"}[size]
    if place + size > len(data):
        return
    (old,) = struct.unpack_from(form, data, place)
    new = rng.choice((*NUMBERS, old + 1, old - 1, old * 2, old + rng.randint(-2000, 2000), rng.getrandbits(32)))
    struct.pack_into(form, data, place, new % (1 << 8 * size))


def _stretch(data: bytearray, rng: random.Random) -> tuple[int, int]:
    size = rng.choice((1, 4, 16, 188, 1024, max(1, len(data) // 10)))
    return rng.randrange(len(data)), size


def _lengths(data: bytearray) -> list[tuple[int, int]]:
    """Where the container states lengths: (place, bytes), the bytes negative for variable lengths."""
    if data[4:8] in (b"ftyp", b"moov", b"wide", b"mdat"):
        return _boxes(data, 0, len(data))
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return _elements(data, 0, len(data))
    return _chunks(data, 12, len(data)) if data[:4] == b"RIFF" else []


def _boxes(data: bytearray, start: int, end: int) -> list[tuple[int, int]]:
    places = []
    while start + 8 <= end and len(places) < 500:
        size = int.from_bytes(data[start : start + 4], "big")
        places.append((start, 4))
        if bytes(data[start + 4 : start + 8]) in BOXES:
            places += _boxes(data, start + 8, min(end, start + size))
        if size < 8:
            break
        start += size
    return places


def _elements(data: bytearray, start: int, end: int) -> list[tuple[int, int]]:
    places = []
    while start + 2 <= end and len(places) < 500 and data[start]:
        size_at = start + 9 - data[start].bit_length()
        if size_at >= end or not data[size_at]:
            break
        count = 9 - data[size_at].bit_length()
        size = int.from_bytes(data[size_at : size_at + count], "big") & ((1 << 7 * count) - 1)
        places.append((size_at, -count))
        body = size_at + count
        if int.from_bytes(data[start:size_at], "big") in MASTERS:
            places += _elements(data, body, min(end, body + size))
        start = body + size
    return places


def _chunks(data: bytearray, start: int, end: int) -> list[tuple[int, int]]:
    places = [(4, 4)] if start == 12 else []
    while start + 8 <= end and len(places) < 500:
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        places.append((start + 4, 4))
        if data[start : start + 4] == b"LIST":
            places += _chunks(data, start + 12, min(end, start + 8 + size))
        start += 8 + size + size % 2
    return places


Mutation = Callable[[bytearray, bytes, random.Random], bytearray]

MUTATIONS: dict[str, Mutation] = {
    "flip_bits": flip_bits,
    "swap_blocks": swap_blocks,
    "truncate": truncate,
    "behead": behead,
    "zero": zero,
    "duplicate": duplicate,
    "remove": remove,
    "noise": noise,
    "splice": splice,
    "numbers": numbers,
    "lengths": lengths,
    "counts": counts,
}
"""Every way, by its name."""
