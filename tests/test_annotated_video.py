"""The annotated video: every frame at its own time, sound in step, and what is drawn where it belongs."""

from __future__ import annotations

import dataclasses
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import SAMPLE, need_encoder

from avser import annotated_video, media
from avser.annotated_video import encoding, overlays, write_mp4
from avser.annotated_video.encoding import video_encoder
from avser.annotated_video.instants import Instants
from avser.annotated_video.planes import Planes, matrix
from avser.annotated_video.scenes import CANVAS, CANVAS_RATE
from avser.media.headers import read_header
from avser.options import Options
from avser.palette import colour
from avser.results import Person, Prediction, Result, Sightings
from avser.types import AvserError, MediaError
from avser.writers import write

LABELS = ("neutral", "happy", "sad")
NTSC, FILM = "30000/1001", "24000/1001"
EXACT = 0.001
"""Greatest error of a time, in s."""


def said(start, end, person=0, label="happy", prob=0.8, **facts) -> Prediction:
    """A prediction; with `label=None` one that abstains."""
    if label is None:
        return Prediction(start, end, person, None, None, **facts)
    probs = np.full(3, (1 - prob) / 2)
    probs[LABELS.index(label)] = prob
    both = {"audio": np.full(3, 1 / 3), "face": probs}
    return Prediction(start, end, person, probs, label, both, {"audio": 0.4, "face": 0.6}, **facts)


def seen(times, boxes, people=None) -> Sightings:
    count = len(times)
    people = np.zeros(count, int) if people is None else np.array(people)
    return Sightings(np.array(times, float), people, np.array(boxes, np.float32).reshape(-1, 4), np.ones(count))


def result_of(path: Path, sightings: Sightings | None = None, predictions=None, spans=None, **facts) -> Result:
    overall = said(0.0, 3.0, None)
    predictions = (said(0.0, 3.0),) if predictions is None else tuple(predictions)
    if sightings is not None:
        times = {i: sightings.times[sightings.people == i] for i in dict.fromkeys(sightings.people.tolist())}
        spans = spans or {i: ((t[0], t[-1]),) for i, t in times.items()}
        facts["people"] = tuple(Person(i, spans[i], len(t), overall) for i, t in times.items())
    info = read_header(path).info if path.exists() else None
    facts |= {"options": Options("fused"), "sightings": sightings}
    return Result(path, info, LABELS, predictions, overall, "m", "1", **facts)


def annotated(path: Path, tmp_path: Path, **facts) -> Path:
    return write(result_of(path, **facts), tmp_path / "out.mp4")


def times(path: Path) -> np.ndarray:
    return np.array([frame.time for frame in media.iter_frames(path, height=32)])


def movie_length(path: Path) -> float:
    """Duration of an mp4 file as its header says, in s."""
    data = path.read_bytes()
    place = data.index(b"mvhd") + 4
    rate, ticks = struct.unpack_from(*((">IQ", data, place + 20) if data[place] else (">II", data, place + 12)))
    return ticks / rate


def flash_time(path: Path) -> float:
    return next(f.time for f in media.iter_frames(path) if f.image[: f.image.shape[0] // 3].mean() > 128)


def beep_time(path: Path) -> float:
    samples = np.abs(media.read_audio(path).samples)
    return int(np.argmax(samples > 0.1 * samples.max())) / 16000


CLIPS = {
    "25": {},
    "29.97": {"fps": NTSC},
    "23.976": {"fps": FILM},
    "60": {"fps": "60"},
    "vfr": {"fps": "30", "vfr": True},
    "vfr mkv": {"name": "clip.mkv", "fps": NTSC, "vfr": True},
    "late sound": {"audio_delay": 0.7},
    "late picture": {"fps": NTSC, "video_delay": 0.7},
    "both late": {"name": "clip.mkv", "video_delay": 1.3, "audio_delay": 1.0},
    "sound 11 ms late": {"audio_delay": 0.011},
    "avi": {"name": "clip.avi", "audio": ("pcm_s16le",)},
    "avi late sound": {"name": "clip.mkv", "audio": ("pcm_s16le",), "audio_delay": 0.3},
    "mpeg": {"name": "clip.mpg", "video": ("mpeg1video",), "audio": ("mp2",), "audio_delay": 0.5},
    "transport stream": {"name": "clip.ts", "video": ("mpeg2video",), "audio": ("aac",), "video_delay": 0.5},
}


@pytest.mark.parametrize("options", CLIPS.values(), ids=CLIPS)
def test_every_frame_keeps_its_time_and_the_sound_its_place(flash_beep, tmp_path, options):
    source = flash_beep(**options).path
    made = annotated(source, tmp_path)
    wanted, found = times(source), times(made)
    assert len(found) == len(wanted)
    assert np.abs(found - wanted).max() < EXACT
    assert abs(flash_time(made) - flash_time(source)) < EXACT
    copied = media.probe(source).audio_codec == "aac"
    assert abs(beep_time(made) - beep_time(source)) < (EXACT if copied else 0.005)
    assert media.probe(made).audio_codec == "aac"
    assert media.probe(made).fps == media.probe(source).fps or options.get("vfr")
    if source.suffix == ".mp4":
        assert abs(movie_length(made) - movie_length(source)) <= EXACT


def test_sound_is_copied_where_it_fits(flash_beep, tmp_path):
    aac, pcm = flash_beep(), flash_beep(name="clip.mkv", audio=("pcm_s16le",))
    kept = media.read_audio(annotated(aac.path, tmp_path)).samples
    np.testing.assert_array_equal(kept, media.read_audio(aac.path).samples)
    anew = media.read_audio(annotated(pcm.path, tmp_path)).between(1.02, 1.18).samples
    assert np.corrcoef(anew, media.read_audio(pcm.path).between(1.02, 1.18).samples)[0, 1] > 0.99


def test_the_last_picture_lasts_as_long_as_in_the_source(make_media, tmp_path):
    slides = "testsrc=s=320x240:r=2:d=1.5"
    path = make_media("slides.gif", "-f", "lavfi", "-i", slides, "-final_delay", "300")  # the last one for 3 s
    made = annotated(path, tmp_path)
    np.testing.assert_allclose(times(made), [0.0, 0.5, 1.0], atol=EXACT)
    if next(media.iter_frames(path)).duration is None:
        pytest.skip("this ffmpeg does not tell how long pictures last")
    assert movie_length(made) == pytest.approx(4.0, abs=EXACT)


def test_another_encoder(flash_beep, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "ENCODERS", {"no_such": (), "mpeg4": ("-q:v", "4")})
    video_encoder.cache_clear()
    try:
        source = flash_beep(fps=FILM).path
        made = annotated(source, tmp_path)
        assert media.probe(made).video_codec == "mpeg4"
        np.testing.assert_allclose(times(made), times(source), atol=EXACT)
        monkeypatch.setattr(encoding, "ENCODERS", {"no_such": ()})
        video_encoder.cache_clear()
        with pytest.raises(MediaError, match=r"no video encoder \(no_such\)"):
            annotated(source, tmp_path)
    finally:
        video_encoder.cache_clear()


# what is drawn

GREY = "color=gray:s=640x360:r=25:d=2"


@pytest.fixture(scope="module")
def grey(make_media) -> Path:
    return make_media("grey.mp4", "-f", "lavfi", "-i", GREY, "-c:v", "mpeg4", "-q:v", "2")


def coloured(image: np.ndarray, label: str = "happy") -> np.ndarray:
    """Where a picture has an emotion's colour."""
    return (np.abs(image.astype(int) - overlays.rgb(colour(label).hex)) < 60).all(-1)


def test_a_box_is_where_the_face_is_and_only_while_it_is_there(grey, tmp_path):
    steps = np.arange(0.4, 1.21, 0.08)
    left = 100 + 200 * (steps - 0.4)
    boxes = np.column_stack([left, np.full_like(left, 120), left + 90, np.full_like(left, 230)])
    made = annotated(grey, tmp_path, sightings=seen(steps, boxes))
    drawn = 0
    for frame in media.iter_frames(made):
        picture = frame.image[:360]
        assert (frame.image.shape[1], coloured(frame.image[360:]).any()) == (640, True)
        if not 0.399 <= frame.time <= 1.2001:
            assert not coloured(picture).any(), frame.time
            assert np.abs(picture.astype(int) - 128).max() < 12
            continue
        drawn += 1
        rows, columns = np.nonzero(coloured(picture[:260]))
        x = 100 + 200 * (frame.time - 0.4)
        middle = columns[rows == 175]
        assert abs(middle.min() - (x - 2)) <= 2
        assert abs(middle.max() - (x + 91)) <= 2
        assert (
            np.abs(picture[124:226, round(x) + 4 : round(x) + 86].astype(int) - 128).max() < 16
        )  # the face is free
        assert coloured(picture[100:118, round(x) : round(x) + 60]).mean() > 0.4  # the plate above
    assert drawn == 21


def test_boxes_between_sightings():
    def boxes(times, at, spans=None, cuts=(), people=None):
        corners = [(100 * i, 0, 100 * i + 50, 50) for i in range(len(times))]
        result = result_of(Path("none"), seen(times, corners, people), (), spans, cuts=cuts)
        return {person: box[0] for person, box in Instants(result).boxes(at).items()}

    steady = [1.0, 1.1, 1.2]
    assert boxes(steady, 1.1) == {0: 100}
    assert boxes(steady, 1.125)[0] == pytest.approx(125)
    assert boxes(steady, 0.99) == boxes(steady, 1.21) == {}
    assert boxes(steady, 1.15, cuts=(1.17,)) == {}
    assert boxes(steady, 1.15, cuts=(1.1, 1.21))[0] == pytest.approx(150)  # a cut to this shot, and from it
    assert boxes(steady, 1.15, spans={0: ((1.0, 1.1), (1.2, 1.2))}) == {}
    assert boxes(steady, 1.2, spans={0: ((1.0, 1.1), (1.2, 1.2))}) == {0: 200}
    assert boxes([1.0, 1.1, 2.0, 2.1], 1.5) == {}  # not seen for too long
    assert boxes([1.0, 2.0, 3.0], 1.5)[0] == pytest.approx(50)  # looked for once a second
    assert boxes([1.0, 1.0, 1.1, 1.1], 1.05, people=[0, 3, 0, 3]) == pytest.approx({0: 100, 3: 200})


def test_what_is_said_of_an_instant():
    speech = {"speaking": 0.9, "speech": 0.5}
    predictions = [
        said(0, 3, 0, **speech),
        said(0, 3, 1, "sad"),
        said(1, 4, 0),
        said(2, 5, None, None, reason="dark"),
    ]
    instants = Instants(result_of(Path("none"), predictions=predictions, speech=((0.5, 1.0),)))
    assert [p.person for p in instants.group(0.0)] == [0, 1]
    assert instants.group(1.9)[0] is predictions[0]
    assert instants.group(2.1)[0] is predictions[2]
    assert instants.group(2.5) == (
        predictions[2],
        predictions[1],
    )  # nobody is told that it is dark while people are seen
    assert instants.group(4.5) == (predictions[3],)
    assert instants.group(9.0) == ()
    assert [instants.speaks(predictions[0], t) for t in (0.4, 0.5, 0.9, 1.0)] == [False, True, True, False]
    face_only = dataclasses.replace(predictions[1], modalities={"face": predictions[1].probs})
    assert not instants.speaks(face_only, 0.7)
    assert not instants.speaks(said(0, 3, None), 0.7)
    unknown = Instants(result_of(Path("none"), predictions=predictions))
    assert [unknown.speaks(p, 0.7) for p in predictions[:2]] == [True, False]


def test_whoever_speaks_has_a_thicker_frame(grey, tmp_path):
    sightings = seen(np.arange(0, 2, 0.08), np.tile((300, 150, 380, 250), (25, 1)))
    predictions = [said(0, 3, speaking=0.9)]
    made = annotated(grey, tmp_path, sightings=sightings, predictions=predictions, speech=((0.0, 1.0),))
    thick = {f.time: coloured(f.image[200:220, 270:300]).sum(1).mean() for f in media.iter_frames(made)}
    assert all(
        3 <= width <= 5 if time < 0.99 else 1 <= width <= 2.5 for time, width in thick.items() if time < 1.9
    )


def test_names_cover_no_face_and_stay_in_the_picture(grey, tmp_path):
    boxes = [(0, 0, 100, 120), (100, 0, 200, 120), (0, 121, 200, 359), (210, 0, 640, 360)]
    sightings = seen(np.repeat(np.arange(0, 2, 0.08), 4), boxes * 25, [0, 1, 2, 3] * 25)
    made = annotated(grey, tmp_path, sightings=sightings, predictions=[said(0, 3, person) for person in range(4)])
    image = next(media.iter_frames(made)).image
    for x1, y1, x2, y2 in boxes:
        # another face's frame may run along the edge
        assert not coloured(image[y1 + 6 : y2 - 6, x1 + 6 : x2 - 6]).any()


def test_bars_are_as_long_as_probabilities():
    result = result_of(Path("none"), predictions=[said(0, 3, prob=0.5)])
    strip = overlays.Strip(result, Instants(result), 640, 360, 1.0)
    image = strip.draw(result.predictions, frozenset())
    assert image.shape == (strip.height, 640, 3)
    row = next(y for y in range(strip.height) if coloured(image[y]).sum() > 50 and y > 40)
    yellow = np.nonzero(coloured(image[row]))[0]
    track = np.nonzero((image[row] == overlays.TRACK).all(-1))[0]
    wide = (track.max() + 1 - yellow.min() - 2 * 6) / 3
    assert len(yellow) / wide == pytest.approx(1 / 3 + 0.5 + 0.5, abs=0.06)  # voice, face, fused


@pytest.mark.parametrize(
    ("width", "height", "unit"), [(640, 360, 1.0), (1920, 1080, 3.0), (1080, 1920, 3.0), (448, 336, 1.0)]
)
@pytest.mark.parametrize("people", [1, 2, 6, 20])
def test_a_strip_of_many_people_is_no_higher_than_it_may_be(width, height, unit, people):
    predictions = [said(0, 3, person, note="unclear who speaks") for person in range(people)]
    predictions.append(said(0, 3, None, None, reason="no sound that could be speech and no face seen " * 3))
    result = result_of(Path("none"), predictions=predictions)
    strip = overlays.Strip(result, Instants(result), width, height, unit)
    image = strip.draw(predictions, frozenset({people - 1}))
    assert image.shape == (strip.height, width, 3)
    assert strip.height % 2 == 0
    assert strip.height <= max(overlays.MOST_STRIP * height, 125 * unit) + 20 * unit
    assert image.max() > 200


def test_text_is_fitted():
    assert overlays.shortened("a word", 8, 500) == "a word"
    cut = overlays.shortened("a long reason", 8, 60)
    assert cut.endswith("..")
    assert overlays.text_width(cut, 8) <= 60
    lines = overlays.wrapped("no sound that could be speech and no face seen", 8, 120, 2)
    assert len(lines) == 2
    assert all(overlays.text_width(line, 8) <= 120 for line in lines)


def test_colours_are_what_ffmpeg_makes_of_them(make_media):
    planes = Planes(64, 64, matrix("bt709"))
    planes.paste(planes.convert(np.full((64, 64, 3), (200, 40, 90), np.uint8)), 0, 0)
    source = "color=0xC8285A:s=64x64:d=0.04,format=rgb24,scale=out_color_matrix=bt709,format=yuv420p"
    output = ("-pix_fmt", "yuv420p", "-f", "rawvideo")
    raw = np.frombuffer(make_media("raw.yuv", "-f", "lavfi", "-i", source, *output).read_bytes(), np.uint8)
    np.testing.assert_allclose(planes.data, raw[: 64 * 96], atol=2)


# every kind of source


@pytest.mark.parametrize("size", ["16x16", "34x22", "161x121", "90x161", "322x241", "640x360"])
def test_sizes(make_media, tmp_path, size):
    source = f"testsrc=s={size}:r=10:d=0.5"
    path = make_media("size.mkv", "-f", "lavfi", "-i", source, "-c:v", "ffv1")
    made = annotated(path, tmp_path, sightings=seen([0, 0.1, 0.2], np.tile((2, 2, 9, 9), (3, 1))))
    info = media.probe(made)
    width, height = map(int, size.split("x"))
    assert min(info.width, info.height) >= 270
    assert info.width / width == pytest.approx(round(info.width / width), rel=0.02)
    assert info.height > height * round(info.width / width)
    assert len(times(made)) == 5


def test_upright(make_media, tmp_path):
    picture = "color=black:s=480x320:r=25:d=0.4,drawbox=color=white:t=fill:h=160"  # the upper half is white
    source = make_media("flat.mp4", "-f", "lavfi", "-i", picture, "-c:v", "mpeg4", "-q:v", "3")
    data = bytearray(source.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # the display matrix: a quarter turn clockwise
    one = 1 << 16
    struct.pack_into(">9i", data, place, 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(data)
    made = annotated(turned, tmp_path, sightings=seen([0.0, 0.2], np.tile((20, 200, 100, 300), (2, 1))))
    image = next(media.iter_frames(made)).image
    assert image.shape[1] == 320
    assert image[:150, 200:].min() > 200  # white on the right
    assert image[:150, :120].max() < 60
    assert coloured(image[250, 16:22]).any()
    assert (
        "rotat" not in subprocess.run([media.ffmpeg_binary(), "-i", made], capture_output=True, text=True).stderr
    )


def test_without_sound(video_only, tmp_path):
    made = annotated(video_only, tmp_path)
    info = media.probe(made)
    assert (info.has_audio, info.has_video) == (False, True)
    assert abs(movie_length(made) - movie_length(video_only)) < EXACT


def test_sound_alone_gets_a_canvas(audio_only, tmp_path):
    predictions = [said(0, 0.6, None), said(0.6, 1.0, None, None, reason="no sound that could be speech")]
    made = annotated(audio_only, tmp_path, predictions=predictions)
    info = media.probe(made)
    assert (info.has_audio, info.width, info.fps) == (True, CANVAS[0], CANVAS_RATE)
    frames = list(media.iter_frames(made))
    shown = [coloured(f.image[: CANVAS[1] - 100]).any() for f in frames]
    assert shown == [f.time < 0.59 for f in frames]
    assert abs(media.read_audio(made).end - 1.0) < 0.1


def test_a_sound_stream_without_sound(hollow_sound, tmp_path):
    assert len(times(annotated(hollow_sound, tmp_path))) == 75


BT709 = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")


@pytest.mark.parametrize(
    "arguments",
    [
        ("mjpeg.avi", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "2"),
        ("rgb.mkv", "png", "-pix_fmt", "rgb24"),
        ("alpha.mov", "qtrle", "-pix_fmt", "argb"),
        ("ten.mkv", "ffv1", "-pix_fmt", "yuv422p10le"),
        ("hd.mkv", "ffv1", "-pix_fmt", "yuv420p", "-vf", "scale=out_color_matrix=bt709", *BT709),
    ],
    ids=lambda arguments: arguments[0],
)
def test_colours_survive(make_media, tmp_path, arguments):
    name, encoder, *options = arguments
    bars = "smptebars=s=640x360:r=10:d=0.3"
    path = make_media(name, "-f", "lavfi", "-i", bars, "-c:v", need_encoder(encoder), *options)
    made = annotated(path, tmp_path)
    assert read_header(made).pixels.startswith("yuv420p(")
    before, after = next(media.iter_frames(path)).image, next(media.iter_frames(made)).image[:360]
    assert np.abs(before[:200, 20:70].astype(int) - after[:200, 20:70]).mean() < 4
    assert np.median(np.abs(before.astype(int) - after)) <= 4


def test_hdr_becomes_standard_range(make_media, tmp_path):
    # white of paper, 203 cd/m², is 58 % of PQ's signal
    picture = "color=0x949494:s=640x360:r=10:d=0.3,format=yuv420p10le"
    tags = ("-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", "smpte2084")
    tagged = ",setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084:range=tv"
    path = make_media("hdr.mkv", "-f", "lavfi", "-i", picture + tagged, "-c:v", "ffv1", *tags)
    made = annotated(path, tmp_path)
    if "bt2020" in read_header(made).pixels:
        pytest.skip("this ffmpeg has no zscale: HDR stays as it is")
    assert "bt709" in read_header(made).pixels
    assert next(media.iter_frames(made)).image[:300].mean() > 170


# what goes wrong


def test_a_disc_that_is_full(grey):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_mp4(result_of(grey), Path("/dev/full"))


def test_ctrl_c_leaves_nothing(grey, tmp_path, monkeypatch):
    processes, popen = [], subprocess.Popen

    def spy(*args, **kwargs):
        processes.append(popen(*args, **kwargs))
        return processes[-1]

    def stop(second):
        if second > 0.5:
            raise KeyboardInterrupt

    video_encoder()
    monkeypatch.setattr(subprocess, "Popen", spy)
    with pytest.raises(KeyboardInterrupt):
        write(result_of(grey), tmp_path / "out.mp4", progress=stop)
    assert list(tmp_path.iterdir()) == []
    assert len(processes) >= 2  # one reads, one writes; the header may have been read before
    assert all(process.returncode is not None for process in processes)


def test_sound_that_cannot_be_copied_is_encoded(flash_beep, tmp_path):
    source = flash_beep(name="clip.ts", video=("mpeg2video",), audio=("aac",)).path
    data = bytearray(source.read_bytes())
    for place in range(len(data) * 2 // 3, len(data), 500):
        data[place] ^= 0x55
    damaged = tmp_path / "damaged.ts"
    damaged.write_bytes(data)
    made = annotated(damaged, tmp_path)
    np.testing.assert_allclose(times(made), times(damaged), atol=EXACT)
    assert abs(beep_time(made) - beep_time(damaged)) < 0.005


def test_sound_that_cannot_even_be_decoded_is_left_out(flash_beep, tmp_path, caplog):
    source = flash_beep(name="clip.mkv", audio=("aac",)).path
    monstrous = source.read_bytes().replace(b"A_AAC", b"A_AC3")  # no such sound is in there
    path = tmp_path / "odd.mkv"
    path.write_bytes(monstrous)
    made = annotated(path, tmp_path)
    np.testing.assert_allclose(times(made), times(path), atol=EXACT)
    assert media.probe(made).has_audio or "the sound of" in caplog.text


def test_an_encoder_that_dies_is_one_sentence(grey, tmp_path, monkeypatch):
    encoders = []

    class Spied(encoding.Encoder):
        def __init__(self, *args):
            super().__init__(*args)
            encoders.append(self)

    monkeypatch.setattr(annotated_video, "Encoder", Spied)
    with pytest.raises(AvserError) as caught:
        write(result_of(grey), tmp_path / "out.mp4", progress=lambda second: encoders[0].process.kill())
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_is_gone(grey, tmp_path):
    result = result_of(grey)
    moved = dataclasses.replace(result, path=tmp_path / "gone.mp4")
    with pytest.raises(MediaError, match="there is no file"):
        write(moved, tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []


def test_progress_rises_to_the_end(grey, tmp_path):
    seconds = []
    write(result_of(grey), tmp_path / "out.mp4", progress=seconds.append)
    assert seconds == sorted(seconds)
    assert seconds[-1] == pytest.approx(1.96)


# real recordings


def test_the_sample(tmp_path):
    made = annotated(SAMPLE, tmp_path)
    np.testing.assert_allclose(times(made), times(SAMPLE), atol=EXACT)
    lag = np.correlate(
        media.read_audio(made).between(1, 4).samples, media.read_audio(SAMPLE).between(1.1, 3.9).samples
    )
    assert abs(np.argmax(lag) / 16000 - 0.1) < EXACT


def test_real_recordings(data_root, tmp_path):
    for path in media.find_media(data_root / "av" / "edge"):
        made = annotated(path, tmp_path)
        np.testing.assert_allclose(times(made), times(path), atol=EXACT, err_msg=path.name)
        assert media.probe(made).has_audio == media.probe(path).has_audio, path.name
