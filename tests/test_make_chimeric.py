"""The tool that builds a chimeric corpus: pairs of one emotion, and nobody who recurs."""

from __future__ import annotations

import csv
import importlib.util
import shutil
import sys
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import need_encoder
from corpora import make_picture, make_sound, write_wav

from avser import datasets, media

TOOL = Path(__file__).parents[1] / "tools" / "make_chimeric.py"
EMOTIONS = {"happy": ("03", "F"), "sad": ("04", "T"), "angry": ("05", "W")}
"""As RAVDESS and EmoDB write them."""


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("make_chimeric", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """Miniatures of RAVDESS, EmoDB, CK+ and FER2013, in which pictures and a recording recur."""
    root = tmp_path_factory.mktemp("sources")
    rng = np.random.default_rng(0)

    def write_sound(path: Path, emotion: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_wav(path, make_sound(emotion, rng))

    for emotion, (number, letter) in EMOTIONS.items():
        for actor in ("01", "02"):
            for take in ("01", "02"):
                write_sound(root / "ravdess" / f"03-01-{number}-01-01-{take}-{actor}.wav", emotion)
            write_sound(root / "ravdess" / f"03-02-{number}-01-01-01-{actor}.wav", emotion)  # a song
        write_sound(root / "emodb" / f"03a01{letter}a.wav", emotion)
        for subject in ("S010", "S011"):
            for frame in (15, 16, 17):
                write_picture(root / "ck" / emotion / f"{subject}_001_{frame:08d}.png", make_picture(emotion, rng))
        for picture in range(8):
            write_picture(
                root / "fer" / "Training" / emotion / f"fer{number}{picture:05d}.png", make_picture(emotion, rng)
            )
        shutil.copy(
            root / "fer/Training" / emotion / f"fer{number}00000.png",
            root / f"fer/Training/{emotion}/fer{number}.png",
        )
    return root


def write_picture(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


@pytest.fixture
def build(tool, sources, tmp_path, monkeypatch):
    """`build(argument, …)`: run the tool; the rows of its manifest."""
    need_encoder("libx264")

    def run(*arguments: object) -> list[dict[str, str]]:
        command = ["make_chimeric", tmp_path / "out", "--voices", f"ravdess={sources / 'ravdess'}"]
        command += ["--voices", f"emodb={sources / 'emodb'}", "--faces", f"ckplus={sources / 'ck'}"]
        command += ["--faces", f"fer2013={sources / 'fer'}", *arguments]
        monkeypatch.setattr(sys, "argv", [str(part) for part in command])
        tool.main()
        with (tmp_path / "out" / "chimeric.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    return run


def test_faces_and_voices_are_paired_by_emotion_and_kept_apart(build, tool, tmp_path, capsys):
    rows = build("--subjects", 3, "--clips", 2)
    assert "chimeric" in capsys.readouterr().out
    owners = defaultdict(set)
    for row in rows:
        assert Path(row["path"]).parts[0] == row["label"]
        assert Path(row["path"]).name.startswith(f"chimeric_{row['subject']}_")
        owners["voice", row["voice_corpus"], row["voice_subject"]].add(row["subject"])
        owners["recording", row["voice"]].add(row["path"])
        for face in row["face"].split():
            owners["face", row["face_corpus"], row["face_subject"] or face].add(row["subject"])
    assert {row["subject"] for row in rows} == {"S01", "S02", "S03"}
    assert all(len(found) == 1 for found in owners.values())
    assert {row["face_corpus"] for row in rows} == {"ckplus", "fer2013"}
    sequences = [row["face"].split() for row in rows if row["face_corpus"] == "ckplus"]
    assert all([name[-2:] for name in sequence] == ["15", "16", "17"] for sequence in sequences)

    clips = datasets.scan("folder", tmp_path / "out", subject=tool.SUBJECT)
    assert sorted(clip.path.name for clip in clips) == sorted(Path(row["path"]).name for row in rows)
    assert {clip.subject for clip in clips} == {"S01", "S02", "S03"}
    info = media.probe(clips[0].path)
    assert info.has_audio
    assert (info.width, info.height) == (tool.SIDE, tool.SIDE)
    seen = list(media.iter_frames(clips[0].path))
    assert not np.array_equal(seen[0].image, seen[-1].image)


def test_identical_pictures_count_as_one(build, sources):
    rows = build("--subjects", 3, "--clips", 2)
    pictures = [
        cv2.imread(str(sources / "fer" / "Training" / row["label"] / f"{row['face']}.png")).tobytes()
        for row in rows
        if row["face_corpus"] == "fer2013"
    ]
    assert len(set(pictures)) == len(pictures)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--subjects", 4], "4 subjects need as many speakers, and there are 3"),
        (["--faces", "lfw=x"], "NAME one of ckplus, fer2013"),
        (["--voices", "ravdess=nowhere"], "there is no nowhere"),
    ],
)
def test_what_is_refused(build, arguments, message):
    with pytest.raises(SystemExit, match=message):
        build(*arguments)


def test_a_folder_that_holds_something_is_left_alone(build, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(SystemExit, match="is not empty"):
        build()
