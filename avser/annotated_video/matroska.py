"""A Matroska stream of raw pictures, each with its own time: how pictures are handed to ffmpeg through a pipe.

Raw video by itself has no timestamps, and ffmpeg would count it up at a constant rate. The container (RFC 9559 on
RFC 8794) is the simplest that every ffmpeg reads from a pipe and that takes any time to the microsecond.
"""

from __future__ import annotations

from fractions import Fraction

_UNKNOWN_SIZE = b"\x01" + b"\xff" * 7
_MICROSECOND = 1000  # in ns, of which the container counts its ticks


def header(width: int, height: int, fps: Fraction) -> bytes:
    """What comes before the pictures.

    Args:
        fps: nominal rate; it says how long the last picture is shown.
    """
    file = [
        *(_number(0x4286, 1), _number(0x42F7, 1), _number(0x42F2, 4), _number(0x42F3, 8)),
        *(_element(0x4282, b"matroska"), _number(0x4287, 4), _number(0x4285, 2)),
    ]
    info = [_number(0x2AD7B1, _MICROSECOND), _element(0x4D80, b"avser"), _element(0x5741, b"avser")]
    picture = [_number(0xB0, width), _number(0xBA, height), _element(0x2EB524, b"I420")]
    track = [
        *(_number(0xD7, 1), _number(0x73C5, 1), _number(0x83, 1), _element(0x86, b"V_UNCOMPRESSED")),
        *(_number(0x23E383, round(1_000_000_000 / fps)), _element(0xE0, *picture)),
    ]
    tracks = _element(0x1654AE6B, _element(0xAE, *track))
    segment = _identity(0x18538067) + _UNKNOWN_SIZE
    return _element(0x1A45DFA3, *file) + segment + _element(0x1549A966, *info) + tracks


def before_picture(time: float, size: int, duration: float | None = None) -> bytes:
    """What comes before the `size` bytes of a picture that is shown at `time` (s), for `duration` (s) if given."""
    when = _number(0xE7, round(time * 1_000_000))
    lasts = b"" if duration is None else _number(0x9B, round(duration * 1_000_000))
    place = b"\x81" + b"\x00\x00" + b"\x00"  # of track 1, at the cluster's time
    block = _identity(0xA1) + _size(len(place) + size) + place
    group = _identity(0xA0) + _size(len(lasts) + len(block) + size) + lasts + block
    return _identity(0x1F43B675) + _size(len(when) + len(group) + size) + when + group


def _element(identity: int, *parts: bytes) -> bytes:
    return b"".join((_identity(identity), _size(sum(map(len, parts))), *parts))


def _number(identity: int, value: int) -> bytes:
    return _element(identity, value.to_bytes(8, "big"))


def _identity(identity: int) -> bytes:
    return identity.to_bytes((identity.bit_length() + 7) // 8, "big")


def _size(size: int) -> bytes:
    return (size | 1 << 56).to_bytes(8, "big")
