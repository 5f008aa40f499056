"""Reading media: one clock for both streams, every container and shape, and one clear error for what is broken."""

from __future__ import annotations

import itertools
import logging
import shutil
import struct
import subprocess
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import need_encoder

from avser import media
from avser.types import AudioTrack, MediaError

NTSC, FILM = "30000/1001", "24000/1001"
SYNC = 0.04
"""Greatest error of a beep's time, in s. A flash may come up to one frame late, and the pattern of a variable
rate leaves out up to two frames in a row."""
ROUNDED = 0.004
"""What containers that count milliseconds take from a time or add, in s: some ffmpegs round it more than once."""


def flash_time(path: Path, **options) -> float:
    """Time of the first bright frame, in s."""
    return next(f.time for f in media.iter_frames(path, **options) if f.image.mean() > 128)


def beep_time(track: AudioTrack) -> float:
    """Time of the first loud sample, in s."""
    return track.start + int(np.argmax(np.abs(track.samples) > 0.1 * np.abs(track.samples).max())) / track.rate


def faststart(make_media, source: Path) -> Path:
    """The same mp4 with its index in front."""
    return make_media("front.mp4", "-i", source, "-c", "copy", "-movflags", "+faststart")


def cut(path: Path, share: float, to: Path) -> Path:
    """The first part of a file."""
    data = path.read_bytes()
    to.write_bytes(data[: int(len(data) * share)])
    return to


CLIPS = {
    "25": {},
    "29.97": {"fps": NTSC},
    "23.976": {"fps": FILM},
    "60": {"fps": "60"},
    "vfr": {"fps": "30", "vfr": True},
    "vfr mkv": {"name": "clip.mkv", "fps": NTSC, "vfr": True},
    "late sound": {"audio_delay": 0.7},
    "late picture": {"video_delay": 0.7},
    "both late": {"name": "clip.mkv", "video_delay": 1.3, "audio_delay": 1.0},
    "sound 11 ms late": {"audio_delay": 0.011},
    "avi": {"name": "clip.avi", "audio": ("pcm_s16le",)},
    "flv": {"name": "clip.flv", "video": ("flv",), "audio": ("aac",)},
    "flv late sound": {"name": "clip.flv", "video": ("flv",), "audio": ("aac",), "audio_delay": 0.5},
    "mpeg1": {"name": "clip.mpg", "video": ("mpeg1video",), "audio": ("mp2",)},
    "mpeg1 late sound": {"name": "clip.mpg", "video": ("mpeg1video",), "audio": ("mp2",), "audio_delay": 0.5},
    "mpeg1 late picture": {"name": "clip.mpg", "video": ("mpeg1video",), "audio": ("mp2",), "video_delay": 0.52},
    "transport stream": {
        "name": "clip.ts",
        "fps": NTSC,
        "video": ("mpeg2video",),
        "audio": ("mp2",),
        "video_delay": 0.5,
    },
}


@pytest.mark.parametrize("options", CLIPS.values(), ids=CLIPS)
def test_flash_and_beep_share_one_clock(flash_beep, options):
    clip = flash_beep(**options)
    frame = (3 if options.get("vfr") else 1) / float(Fraction(options.get("fps", "25")))
    assert -ROUNDED <= flash_time(clip.path) - clip.flash <= frame + ROUNDED
    assert abs(beep_time(media.read_audio(clip.path)) - clip.beep) < SYNC
    # thinned frames keep their own times
    assert -ROUNDED <= flash_time(clip.path, fps=15) - clip.flash <= frame + 1 / 15 + ROUNDED
    # and so do frames and sound that are read from the middle
    assert abs(flash_time(clip.path, start=0.6) - flash_time(clip.path)) < 1e-6
    assert abs(beep_time(media.read_audio(clip.path, start=0.613)) - clip.beep) < SYNC


@pytest.mark.parametrize(
    ("name", "video", "audio", "codecs"),
    [
        ("clip.webm", ("libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"), ("libopus",), ("vp9", "opus")),
        (
            "clip.mov",
            ("libx265", "-preset", "ultrafast", "-x265-params", "log-level=0"),
            ("aac",),
            ("hevc", "aac"),
        ),
        ("clip.mp4", ("libx264", "-preset", "ultrafast"), ("libmp3lame",), ("h264", "mp3")),
    ],
)
def test_modern_codecs(flash_beep, name, video, audio, codecs):
    need_encoder(video[0])
    need_encoder(audio[0])
    clip = flash_beep(name, video=video, audio=audio, fps=NTSC, rate=48000)
    info = media.probe(clip.path)
    assert (info.video_codec, info.audio_codec) == codecs
    assert info.fps == Fraction(30000, 1001)
    assert (info.width, info.height, info.audio_rate, info.audio_channels) == (160, 120, 48000, 1)
    assert -0.002 <= flash_time(clip.path) - clip.flash <= 0.04
    assert abs(beep_time(media.read_audio(clip.path)) - clip.beep) < SYNC


def test_reading_far_into_a_file_seeks_to_the_same_frames_and_sound(make_media):
    for name, video, audio in (
        ("long.mp4", "mpeg4", "aac"),
        ("long.mpg", "mpeg1video", "mp2"),
        ("long.flv", "flv", "aac"),
        ("long.mkv", "mpeg4", "flac"),
    ):
        path = make_media(
            *(name, "-f", "lavfi", "-i", f"testsrc=s=64x48:r={NTSC}:d=16"),
            *("-f", "lavfi", "-i", "aevalsrc='0.4*sin(2*PI*(200+60*t)*t):s=44100:d=16'"),
            *("-c:v", video, "-c:a", audio),
        )
        some = list(media.iter_frames(path, start=12.0, end=13.0))
        same = [f for f in media.iter_frames(path) if 12.0 <= f.time < 13.0]
        assert [f.time for f in some] == [f.time for f in same], name
        assert 28 <= len(some) <= 31
        assert np.abs(some[0].image.astype(int) - same[0].image).mean() < 3
        whole, part = media.read_audio(path), media.read_audio(path, start=12.0, end=13.0)
        assert (part.start, len(part.samples)) == (12.0, 16000)
        lag = np.argmax(np.correlate(whole.between(11.9, 13.1).samples, part.samples, "valid")) / 16000 - 0.1
        assert abs(lag) < 0.005, name


def test_a_gap_in_the_sound_becomes_silence(make_media):
    sound = "aevalsrc='0.5*sin(2*PI*880*t):s=16000:d=3',aselect='not(between(t,1,2))'"
    path = make_media("gap.mkv", "-f", "lavfi", "-i", sound, "-c:a", "pcm_s16le")
    track = media.read_audio(path)
    assert np.abs(track.between(1.1, 1.9).samples).max() < 1e-3
    assert np.abs(track.between(0.5, 0.9).samples).max() > 0.3
    assert np.abs(track.between(2.2, 2.8).samples).max() > 0.3


def test_blocks_are_the_whole_in_order(flash_beep):
    path = flash_beep().path
    whole = media.read_audio(path, rate=8000)
    blocks = list(media.iter_audio(path, rate=8000, block=0.7))
    assert [round(b.start, 6) for b in blocks] == [round(0.7 * i, 6) for i in range(len(blocks))]
    np.testing.assert_array_equal(np.concatenate([b.samples for b in blocks]), whole.samples)
    assert whole.samples.dtype == np.float32
    assert 2.8 < whole.end < 3.2
    assert len(media.read_audio(path, start=60.0).samples) == 0
    assert list(media.iter_frames(path, start=60.0)) == []


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_mixed_down_without_clipping(make_media, channels):
    tone = "|".join(["0.9*sin(2*PI*440*t)"] * channels)
    path = make_media("many.wav", "-f", "lavfi", "-i", f"aevalsrc='{tone}:s=48000:d=1'", "-c:a", "pcm_s16le")
    assert media.probe(path).audio_channels == channels
    samples = media.read_audio(path).between(0.2, 0.8).samples
    assert 0.8 < np.abs(samples).max() < 0.95


def test_one_sided_sound_is_kept(make_media):
    path = make_media("left.wav", "-f", "lavfi", "-i", "aevalsrc='0.8*sin(2*PI*440*t)|0:s=48000:d=1'")
    assert 0.35 < np.abs(media.read_audio(path).samples).max() < 0.45


@pytest.mark.parametrize(
    ("name", "names", "codec"),
    [
        ("tone.wav", ("pcm_s16le",), "pcm_s16le"),
        ("tone.flac", ("flac",), "flac"),
        ("tone.mp3", ("libmp3lame",), "mp3"),
        ("tone.opus", ("libopus",), "opus"),
    ],
)
def test_sound_files(make_media, name, names, codec):
    encoder = need_encoder(*names)
    sound = "aevalsrc='0.5*sin(2*PI*880*t)*gte(t,1):s=48000:d=2'"
    path = make_media(name, "-f", "lavfi", "-i", sound, "-c:a", encoder)
    info = media.probe(path)
    assert (info.has_audio, info.has_video, info.audio_codec, info.fps) == (True, False, codec, None)
    assert info.duration == pytest.approx(2.0, abs=0.1)
    track = media.read_audio(path)
    assert abs(beep_time(track) - 1.0) < SYNC
    with pytest.raises(media.NoStreamError, match="no video"):
        next(media.iter_frames(path))


@pytest.mark.parametrize("name", ["song.mp3", "song.flac"])
def test_a_cover_picture_is_no_video(make_media, audio_only, name):
    encoder = need_encoder("libmp3lame" if name.endswith("mp3") else "flac")
    cover = make_media("cover.png", "-f", "lavfi", "-i", "testsrc=s=64x64:d=1", "-frames:v", "1")
    arguments = ("-i", audio_only, "-i", cover, "-map", "0", "-map", "1", "-c:a", encoder, "-c:v", "copy")
    path = make_media(name, *arguments, "-disposition:v", "attached_pic")
    info = media.probe(path)
    assert info.has_audio
    assert not info.has_video
    assert info.width is None


def test_video_without_sound(video_only):
    info = media.probe(video_only)
    assert (info.has_audio, info.has_video, info.audio_codec, info.audio_rate) == (False, True, None, None)
    with pytest.raises(media.NoStreamError, match="no sound"):
        media.read_audio(video_only)


def test_an_empty_sound_stream_is_none(hollow_sound):
    with pytest.raises(media.NoStreamError, match="empty"):
        media.read_audio(hollow_sound)
    assert len(list(media.iter_frames(hollow_sound))) == 75


def test_a_fifth_of_a_second(make_media):
    path = make_media("short.mp4", "-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=0.2", "-c:v", "mpeg4")
    assert [round(f.time, 3) for f in media.iter_frames(path)] == [0.0, 0.04, 0.08, 0.12, 0.16]


@pytest.mark.parametrize(("degrees", "matrix"), [(90, (0, 1, -1, 0)), (180, (-1, 0, 0, -1)), (270, (0, -1, 1, 0))])
def test_rotation_metadata_is_applied(make_media, tmp_path, degrees, matrix):
    picture = "color=black:s=160x120:r=25:d=0.4,drawbox=color=white:t=fill:h=60"  # the upper half is white
    source = make_media("upright.mp4", "-f", "lavfi", "-i", picture, "-c:v", "mpeg4", "-q:v", "3")
    data = bytearray(source.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # the display matrix of a track header of version 0
    a, b, c, d = (v * 65536 for v in matrix)
    struct.pack_into(">9i", data, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path = tmp_path / "turned.mp4"
    path.write_bytes(data)
    info = media.probe(path)
    frame = next(media.iter_frames(path))
    assert (info.width, info.height) == ((160, 120) if degrees == 180 else (120, 160))
    assert frame.image.shape == (info.height, info.width, 3)
    rows, columns = frame.image.mean(axis=(1, 2)), frame.image.mean(axis=(0, 2))
    bright = {90: columns[-20:], 180: rows[-20:], 270: columns[:20]}[degrees]  # clockwise
    dark = {90: columns[:20], 180: rows[:20], 270: columns[-20:]}[degrees]
    assert bright.min() > 200
    assert dark.max() < 60


def test_pixels_that_are_not_square(make_media):
    picture = "color=gray:s=144x120:r=25:d=0.4,setsar=16/9"
    path = make_media("wide.mp4", "-f", "lavfi", "-i", picture, "-c:v", "mpeg4")
    assert (media.probe(path).width, media.probe(path).height) == (256, 120)
    assert next(media.iter_frames(path)).image.shape == (120, 256, 3)


def test_scaling_never_enlarges_and_keeps_the_aspect(flash_beep):
    portrait = flash_beep(size="90x161").path
    assert next(media.iter_frames(portrait, height=80)).image.shape == (80, 44, 3)
    assert next(media.iter_frames(portrait, height=999)).image.shape == (160, 90, 3)


def test_colours_are_rgb(make_media):
    path = make_media("red.mp4", "-f", "lavfi", "-i", "color=red:s=64x64:r=25:d=0.2", "-c:v", "mpeg4", "-q:v", "2")
    red, green, blue = next(media.iter_frames(path)).image.mean(axis=(0, 1))
    assert red > 230
    assert green < 25
    assert blue < 25


@pytest.mark.parametrize("fps", [1, 7.5, 10, 24, 60])
def test_thinning_selects_frames_and_never_doubles_them(flash_beep, fps):
    path = flash_beep(fps=NTSC).path
    times = [f.time for f in media.iter_frames(path, height=32)]
    thin = [f.time for f in media.iter_frames(path, height=32, fps=fps)]
    assert set(thin) <= set(times)
    assert all(a < b for a, b in itertools.pairwise(thin))
    assert len(thin) == pytest.approx(3 * min(fps, 29.97), abs=1.5)


@pytest.mark.parametrize(("between", "spared"), [(2, True), (16, False)])
def test_frames_that_no_other_needs_are_left_out_where_enough_remain(make_media, between, spared):
    """Few B-frames between the others, and decoding does without them; many, and it takes them after all."""
    need_encoder("libx264")
    encoder = ["-c:v", "libx264", "-bf", str(between), "-b_strategy", "0", "-sc_threshold", "0", "-g", "200"]
    source = ["-f", "lavfi", "-i", "testsrc=size=96x64:rate=30:duration=3"]
    path = make_media("b.mp4", *source, *encoder, "-x264-params", "b-pyramid=none:b-adapt=0")
    fps = 10.0
    thin, times = ([f.time for f in media.iter_frames(path, fps, skip=skip)] for skip in (True, False))
    assert np.diff(thin).max() <= media.MAX_SKIPPED / fps
    if spared:
        assert len(thin) == pytest.approx(len(times), abs=2)
    else:  # from the second frame on they are the same
        assert thin[0] == times[0]
        assert thin[1:] == times[1:]
    assert [f.time for f in media.iter_frames(path, 20.0, skip=True)] == [
        f.time for f in media.iter_frames(path, 20.0)
    ]  # the file has not twice as many


def test_a_range_is_closed_at_its_start_and_open_at_its_end(flash_beep):
    times = [f.time for f in media.iter_frames(flash_beep().path, start=0.4, end=0.8)]
    np.testing.assert_allclose(times, np.arange(10, 20) / 25, atol=1e-5)


# what is broken


def test_bad_inputs_are_one_sentence_each(tmp_path, flash_beep):
    text = tmp_path / "text.mp4"
    text.write_text("This is no video.\n" * 50)
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(np.random.default_rng(0).bytes(50_000))
    empty = tmp_path / "empty.mp4"
    empty.touch()
    headless = cut(flash_beep().path, 0.5, tmp_path / "headless.mp4")
    cases = {
        tmp_path / "missing.mp4": "no file",
        tmp_path / ("x" * 300 + ".mp4"): "check the name",
        tmp_path: "folder",
        empty: "empty",
        text: "no media file",
        noise: "no media file",
        headless: "cut short",
    }
    for path, words in cases.items():
        for call in (media.probe, media.read_audio, lambda p: list(media.iter_frames(p))):
            with pytest.raises(MediaError, match=words) as caught:
                call(path)
            message = str(caught.value)
            assert path.name in message
            assert "\n" not in message


def test_a_truncated_file_gives_the_part_that_is_there(make_media, flash_beep, tmp_path, caplog):
    whole = faststart(make_media, flash_beep().path)
    path = cut(whole, 0.7, tmp_path / "cut.mp4")
    assert media.probe(path).duration == pytest.approx(3.0, abs=0.2)
    with caplog.at_level(logging.WARNING):
        frames = list(media.iter_frames(path))
        track = media.read_audio(path)
    assert 20 < len(frames) < 75
    assert 0.5 < track.end < 3.0
    assert "cut.mp4 is damaged or cut short" in caplog.text
    caplog.clear()
    assert len(list(media.iter_frames(whole))) == 75
    assert not caplog.text


def test_a_file_with_a_header_and_no_data_is_one_error(make_media, flash_beep, tmp_path):
    whole = faststart(make_media, flash_beep().path)
    data = whole.read_bytes()
    path = tmp_path / "header.mp4"
    path.write_bytes(data[: data.index(b"mdat") + 4])
    assert media.probe(path).has_audio
    for call in (media.read_audio, lambda p: list(media.iter_frames(p))):
        with pytest.raises(MediaError, match=r"header\.mp4"):
            call(path)


@pytest.mark.parametrize(
    "name",
    [
        "with space.mp4",
        "-i.mp4",
        'it\'s "quoted".mp4',
        "line\nbreak.mp4",
        "лицо 表情 😀.mp4",
        "50%d [a],b;c=d:e\\f.mp4",
        "http:x.mp4",
    ],
)
def test_awkward_names(video_only, tmp_path, monkeypatch, name):
    shutil.copy(video_only, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert media.probe(name).has_video
    assert sum(1 for _ in media.iter_frames(Path(name), height=32)) == 25
    with pytest.raises(media.NoStreamError) as caught:
        media.read_audio(name)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def long_clip(make_media) -> Path:
    """More pictures and sound than fit into any pipe or queue."""
    picture, sound = "color=gray:s=320x240:r=25:d=20", "sine=r=16000:d=300"
    arguments = ("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound)
    return make_media("long.mkv", *arguments, "-c:v", "mpeg4", "-c:a", "pcm_s16le")


@pytest.fixture
def started(monkeypatch) -> list[subprocess.Popen]:
    """The processes that the test starts."""
    processes, popen = [], subprocess.Popen

    def spy(*args, **kwargs):
        processes.append(popen(*args, **kwargs))
        return processes[-1]

    monkeypatch.setattr(subprocess, "Popen", spy)
    return processes


@pytest.mark.parametrize(
    "read", [media.iter_frames, lambda p: media.iter_audio(p, block=0.5)], ids=["video", "sound"]
)
def test_closing_early_ends_ffmpeg(long_clip, started, read):
    threads = threading.active_count()
    stream = read(long_clip)
    next(stream)
    next(stream)
    process = started[-1]
    assert process.poll() is None
    stream.close()
    assert process.returncode is not None
    assert process.stdout.closed
    assert process.stderr.closed
    assert threading.active_count() == threads


def test_an_ffmpeg_that_dies_is_an_error(long_clip, started):
    stream = media.iter_frames(long_clip)
    next(stream)
    started[-1].kill()
    with pytest.raises(MediaError, match=r"long\.mkv"):
        list(stream)


# real recordings

EDGE = {
    "GRID_sbwe5n.mpg": ("mpeg1video", "mp2", 360, 288, Fraction(25)),
    "OpenAV_2.webm": ("vp9", "opus", 640, 480, Fraction(30)),
    "OpenAV_fdfsdfds_0_1681132637_307531.mp4": ("h264", "aac", 1080, 1920, Fraction(60)),
    "faceapi_video.mp4": ("h264", None, 820, 460, Fraction(FILM)),
    "inferno_test.mp4": ("mpeg4", None, 896, 896, Fraction(20)),
    "pyfeat_input.mp4": ("h264", "mp3", 640, 360, Fraction(30)),
    "pyfeat_WolfgangLanger_Pexels.mp4": ("h264", "aac", 640, 360, Fraction(FILM)),
}


def test_real_recordings(data_root):
    paths = media.find_media(data_root / "av" / "edge")
    assert {p.name for p in paths} >= set(EDGE)
    for path in paths:
        info = media.probe(path)
        times = [f.time for f in media.iter_frames(path, fps=12, height=120)]
        assert times[0] < 0.1, path.name
        assert all(a < b for a, b in itertools.pairwise(times))
        assert abs(times[-1] - info.duration) < 0.2, path.name
        assert len(times) == pytest.approx(12 * info.duration, abs=3), path.name
        if info.has_audio:
            track = media.read_audio(path)
            assert 0.3 < track.end < info.duration + 0.1, path.name
        if path.name in EDGE:
            assert (info.video_codec, info.audio_codec, info.width, info.height, info.fps) == EDGE[path.name]


def test_real_variable_frame_rate_and_late_sound(data_root):
    edge = data_root / "av" / "edge"
    steps = np.diff([f.time for f in media.iter_frames(edge / "pyfeat_noface_face.mov", height=64)])
    assert steps.max() > 1.5 * steps.min()
    track = media.read_audio(edge / "pyfeat_face_noface.mov")  # its sound starts 2.43 s after the picture
    assert not track.between(0.0, 2.4).samples.any()
    assert np.abs(track.between(2.45, 6.0).samples).max() > 0.1
