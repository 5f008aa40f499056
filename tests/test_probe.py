"""Finding media files and reading their headers; `test_media` checks the facts of what it reads."""

import shutil
from fractions import Fraction

import pytest

from avser.media.headers import ffmpeg_binary, find_media, probe
from avser.types import MediaError

NTSC, FILM = "30000/1001", "24000/1001"


@pytest.mark.parametrize(
    ("fps", "exact"),
    [("25", Fraction(25)), (NTSC, Fraction(NTSC)), (FILM, Fraction(FILM)), ("60000/1001", Fraction(60000, 1001))],
)
def test_frame_rates_are_exact(flash_beep, fps, exact):
    assert probe(flash_beep(fps=fps).path).fps == exact


def test_find_media(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/two.MP4", "a.wav", "notes.txt", "._a.wav"):
        (tmp_path / name).touch()
    assert find_media(tmp_path) == [tmp_path / "a.wav", tmp_path / "b" / "two.MP4"]
    assert find_media(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    with pytest.raises(MediaError, match="no file"):
        find_media(tmp_path / "none")
    (tmp_path / "c").mkdir()
    with pytest.raises(MediaError, match="no media files"):
        find_media(tmp_path / "c")


def test_without_any_ffmpeg(monkeypatch):
    import imageio_ffmpeg

    def none():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none)
    with pytest.raises(MediaError, match="there is no ffmpeg"):
        ffmpeg_binary.__wrapped__()


def test_a_file_cannot_open_others(make_media, flash_beep, tmp_path):
    shutil.copy(flash_beep().path, tmp_path / "secret.mp4")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n"
    (tmp_path / "play.mp4").write_text(head + f"{tmp_path / 'secret.mp4'}\n#EXT-X-ENDLIST\n")
    (tmp_path / "net.mp4").write_text(head + "http://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    for name in ("list.mp4", "play.mp4", "net.mp4"):
        with pytest.raises(MediaError, match="no media file"):
            probe(tmp_path / name)
