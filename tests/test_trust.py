"""Hostile and broken files: no hang, no crash, no bomb, no other file read, nothing left; one sentence each."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from avser import media
from avser.media import headers, processes
from avser.media.paths import find_media
from avser.media.processes import Process
from avser.types import ConfigError, MediaError

linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's limits and /proc are Linux's")
posix = pytest.mark.skipif(os.name != "posix", reason="pipes, links and signals of this kind are POSIX's")


def everything(path: Path) -> list:
    """What the project does with a file."""
    return [media.probe(path), list(media.iter_audio(path)), [f.time for f in media.iter_frames(path)]]


def refused(path: str | Path, words: str) -> str:
    """The sentence by which a file is refused at once, however it is opened."""
    for call in (media.probe, media.read_audio, lambda p: list(media.iter_frames(p))):
        start = time.monotonic()
        with pytest.raises(MediaError, match=words) as caught:
            call(path)
        assert len(str(caught.value).splitlines()) == 1
        assert time.monotonic() - start < 20  # and not only after a time limit
    return str(caught.value)


@pytest.fixture
def wav(audio_only) -> bytearray:
    return bytearray(audio_only.read_bytes())


@pytest.fixture(scope="module")
def endless(make_media) -> Path:
    """More pictures and sound than any pipe holds."""
    picture, sound = "testsrc=s=320x240:r=25:d=20", "sine=r=16000:d=300"
    arguments = ("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound)
    return make_media("endless.mkv", *arguments, "-c:v", "mpeg4", "-c:a", "pcm_s16le")


@pytest.fixture
def short_stall(monkeypatch):
    monkeypatch.setenv("AVSER_STALL_LIMIT", "1.5")


# bombs


def test_a_picture_beyond_the_limit_is_refused_even_where_the_container_lies(make_media, tmp_path):
    small = make_media("small.mkv", "-f", "lavfi", "-i", "color=s=256x256:r=1:d=1", "-c:v", "png").read_bytes()
    lie = small.replace(b"IHDR\0\0\1\0\0\0\1\0", b"IHDR\0\0\x40\0\0\0\x20\0")
    whole = lie.replace(b"\xb0\x82\1\0\xba\x82\1\0", b"\xb0\x82\x40\0\xba\x82\x20\0")
    assert len({small, lie, whole}) == 3
    path = tmp_path / "bomb.mkv"
    for data in (lie, whole):
        path.write_bytes(data)
        assert "16384 × 8192 px, more than 67 million" in refused(path, "px")


def test_pixels_that_are_absurdly_wide_are_no_way_around_it(make_media):
    picture = "color=s=1920x1080:r=25:d=0.1,setsar=60000"
    refused(make_media("wide.mkv", "-f", "lavfi", "-i", picture, "-c:v", "mpeg4"), "px, more than 67 million")


@pytest.mark.parametrize("name", ["many.mkv", "many.mov"])
def test_too_many_streams(make_media, audio_only, name):
    path = make_media(name, "-i", audio_only, *("-map", "0") * 101, "-c", "copy")
    refused(path, "more than 100 streams")


@pytest.mark.parametrize("rate", [10, 999, 1_000_000])
def test_absurd_sampling_rates(wav, tmp_path, rate):
    path = tmp_path / "rate.wav"
    struct.pack_into("<2I", wav, 24, rate, 2 * rate)
    path.write_bytes(wav)
    assert f"has {rate} samples a second, not from 1000 to 768000" in refused(path, "rate")


def test_absurd_durations(make_media, video_only, tmp_path):
    data = bytearray(make_media("short.mkv", "-i", video_only, "-c", "copy").read_bytes())
    struct.pack_into(">d", data, data.index(b"\x44\x89\x88") + 3, 100 * 3600e3)  # ms
    path = tmp_path / "weeks.mkv"
    path.write_bytes(data)
    assert "lasts 100 h by its header, more than 24 h" in refused(path, "lasts")


def test_streams_that_go_on_beyond_the_limit(flash_beep, monkeypatch):
    monkeypatch.setattr(media, "MAX_DURATION", 1.0)
    path = flash_beep().path
    for read in (lambda p: media.iter_audio(p, block=0.5), media.iter_frames):
        with pytest.raises(MediaError, match="goes on for more than"):
            list(read(path))


def test_a_timestamp_in_the_far_future_brings_no_years_of_silence(make_media):
    jump = "PTS+gt(T,1)*7200/TB"
    picture, sound = f"testsrc=s=64x48:r=25:d=2,setpts='{jump}'", f"sine=r=48000:d=2,asetpts='{jump}'"
    path = make_media(
        "jump.mkv",
        "-f",
        "lavfi",
        "-i",
        picture,
        "-f",
        "lavfi",
        "-i",
        sound,
        "-fps_mode",
        "passthrough",
        "-c:v",
        "mpeg4",
    )
    assert media.probe(path).duration == pytest.approx(7202, abs=1)
    assert media.read_audio(path).end < 1.2
    assert [f.time for f in media.iter_frames(path)][-1] <= 1.004  # Matroska counts milliseconds


def test_a_gap_that_a_recording_may_have_is_silence(make_media):
    sound = "sine=r=48000:d=2,asetpts='PTS+gt(T,1)*600/TB'"
    path = make_media("gap.mkv", "-f", "lavfi", "-i", sound, "-c:a", "pcm_s16le")
    track = media.read_audio(path)
    assert track.end == pytest.approx(602, abs=0.1)
    assert not track.between(2, 600).samples.any()
    assert np.abs(track.between(601.2, 601.8).samples).max() > 0.1


@linux
def test_memory_is_limited(monkeypatch):
    monkeypatch.setattr(processes, "MAX_MEMORY", 2**25)  # not enough for a thread and a picture
    busy = ["-f", "lavfi", "-i", "testsrc=s=1920x1080", "-f", "null", "-"]
    with Process(busy, Path("x"), cpu=60) as process:
        limits = Path(f"/proc/{process.process.pid}/limits").read_text()
        process.wait()
    assert f"Max data size             {2**25}" in limits
    assert "Max file size             0 " in limits
    assert "Max core file size        0 " in limits


@posix
def test_cpu_time_is_limited():
    busy = ["-f", "lavfi", "-i", "testsrc=s=1920x1080", "-f", "null", "-"]
    with (
        Process(busy, Path("x.mp4"), cpu=1) as process,
        pytest.raises(MediaError, match=r"more than 1 s of CPU time for x\.mp4"),
    ):
        process.wait()


def test_messages_are_bounded():
    arguments = ["-loglevel", "debug", "-f", "lavfi", "-i", "testsrc=s=32x32:d=40,showinfo", "-f", "null", "-"]
    with Process(arguments, Path("x"), cpu=60) as process:
        assert process.wait() == 0
    assert len(process.messages) == processes.MAX_MESSAGES
    assert all(len(m) <= processes.MAX_LINE for m in process.messages)


# hangs


@posix
@pytest.mark.parametrize(
    "read", [media.iter_frames, lambda p: media.iter_audio(p, block=0.5)], ids=["video", "sound"]
)
def test_an_ffmpeg_that_gives_nothing_is_ended(endless, monkeypatch, short_stall, read):
    started, popen = [], subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    stream = read(endless)
    next(stream)
    os.kill(started[-1].pid, signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(MediaError, match=r"nothing out of .*endless\.mkv for 1\.5 s"):
        list(stream)
    assert time.monotonic() - start < 10
    assert started[-1].returncode is not None


def test_a_slow_reader_is_no_stall(endless, short_stall):
    stream = media.iter_audio(endless, block=100)
    next(stream)
    time.sleep(3)
    assert len(list(stream)) == 2


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "1e9"])
def test_a_stall_limit_that_is_none(audio_only, monkeypatch, value):
    monkeypatch.setenv("AVSER_STALL_LIMIT", value)
    with pytest.raises(ConfigError, match="AVSER_STALL_LIMIT"):
        media.read_audio(audio_only)  # a header that is known already is not read again


@posix
def test_what_is_no_file_is_refused_without_being_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "pipe.mp4")
    (tmp_path / "circle.mp4").symlink_to("circle.mp4")
    (tmp_path / "nowhere.mp4").symlink_to("nothing.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        folder = Path.cwd()
        os.chdir(tmp_path)  # the name of a socket may not be long
        try:
            listener.bind("socket.mp4")
        finally:
            os.chdir(folder)
        cases = {
            "pipe.mp4": "no regular file",
            "link.mp4": "no regular file",
            "socket.mp4": "no regular file",
            "circle.mp4": "symbolic links",
            "nowhere.mp4": "link to a file that is not there",
            "folder.mp4": "is a folder",
            "pipe.mp4/x.mp4": "no file",
        }
        for name, words in cases.items():
            refused(tmp_path / name, words)
        with pytest.raises(MediaError, match="no media files"):
            find_media(tmp_path)  # and a search meets them without a word
    for path, words in {"/dev/zero": "no regular file", "a\0b.mp4": "null"}.items():
        refused(path, words)
    with pytest.raises(MediaError, match="check the name"):
        find_media("x" * 300)


@posix
def test_a_file_that_turns_into_a_pipe_after_the_look_at_it(flash_beep, tmp_path, monkeypatch, short_stall):
    path = tmp_path / "clip.mp4"
    shutil.copy(flash_beep().path, path)
    header = headers.read_header(path)
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(media, "read_header", lambda _: header)
    with pytest.raises(MediaError, match=r"nothing out of .*clip\.mp4"):
        media.read_audio(path)


def test_a_file_that_vanishes(flash_beep, endless, tmp_path, monkeypatch):
    path = tmp_path / "clip.mp4"
    shutil.copy(flash_beep().path, path)
    header = headers.read_header(path)
    path.unlink()
    monkeypatch.setattr(media, "read_header", lambda _: header)
    for call in (media.read_audio, lambda p: list(media.iter_frames(p))):
        with pytest.raises(MediaError, match=r"clip\.mp4"):
            call(path)


def test_a_file_that_grows_while_it_is_read(flash_beep, tmp_path):
    source = flash_beep("clip.ts", video=("mpeg2video",), audio=("mp2",)).path.read_bytes()
    path = tmp_path / "live.ts"
    path.write_bytes(source)
    stop = threading.Event()

    def grow():
        for _ in range(40):
            if not stop.wait(0.05):
                with path.open("ab") as file:
                    file.write(source[: 188 * 50])

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        _, sound, times = everything(path)
    finally:
        stop.set()
        thread.join()
    assert sound
    assert times


# files that point elsewhere, and files that are something else


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def alias_to(name: bytes) -> bytes:
    """The entry of a data reference by which a QuickTime movie has its media in another file."""
    record = bytes(10) + bytes([4]) + b"disk".ljust(27, b"\0") + bytes(12)
    record += bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16)
    record += struct.pack(">2H", 1, 1) + bytes(16)
    path = b"disk:" + name + b"\0" * (len(name) % 2 == 0)
    record += struct.pack(">2H", 2, len(path)) + path + struct.pack(">2H", 0xFFFF, 0)
    return box(b"alis", struct.pack(">I", 0) + record)


def test_media_in_another_file_is_not_read(make_media, tmp_path):
    movie = make_media("own.mov", "-f", "lavfi", "-i", "sine=r=16000:d=1", "-c:a", "pcm_s16be")
    data = bytearray(movie.read_bytes())
    place = data.index(b"mdat") - 4
    size = struct.unpack_from(">I", data, place)[0]
    secret = bytes(data[: place + size])
    data[place + 8 : place + size] = bytes(size - 8)  # its own sound is silence
    old = data.index(b"url \0\0\0\1") - 4
    entry = alias_to(b"secret.raw")
    added = len(entry) - 12
    data[old : old + 12] = entry
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):  # the parents grow by what was added
        at = max(i for i in range(old) if data[i : i + 4] == kind) - 4
        struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] + added)
    path = tmp_path / "points.mov"
    path.write_bytes(data)
    (tmp_path / "secret.raw").write_bytes(secret)
    command = [media.ffmpeg_binary(), "-v", "error", "-enable_drefs", "1", "-i", path, "-f", "f32le", "-"]
    allowed = subprocess.run(command, capture_output=True, cwd=tmp_path).stdout
    assert np.abs(np.frombuffer(allowed, "<f4")).max(initial=0) > 0.05, "the movie does point to the other file"
    try:
        samples = media.read_audio(path).samples
    except MediaError:
        return
    assert not samples.any()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("frames%03d.mp4", b""),
        ("list.mp4", b"ffconcat version 1.0\nfile secret.mp4\n"),
        ("page.mp4", b"<html><video src='secret.mp4'></html>"),
        ("edit.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nsecret.mp4\n#EXT-X-ENDLIST\n"),
        ("words.mp4", b"1\n00:00:00,000 --> 00:00:01,000\nHello\n"),
        ("session.mp4", b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n"),
        ("dash.mp4", b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>"),
        ("drawing.mp4", b"<svg xmlns='http://www.w3.org/2000/svg'><image href='secret.png'/></svg>"),
    ],
)
def test_scripts_that_name_other_files_are_no_media(flash_beep, tmp_path, monkeypatch, name, content):
    shutil.copy(flash_beep().path, tmp_path / "secret.mp4")
    shutil.copy(flash_beep().path, tmp_path / "frames001.mp4")
    monkeypatch.chdir(tmp_path)
    if content:
        Path(name).write_bytes(content)
    refused(name, "no media file|no file")


def test_an_archive_behind_a_video_changes_nothing(flash_beep, tmp_path):
    path = tmp_path / "both.mp4"
    archive = shutil.make_archive(str(tmp_path / "a"), "zip", Path(__file__).parent / "data")
    path.write_bytes(flash_beep().path.read_bytes() + Path(archive).read_bytes())
    assert len(everything(path)[2]) == 75


def test_a_picture_called_a_video(make_media, tmp_path):
    picture = make_media("still.png", "-f", "lavfi", "-i", "testsrc=s=64x64:d=1", "-frames:v", "1")
    shutil.copy(picture, tmp_path / "still.mp4")
    refused(tmp_path / "still.mp4", "no media file")


# names and words


@posix
@pytest.mark.parametrize(
    "name",
    [
        b"\xff\xfe no text.mp4",
        b"two\n  Duration: 99:00:00.00, start: 5.0\n    Stream #0:9: Video: h264, yuv420p, 9x9, 1 fps\nlines.mp4",
        b"\xff\n  Duration: 99:00:00.00, start: 5.0\n.mp4",
        b"bell\x07 \x1b[2J\x1b]0;title.mp4",
        b"%03d%n%s*?[a-z].mp4",
        b"~root$HOME`id`;|&.mp4",
        b"concat:a|b.mp4",
        b"\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d \xe2\x80\xaeexe.mp4",
    ],
)
def test_names_that_are_taken_as_they_are(flash_beep, tmp_path, name):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    try:
        shutil.copy(flash_beep().path, path)
    except OSError:
        pytest.skip("this file system takes no such name")
    info, _, times = everything(path)
    assert info.duration == pytest.approx(3, abs=0.2)
    assert (info.width, len(times)) == (160, 75)
    path.write_bytes(b"nothing")
    message = refused(path, "no media file")
    assert message.isprintable()


@linux
def test_paths_longer_than_a_line_of_ffmpeg(flash_beep, tmp_path):
    folder = tmp_path / "/".join(["d" * 240] * 6)
    folder.mkdir(parents=True)
    path = folder / ("n" * 240 + ".mp4")
    shutil.copy(flash_beep().path, path)
    info, _, times = everything(path)
    assert info.duration == pytest.approx(3, abs=0.2)
    assert len(times) == 75


def test_a_title_cannot_feign_what_ffmpeg_says(make_media, flash_beep):
    feigned = "n: 0 pts: 5 pts_time:1"
    words = ("-metadata", f"title={feigned}", "-metadata:s:v", f"title={feigned}", "-metadata:s:v", "rotate=1..2")
    path = make_media("titled.mkv", "-i", flash_beep().path, *words, "-c", "copy")
    times = np.array([f.time for f in media.iter_frames(path)])
    assert 0 <= times[0] < 0.03  # some ffmpegs begin a copy with the sound, which is ahead by its codec's delay
    np.testing.assert_allclose(times - times[0], np.arange(75) / 25, atol=0.002)


# nothing is left

READ = """
import sys
from avser import media
stream = media.iter_frames(sys.argv[1])
next(stream)
print(open(f"/proc/self/task/{__import__('os').getpid()}/children").read(), flush=True)
sys.stdin.read()
"""


@linux
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_ffmpeg_outlives_python(endless, how):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", READ, endless], text=True, **pipes) as process:
        (child,) = map(int, process.stdout.readline().split())
        assert "ffmpeg" in Path(f"/proc/{child}/cmdline").read_text()
        process.send_signal(how)
        process.wait(20)
    deadline = time.monotonic() + 20
    while running(child):
        assert time.monotonic() < deadline, "ffmpeg is still there"
        time.sleep(0.05)


def running(pid: int) -> bool:
    """Whether a process does anything; one that only waits to be counted by its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
