"""RAVDESS out of its zip files: what is written, what is kept, and archives that mean no good."""

from __future__ import annotations

import shutil
import stat
import wave
import zipfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from corpora import make_sound, write_wav

from avser import datasets
from avser.corpora import unpacking
from avser.media import read_audio
from avser.types import ConfigError, DataError

VIDEOS = ("01-01-03-01-01-01-01", "01-01-05-01-01-01-01", "02-01-03-01-01-01-01")


@pytest.fixture(scope="session")
def sound(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "sad.wav"
    return write_wav(path, make_sound("sad", np.random.default_rng(0))).read_bytes()


@pytest.fixture
def voices(tmp_path, sound) -> Path:
    """As Audio_Speech_Actors_01-24.zip is laid out, with what macOS adds."""
    names = [f"Actor_{actor}/03-01-03-01-01-01-{actor}.wav" for actor in ("01", "02", "24")]
    strays = {"__MACOSX/Actor_01/._03-01-03-01-01-01-01.wav": b"x", ".DS_Store": b"x", "README.txt": b"x"}
    return write_zip(tmp_path / "Audio_Speech_Actors_01-24.zip", {**dict.fromkeys(names, sound), **strays})


@pytest.fixture
def films(tmp_path, flash_beep) -> Path:
    """As Video_Speech_Actor_01.zip is laid out."""
    film = flash_beep().path.read_bytes()
    return write_zip(tmp_path / "Video_Speech_Actor_01.zip", {f"Actor_01/{name}.mp4": film for name in VIDEOS})


def write_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tree(root: Path) -> list[str]:
    """Every file below a folder, hidden and left-over ones too."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_both_kinds_of_archives(voices, films, sound, tmp_path):
    root = tmp_path / "ravdess"
    done = unpacking.extract([voices, films], root)
    assert (done.written, done.kept, done.left_out, done.failed) == (6, 0, 3, [])
    assert tree(root) == sorted(
        [f"Actor_{actor}/03-01-03-01-01-01-{actor}.wav" for actor in ("01", "02", "24")]
        + [f"Actor_01/{name}.mp4" for name in VIDEOS]
    )
    assert (root / "Actor_24/03-01-03-01-01-01-24.wav").read_bytes() == sound
    assert len(datasets.scan("ravdess", root)) == 6


def test_the_sound_of_videos(films, tmp_path, flash_beep):
    root = tmp_path / "ravdess"
    done = unpacking.extract([films], root, rate=16000)
    assert (done.written, done.sounds, done.failed) == (3, 2, [])  # 02- has none
    clips = datasets.scan("ravdess", root / "sound")
    assert [clip.path.name for clip in clips] == [f"{name}.wav" for name in VIDEOS[:2]]
    assert {clip.path.suffix for clip in datasets.scan("ravdess", root)} == {".mp4"}
    with wave.open(str(clips[0].path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
    ours, theirs = read_audio(clips[0].path).samples, read_audio(flash_beep().path).samples
    assert len(ours) == len(theirs)
    assert np.abs(ours - theirs).max() < 1e-4
    again = unpacking.extract([films], root, rate=16000)
    assert (again.written, again.kept, again.sounds, again.kept_sounds) == (0, 3, 0, 2)
    other = unpacking.extract([films], root, rate=8000)
    assert (other.sounds, other.kept_sounds) == (2, 0)
    assert len(read_audio(clips[0].path, 8000).samples) == pytest.approx(len(ours) / 2, abs=2)


def test_a_video_whose_sound_cannot_be_read(tmp_path, flash_beep, video_only):
    contents = {VIDEOS[0]: flash_beep().path.read_bytes(), VIDEOS[1]: video_only.read_bytes()}
    path = write_zip(tmp_path / "films.zip", {f"{name}.mp4": content for name, content in contents.items()})
    done = unpacking.extract([path], tmp_path / "out", rate=16000)
    assert (done.written, done.sounds) == (2, 1)
    assert len(done.failed) == 1
    assert "01-01-05-01-01-01-01.mp4 has no sound" in done.failed[0]
    assert tree(tmp_path / "out/sound") == [f"Actor_01/{VIDEOS[0]}.wav"]


def test_what_is_there_is_kept_and_what_is_half_is_not(voices, sound, tmp_path):
    root = tmp_path / "ravdess"
    unpacking.extract([voices], root)
    kept, gone, half = (root / f"Actor_{actor}/03-01-03-01-01-01-{actor}.wav" for actor in ("01", "02", "24"))
    written = kept.stat().st_mtime_ns
    gone.unlink()
    half.write_bytes(sound[:100])
    done = unpacking.extract([voices], root, workers=1)
    assert (done.written, done.kept) == (2, 1)
    assert kept.stat().st_mtime_ns == written
    assert gone.read_bytes() == half.read_bytes() == sound


def test_an_interrupted_run_goes_on(voices, tmp_path):
    root = tmp_path / "ravdess"

    def stop(found, count, what):
        for number, why in enumerate(found):
            if number == 1:
                raise KeyboardInterrupt
            yield why

    with pytest.raises(KeyboardInterrupt, match="interrupted; what is done is kept, 1 so far"):
        unpacking.extract([voices], root, workers=1, progress=stop)
    there = tree(root)
    assert 1 <= len(there) <= 3
    assert all(name.endswith(".wav") for name in there)
    done = unpacking.extract([voices], root)
    assert (done.written, done.kept) == (3 - len(there), len(there))


@pytest.mark.parametrize(
    "name",
    [
        "../Actor_01/03-01-03-01-01-01-01.wav",
        "Actor_01/../../03-01-03-01-01-01-01.wav",
        "/tmp/03-01-03-01-01-01-01.wav",
        "..\\..\\03-01-03-01-01-01-01.wav",
        "C:/03-01-03-01-01-01-01.wav",
        "../../.bashrc",
    ],
)
def test_an_archive_that_leads_outside(name, sound, tmp_path):
    path = write_zip(tmp_path / "a.zip", {"03-01-05-01-01-01-01.wav": sound, name: sound})
    done = unpacking.extract([path], tmp_path / "deep/down/out")
    assert len(done.failed) == 1
    assert "a.zip would write outside of its folder" in done.failed[0]
    assert tree(tmp_path) == ["a.zip"]


def test_bombs(sound, tmp_path, monkeypatch):
    name = "Actor_01/03-01-03-01-01-01-01.wav"
    bomb = write_zip(tmp_path / "bomb.zip", {name: bytes(10_000_000)})
    done = unpacking.extract([bomb], tmp_path / "out")
    assert "bomb.zip would hold more than 100 times its size" in done.failed[0]
    monkeypatch.setattr(unpacking, "MOST_BYTES", len(sound) - 1)
    large = write_zip(tmp_path / "large.zip", {name: sound})
    assert "03-01-03-01-01-01-01.wav in large.zip has more" in names(unpacking.extract([large], tmp_path / "out"))
    assert tree(tmp_path / "out") == []


def names(done) -> str:
    """What failed, with archives by their names only."""
    (why,) = done.failed
    return " ".join(word.rpartition("/")[2] if word.endswith(".zip") else word for word in why.split())


@pytest.mark.parametrize("shown", [1, 1 << 30])
def test_an_entry_that_lies_about_its_size(shown, sound, tmp_path, monkeypatch):
    """No more is written than there is, nor than was announced; the sum tells whether that is all."""
    monkeypatch.setattr(unpacking, "MOST_BYTES", 1 << 31)
    monkeypatch.setattr(unpacking, "MOST_RATIO", 1 << 20)
    path = write_zip(tmp_path / "a.zip", {"03-01-03-01-01-01-01.wav": sound})
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\x01\x02") + 24
    assert int.from_bytes(data[place : place + 4], "little") == len(sound)
    data[place : place + 4] = shown.to_bytes(4, "little")
    path.write_bytes(data)
    done = unpacking.extract([path], tmp_path / "out")
    if shown > len(sound):
        assert [path.read_bytes() for path in (tmp_path / "out").rglob("*.wav")] == [sound]
    else:
        assert "01-01-01.wav in a.zip is damaged" in names(done)
        assert tree(tmp_path / "out") == []


def test_links_are_left_out(sound, tmp_path):
    link = zipfile.ZipInfo("Actor_01/03-01-03-01-01-01-01.wav")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("Actor_01/03-01-05-01-01-01-01.wav", sound)
    done = unpacking.extract([tmp_path / "a.zip"], tmp_path / "out")
    assert (done.written, done.left_out) == (1, 1)
    assert tree(tmp_path / "out") == ["Actor_01/03-01-05-01-01-01-01.wav"]


def test_damaged_archives_cost_only_themselves(voices, sound, tmp_path):
    texts = tmp_path / "text.zip"
    texts.write_text("404 not found")
    short = tmp_path / "short.zip"
    short.write_bytes(voices.read_bytes()[:-40])
    flipped = write_zip(
        tmp_path / "flipped.zip",
        {"03-01-08-01-01-01-01.wav": sound, "03-01-07-01-01-01-01.wav": sound},
        zipfile.ZIP_STORED,
    )
    data = bytearray(flipped.read_bytes())
    data[500] ^= 1
    flipped.write_bytes(data)
    foreign = write_zip(tmp_path / "foreign.zip", {"photos/cat.jpg": b"x"})
    packed = write_zip(tmp_path / "packed.zip", {"03-01-06-01-01-01-01.wav": sound}, zipfile.ZIP_LZMA)
    locked = tmp_path / "locked.zip"
    data = bytearray(write_zip(locked, {"03-01-06-01-01-01-02.wav": sound}).read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    locked.write_bytes(data)
    archives = [texts, short, flipped, foreign, packed, locked, tmp_path / "none.zip", tmp_path, voices]
    done = unpacking.extract(archives, tmp_path / "out")
    assert done.written == 4
    expected = (
        "text.zip is no zip file or is cut short",
        "short.zip is no zip file or is cut short",
        "foreign.zip holds no file named as RAVDESS",
        "packed.zip is encrypted or packed in an unknown way",
        "locked.zip is encrypted or packed in an unknown way",
        "there is no file",
        "is no zip file or is cut short (Is a directory)",
        "03-01-08-01-01-01-01.wav in",
    )
    assert len(done.failed) == len(expected)
    for words, why in zip(expected, done.failed, strict=True):
        assert words in why
        assert "\n" not in why
    assert "03-01-08-01-01-01-01.wav" not in str(tree(tmp_path / "out"))


def test_no_room(voices, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 0))
    with pytest.raises(DataError, match="has room for 0"):
        unpacking.extract([voices], tmp_path / "out")


@pytest.mark.parametrize(("given", "words"), [({"rate": 10}, "rate 10 is none"), ({"workers": -1}, "workers")])
def test_settings_that_make_no_sense(given, words, voices, tmp_path):
    with pytest.raises(ConfigError, match=words):
        unpacking.extract([voices], tmp_path / "out", **given)


def test_the_command(avser_command, voices, films, tmp_path):
    root = tmp_path / "ravdess"
    done = avser_command("datasets", "extract", voices, films, "-o", root, "--audio", "--workers", 2)
    assert done.code == 0
    assert done.out == f"6 files unpacked into {root}\nsound of 2 files in {root}/sound\n"
    assert done.err == "3 files of the archives left out: they are no clips of RAVDESS\n"
    done = avser_command("datasets", "extract", voices, tmp_path / "none.zip", "-o", root)
    assert (done.code, done.out) == (1, f"0 files unpacked into {root}, 3 were there\n")
    assert "none.zip: check the name" in done.err
    (tmp_path / "file").write_bytes(b"")
    assert "cannot be written" in avser_command("datasets", "extract", voices, "-o", tmp_path / "file").complaint
    assert avser_command("datasets", "extract", voices).code == 2
    assert avser_command("datasets", "extract", "-o", root).code == 2


def test_the_whole_way_from_archive_to_check(avser_command, voices, tmp_path):
    avser_command("datasets", "extract", voices, "-o", tmp_path / "ravdess")
    done = avser_command("datasets", "check", tmp_path / "ravdess")
    assert done.code == 1
    assert "missing 1437" in done.out
