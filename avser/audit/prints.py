"""What identifies the media of a clip: a digest of its decoded content, and fingerprints. Made once and cached."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from avser import datasets, media
from avser.audit import fingerprints
from avser.audit.fingerprints import FILM_SIDE, RATE, SIDE, Sound
from avser.caching import cached
from avser.media import headers
from avser.types import AvserError, Clip, DataError

VERSION = "print 1"
"""Part of the key in the cache: another one where prints are made in another way."""
FILM_RATE = 8.0
"""Frames a second that are looked at in a film."""
FILM_FRAMES = 40
"""Frames from the start of a film that are kept to compare it by; all of them are in its digest."""
SMALL = 1 << 15
"""Pictures up to so many bytes are decoded sooner than found in the cache."""


@dataclass(frozen=True)
class Print:
    """What is known of a clip's media.

    Attributes:
        content: digest of the samples and pixels.
        sound: fingerprint of the sound, empty where there is none.
        frames: (N, side, side) uint8: the one of a picture (`SIDE` px), those of a film (`FILM_SIDE`), or none.
    """

    content: bytes
    sound: Sound
    frames: np.ndarray

    @property
    def is_picture(self) -> bool:
        """Whether it is a single picture."""
        return len(self.frames) == 1 and self.frames.shape[1] == SIDE


def print_of(clip: Clip) -> Print:
    """The print of a clip, from the cache if it is there.

    Raises:
        AvserError: the file is not there or damaged, or holds neither sound nor picture.
    """
    if not clip.path.is_file():
        raise DataError(f"there is no file {clip.path}: mend the path, or give --data-root")
    if clip.row is not None:
        return _of_picture(clip)
    if clip.path.suffix.lower() in datasets.IMAGE_SUFFIXES:
        make, settings = _of_picture, f"{VERSION}|picture"
        if clip.path.stat().st_size <= SMALL:
            return make(clip)
    else:
        make, settings = _of_media, f"{VERSION}|media"
    return _unpack(cached(clip, settings, lambda: _pack(make(clip))))


def prints_of(
    clips: Sequence[Clip], progress: Callable[[Iterable, int], Iterable] = lambda found, count: found
) -> list[Print | AvserError]:
    """The prints of clips in their order, several read at a time; the error in place of one that cannot be read.

    Args:
        progress: wraps what comes in, of which there are so many, to show how far it is.
    """

    def attempt(clip: Clip) -> Print | AvserError:
        try:
            return print_of(clip)
        except AvserError as error:
            return error

    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        return list(progress(pool.map(attempt, clips), len(clips)))
    finally:
        pool.shutdown(cancel_futures=True)  # else Ctrl-C would wait for all of them


def _of_picture(clip: Clip) -> Print:
    picture = datasets.load_image(clip)
    digest = hashlib.blake2b(f"{picture.shape}".encode() + picture.tobytes(), digest_size=16).digest()
    return Print(digest, fingerprints.sound_print(np.zeros(0, np.float32)), fingerprints.reduce(picture)[None])


def _of_media(clip: Clip) -> Print:
    digest = hashlib.blake2b(digest_size=16)
    samples, frames = np.zeros(0, np.float32), []
    lacking = 0
    try:
        samples = media.read_audio(clip.path, RATE, clip.start, clip.end).samples
        # 16 bits, so that a WAV file and the FLAC made of it have one content
        digest.update(np.round(samples * 32767).astype(np.int16).tobytes())
    except media.NoStreamError:
        lacking += 1
    if clip.path.suffix.lower() not in headers.AUDIO_SUFFIXES:
        try:
            # a height of twice the side: what remains to be reduced is little, and small films lose nothing
            shown = media.iter_frames(clip.path, FILM_RATE, 2 * FILM_SIDE, clip.start, clip.end)
            for number, frame in enumerate(shown):
                digest.update(frame.image.tobytes())
                if number < FILM_FRAMES:
                    frames.append(fingerprints.reduce(frame.image, FILM_SIDE))
        except media.NoStreamError:
            lacking += 1
    if not len(samples) and not frames:
        raise DataError(f"{clip.path}: holds neither sound nor picture; get the file again")
    stack = np.stack(frames) if frames else np.zeros((0, FILM_SIDE, FILM_SIDE), np.uint8)
    return Print(digest.digest(), fingerprints.sound_print(samples), stack)


def _pack(made: Print) -> np.ndarray:
    """A print as bytes (uint8), for the cache: digest, three counts, words, which are active, pixels."""
    counts = np.array([len(made.sound.words), len(made.frames), made.frames.shape[1]], "<u4")
    parts = (made.sound.words.astype("<u4"), made.sound.active, made.frames)
    raw = made.content + counts.tobytes() + b"".join(part.tobytes() for part in parts)
    return np.frombuffer(raw, np.uint8)


def _unpack(packed: np.ndarray) -> Print:
    raw = packed.tobytes()
    words, frames, side = np.frombuffer(raw, "<u4", 3, 16).tolist()
    at = 16 + 12
    sound = Sound(
        np.frombuffer(raw, "<u4", words, at).astype(np.uint32), np.frombuffer(raw, bool, words, at + 4 * words)
    )
    pixels = np.frombuffer(raw, np.uint8, frames * side * side, at + 5 * words)
    return Print(raw[:16], sound, pixels.reshape(frames, side, side))
