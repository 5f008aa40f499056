"""RAVDESS as it is downloaded, unpacked into the folders that its reader expects, with the sound of its videos.

Nothing of an archive decides where files go: of each entry the last part of its name is read, and what is not
named as RAVDESS names its files is left out. An archive that would write elsewhere, or that holds far more than
its size, is refused as a whole.
"""

from __future__ import annotations

import contextlib
import shutil
import stat
import wave
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from avser import media
from avser.corpora.threads import Progress, each
from avser.datasets import ravdess
from avser.files import replacing
from avser.media.headers import AUDIO_RATES
from avser.media.paths import MEDIA_SUFFIXES, show
from avser.types import AvserError, Clip, ConfigError, DataError

MOST_BYTES = 2**28
"""Largest file that is unpacked, in bytes; those of RAVDESS have a few million."""
MOST_RATIO = 100
"""Most that an archive may hold, in multiples of its own size. Media hardly shrink."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
BLOCK = 2**20
SOUND = "sound"
"""Folder for the sound of videos, in that of the corpus. Its name sorts after Actor_NN, so that a reader of the
whole folder, which takes the first file of a name, takes the video."""


@dataclass(frozen=True)
class Entry:
    """A file in an archive, and where it goes."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    target: Path
    clip: Clip


@dataclass
class Unpacked:
    """What came of it.

    Attributes:
        written, kept: files that are unpacked now, and those that were before.
        sounds, kept_sounds: the same for the sound of videos.
        left_out: entries that are no files of RAVDESS.
        failed: a sentence for each archive or file with which something is wrong.
    """

    written: int = 0
    kept: int = 0
    sounds: int = 0
    kept_sounds: int = 0
    left_out: int = 0
    failed: list[str] = field(default_factory=list)


def extract(
    archives: Sequence[Path],
    root: Path,
    rate: int | None = None,
    workers: int = 0,
    progress: Progress = lambda found, count, what: found,
) -> Unpacked:
    """Unpack archives of RAVDESS to `root`/Actor_NN, several files at a time; what is there already is kept.

    An archive or a file that is damaged costs nothing but itself. A file appears when it is complete, so that an
    interrupted call can be made again.

    Args:
        rate: also write the sound of each video, mono, at so many samples a second, to `root`/sound/Actor_NN.
        workers: files at a time; 0 for as many as there are cores.

    Raises:
        ConfigError: no such rate or number of workers.
        DataError: the folder cannot be written, or the disk has not enough room.
        KeyboardInterrupt: with words on what is kept.
    """
    if rate is not None and not AUDIO_RATES[0] <= rate <= AUDIO_RATES[1]:
        raise ConfigError(f"rate {rate} is none: give samples a second from {AUDIO_RATES[0]} to {AUDIO_RATES[1]}")
    if workers < 0:
        raise ConfigError(f"workers ({workers}) must not be below zero")
    done = Unpacked()
    try:
        with contextlib.ExitStack() as stack:
            entries = _entries_of_all(archives, root, done, stack)
            left = [entry for entry in entries if not _is_there(entry)]
            _check_room(root, left)
            done.kept = len(entries) - len(left)
            for why in progress(each(_unpack, left, workers), len(left), "unpacking"):
                _count(done, "written", why)
        if rate is not None:
            jobs = [_Job(entry, root, rate) for entry in entries if entry.clip.info["modality"] == "av"]
            missing = [job for job in jobs if job.video.is_file() and not job.is_done()]
            done.kept_sounds = sum(job.is_done() for job in jobs)
            for why in progress(each(_Job.write, missing, workers), len(missing), "taking out the sound"):
                _count(done, "sounds", why)
    except KeyboardInterrupt:
        words = f"what is done is kept, {done.written + done.sounds} so far: run the command again to go on"
        raise KeyboardInterrupt(f"interrupted; {words}") from None
    return done


def _count(done: Unpacked, what: str, why: str | None) -> None:
    """Count a file that is done, or note why it is not."""
    if why is None:
        setattr(done, what, getattr(done, what) + 1)
    else:
        done.failed.append(why)


def _entries_of_all(
    archives: Sequence[Path], root: Path, done: Unpacked, stack: contextlib.ExitStack
) -> list[Entry]:
    """What is to be unpacked of all archives, which `stack` closes; each file once."""
    entries: dict[Path, Entry] = {}
    for path in archives:
        try:
            archive = stack.enter_context(_open(path))
            found = _entries(path, archive, root)
        except DataError as error:
            done.failed.append(str(error))
            continue
        done.left_out += sum(not info.is_dir() for info in archive.infolist()) - len(found)
        for entry in found:
            entries.setdefault(entry.target, entry)
    return list(entries.values())


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise DataError(f"there is no file {show(path)}: check the name") from None
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, OSError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(
            f"{show(path)} is no zip file or is cut short ({why}): download it again from {ravdess.FACTS.page}"
        ) from None


def _entries(path: Path, archive: zipfile.ZipFile, root: Path) -> list[Entry]:
    """The files of RAVDESS in an archive.

    Raises:
        DataError: there are none, or it is no archive that anybody means well with.
    """
    infos = [info for info in archive.infolist() if not info.is_dir()]
    afresh = f"download it again from {ravdess.FACTS.page}"
    for info in infos:
        if _leads_outside(info.filename):
            raise DataError(f"{show(path)} would write outside of its folder, to {show(info.filename)}: {afresh}")
    if sum(info.file_size for info in infos) > MOST_RATIO * path.stat().st_size:
        raise DataError(f"{show(path)} would hold more than {MOST_RATIO} times its size: {afresh}")
    entries = []
    for info in infos:
        name = PurePosixPath(info.filename).name
        clip = ravdess.describe(Path(name))
        suffix = PurePosixPath(name).suffix.lower()
        if clip is None or suffix not in MEDIA_SUFFIXES or "__MACOSX" in info.filename or _is_link(info):
            continue
        if info.file_size > MOST_BYTES:
            raise DataError(f"{name} in {show(path)} has more than {MOST_BYTES >> 20} MiB: {afresh}")
        if info.flag_bits & 1 or info.compress_type not in METHODS:
            raise DataError(f"{name} in {show(path)} is encrypted or packed in an unknown way: {afresh}")
        entries.append(Entry(archive, info, root / f"Actor_{clip.subject}" / name, clip))
    if not entries:
        raise DataError(f"{show(path)} holds no file named as RAVDESS names them: {afresh}")
    return entries


def _leads_outside(name: str) -> bool:
    """Whether an entry would not stay in the folder that an archive is unpacked to."""
    parts = name.replace("\\", "/").split("/")
    return name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]


def _is_link(info: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(info.external_attr >> 16)


def _is_there(entry: Entry) -> bool:
    """Whether a file was unpacked before: it would not be there if it were not complete."""
    try:
        return entry.target.stat().st_size == entry.info.file_size
    except OSError:
        return False


def _check_room(root: Path, entries: Sequence[Entry]) -> None:
    """Make the folder, and see that there is room for what is to be unpacked.

    Raises:
        DataError: the folder cannot be made, or there is too little.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(root).free
    except OSError as error:
        raise DataError(f"{show(root)}: cannot be written ({error.strerror}); choose another -o") from None
    needed = sum(entry.info.file_size for entry in entries)
    if needed > free:
        raise DataError(
            f"{show(root)} has room for {free / 1e9:.1f} GB, and {needed / 1e9:.1f} GB are to be unpacked: make "
            "room or choose another -o"
        )


def _unpack(entry: Entry) -> str | None:
    """Unpack one file; the sentence that says why not."""
    try:
        with (
            replacing(entry.target) as temporary,
            entry.archive.open(entry.info) as packed,
            temporary.open("wb") as file,
        ):
            shutil.copyfileobj(packed, file, BLOCK)  # no more than the size it is said to have, and with its CRC
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        what = f"{entry.target.name} in {show(entry.archive.filename or '')} is damaged ({show(str(error))})"
        return f"{what}: download the archive again from {ravdess.FACTS.page}"
    except OSError as error:
        return f"{show(entry.target)} cannot be written ({error.strerror or error}): choose another -o"
    return None


@dataclass(frozen=True)
class _Job:
    """Sound that is to be taken out of a video."""

    entry: Entry
    root: Path
    rate: int

    @property
    def video(self) -> Path:
        return self.entry.target

    @property
    def sound(self) -> Path:
        return self.root / SOUND / self.video.parent.name / f"{self.video.stem}.wav"

    def is_done(self) -> bool:
        """Whether it is there, at the rate asked for."""
        try:
            with wave.open(str(self.sound), "rb") as file:
                return file.getframerate() == self.rate
        except (OSError, EOFError, wave.Error):
            return False

    def write(self) -> str | None:
        """Write it as WAV, 16 bit; the sentence that says why not."""
        try:
            with replacing(self.sound) as temporary, wave.open(str(temporary), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(self.rate)
                for track in media.iter_audio(self.video, self.rate):
                    file.writeframes(np.round(track.samples * 32767).astype("<i2").tobytes())
        except AvserError as error:
            return str(error)
        except OSError as error:
            return f"{show(self.sound)} cannot be written ({error.strerror or error}): choose another -o"
        return None
