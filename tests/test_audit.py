"""`avser audit`: copies planted in made-up corpora, every form of split, exit codes, known flaws of real data."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from conftest import SAMPLE, need_encoder
from corpora import make_corpus, mini_settings, write_units, write_wav
from planted import face, voice

from avser import media
from avser.audit.search import KINDS, audit
from avser.audit.sources import of_config, read_split
from avser.audit.twins import SAME_SOUND
from avser.logits import LogitTable, write_logits
from avser.types import ConfigError, DataError


def write_manifest(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def found(path: Path, **more) -> dict[tuple[str, ...], str]:
    """What an audit finds: the names of the files of each group, and its kind."""
    done = audit(read_split(path, **more))
    return {tuple(done.split.clips[i].path.name for i in f.clips): f.kind for f in done.findings}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory, make_media) -> Path:
    """Six voices, and beside them copies: of the bytes, as FLAC, quiet and encoded anew, with a start cut off.

    `hiss.wav` is the noise that lies under every voice.
    """
    folder = tmp_path_factory.mktemp("sounds")
    for seed in range(6):
        write_wav(folder / f"v{seed}.wav", voice(seed))
    shutil.copyfile(folder / "v0.wav", folder / "bytes.wav")
    shutil.copyfile(make_media("x.flac", "-i", folder / "v1.wav"), folder / "lossless.flac")
    codec = ("-af", "volume=-14dB", "-c:a", need_encoder("libmp3lame", "aac"), "-b:a", "32k")
    shutil.copyfile(make_media("x.mka", "-i", folder / "v2.wav", *codec), folder / "encoded.mka")
    write_wav(folder / "cut.wav", voice(3)[7777:-3000])
    write_wav(folder / "hiss.wav", np.random.default_rng(4).normal(0, 1e-4, 40_000))
    return folder


COPIES = {
    ("bytes.wav", "v0.wav"): "bytes",
    ("lossless.flac", "v1.wav"): "content",
    ("encoded.mka", "v2.wav"): "sound",
    ("cut.wav", "v3.wav"): "sound",
}


@pytest.fixture
def split_sounds(sounds, tmp_path) -> Path:
    """A manifest in which every copy lies on the other side; its paths begin beside it."""
    shutil.copytree(sounds, tmp_path / "sounds")
    rows = [
        {"path": f"sounds/{path.name}", "split": "train" if path.name[0] == "v" else "test"}
        for path in sorted(sounds.iterdir())
    ]
    return write_manifest(tmp_path / "manifest.csv", rows)


# What is found


def test_every_planted_sound_is_found_and_nothing_else(split_sounds):
    assert found(split_sounds) == COPIES


def test_what_crosses_is_told_and_ends_with_1(split_sounds, avser_command):
    done = avser_command("audit", split_sounds)
    assert done.code == 1
    assert f"{split_sounds}: 11 clips: test 5, train 6" in done.out
    for kind, count in Counter(COPIES.values()).items():
        assert f"{KINDS[kind]}: {count}" in done.out.splitlines()[-1]
    assert "bytes 1.000 bytes, v0: train and test" in done.out


def test_copies_inside_a_part_are_listed_and_clean(split_sounds, avser_command, tmp_path):
    text = split_sounds.read_text(encoding="utf-8").replace("test", "train")
    split_sounds.write_text(text, encoding="utf-8")
    done = avser_command("audit", split_sounds, "-o", tmp_path / "groups.csv")
    assert done.code == 0
    assert done.out.splitlines()[-1] == "clean: nothing crosses from one part into another"
    assert "nearly identical sound" in done.out
    with (tmp_path / "groups.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    groups = defaultdict(list)
    for row in rows:
        groups[row["group"]].append(Path(row["path"]).name)
        assert (row["crossings"], row["parts"]) == ("", "train")
    assert {tuple(sorted(group)) for group in groups.values()} == set(COPIES)
    assert all(SAME_SOUND <= float(row["score"]) <= 1 for row in rows)


def test_json_holds_all(split_sounds, avser_command):
    done = avser_command("audit", split_sounds, "--json")
    told = json.loads(done.out)
    assert (done.code, told["clean"], told["clips"]) == (1, False, 11)
    assert told["folds"] == {"": {"test": 5, "train": 6}}
    assert told["kinds"]["sound"] == {"groups": 2, "clips": 4, "crossing": 2, "labels_differ": 0}
    assert {tuple(Path(clip["path"]).name for clip in group["clips"]) for group in told["groups"]} == set(COPIES)
    assert all(group["crossings"] == [["", "train", "test"]] for group in told["groups"])


def test_pictures_saved_again_are_found(tmp_path):
    for seed in range(8):
        cv2.imwrite(str(tmp_path / f"p{seed}.png"), face(seed))
    shutil.copyfile(tmp_path / "p0.png", tmp_path / "a_bytes.png")
    cv2.imwrite(str(tmp_path / "b_pixels.bmp"), face(1))
    cv2.imwrite(str(tmp_path / "c_again.jpg"), face(2), [cv2.IMWRITE_JPEG_QUALITY, 50])
    cv2.imwrite(str(tmp_path / "d_small.png"), cv2.resize(face(3) // 2, (64, 64), interpolation=cv2.INTER_AREA))
    rows = [{"path": path.name, "split": "train"} for path in sorted(tmp_path.iterdir())]
    assert found(write_manifest(tmp_path / "m.csv", rows)) == {
        ("a_bytes.png", "p0.png"): "bytes",
        ("b_pixels.bmp", "p1.png"): "content",
        ("c_again.jpg", "p2.png"): "picture",
        ("d_small.png", "p3.png"): "picture",
    }


def test_a_film_is_found_by_its_pictures_and_by_its_sound(make_media, tmp_path):
    codec = ("-vf", "scale=320:-2", "-c:v", "mpeg4", "-b:v", "400k", "-af", "volume=-9dB", "-c:a", "aac")
    again = make_media("again.mp4", "-ss", "0.4", "-i", SAMPLE, *codec)
    silent = make_media("silent.mp4", "-i", SAMPLE, "-an", "-c:v", "copy")
    alone = make_media("alone.wav", "-i", SAMPLE, "-vn")
    rows = [{"path": path, "split": i} for i, path in enumerate((SAMPLE, again, silent, alone))]
    assert found(write_manifest(tmp_path / "m.csv", rows)) == {
        ("sample.mp4", "again.mp4", "alone.wav"): "sound",
        ("sample.mp4", "again.mp4", "silent.mp4"): "film",
    }


def test_identical_files_that_nobody_can_read_are_the_same_files(tmp_path):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"this is no sound")
    write_wav(tmp_path / "c.wav", voice(1, 1))
    rows = [{"path": f"{name}.wav", "split": name} for name in "abc"]
    assert found(write_manifest(tmp_path / "m.csv", rows)) == {("a.wav", "b.wav"): "bytes"}


def test_the_second_time_nothing_is_decoded(split_sounds, monkeypatch):
    first = found(split_sounds)

    def refuse(*_, **__):
        raise AssertionError("decoded again")

    monkeypatch.setattr(media, "read_audio", refuse)
    assert found(split_sounds) == first


# Manifests


def logits_of(path: Path, *rows: tuple[str, str, str]) -> Path:
    """A table of logits of rows (clip, subject, fold)."""
    clips, subjects, folds = map(list, zip(*rows, strict=True))
    logits = np.zeros((len(rows), 2))
    write_logits(path, LogitTable(clips, subjects, folds, ["happy"] * len(rows), ("happy", "sad"), logits))
    return path


@pytest.fixture
def two(tmp_path) -> Path:
    for name, seed in (("a.wav", 1), ("b.wav", 2)):
        write_wav(tmp_path / name, voice(seed, 1))
    return tmp_path


def test_subjects_that_are_shared(two, avser_command):
    rows = [
        {"path": "a.wav", "split": "train", "subject": "anna"},
        {"path": "b.wav", "split": "test", "subject": "anna"},
    ]
    done = avser_command("audit", write_manifest(two / "m.csv", rows))
    assert done.code == 1
    assert "subject anna, 2 clips: train and test" in done.out
    rows[1]["subject"] = "bert"
    assert avser_command("audit", write_manifest(two / "m.csv", rows)).code == 0


def test_takes_and_actors_are_known_by_the_names_of_ravdess(two):
    names = ("01-01-03-01-01-01-05.wav", "03-01-03-01-01-01-05.wav")
    for old, new in zip(("a.wav", "b.wav"), names, strict=True):
        (two / old).rename(two / new)
    rows = [{"path": name, "split": part} for name, part in zip(names, ("train", "val"), strict=True)]
    done = audit(read_split(write_manifest(two / "m.csv", rows)))
    assert [(f.kind, f.name, f.crossings) for f in done.findings] == [
        ("subject", "05", (("", "train", "val"),)),
        ("take", "01-03-01-01-01-05", (("", "train", "val"),)),
    ]


def test_a_file_may_be_listed_in_two_parts(two):
    rows = [{"path": "a.wav", "split": part} for part in ("train", "test")]
    assert found(write_manifest(two / "m.csv", rows)) == {("a.wav",): "file"}


def test_a_column_fold_alone_holds_each_fold_out(two):
    rows = [{"path": f"{name}.wav", "fold": fold, "subject": "x"} for fold, name in enumerate("ab")]
    (finding,) = audit(read_split(write_manifest(two / "m.csv", rows))).findings
    assert finding.crossings == (("", "0", "1"),)


def test_with_fold_and_split_each_fold_is_split_by_itself(two):
    parts = {"a.wav": ("train", "train"), "b.wav": ("train", "test")}
    rows = [
        {"path": name, "fold": fold, "split": split, "subject": "x"}
        for name, splits in parts.items()
        for fold, split in zip(("one", "two"), splits, strict=True)
    ]
    (finding,) = audit(read_split(write_manifest(two / "m.csv", rows))).findings
    assert finding.crossings == (("two", "train", "test"),)


def test_labels_of_copies_that_differ_are_counted(two, avser_command):
    shutil.copyfile(two / "a.wav", two / "b.wav")
    rows = [{"path": f"{name}.wav", "split": "train", "label": name} for name in "ab"]
    told = json.loads(avser_command("audit", write_manifest(two / "m.csv", rows), "--json").out)
    assert told["kinds"]["bytes"]["labels_differ"] == 1


def test_files_that_are_not_there_are_listed_and_not_fatal(two, avser_command):
    rows = [{"path": name, "split": "train"} for name in ("a.wav", "gone.wav")]
    done = avser_command("audit", write_manifest(two / "m.csv", rows))
    assert done.code == 0
    assert "1 clip could not be read" in done.err
    assert f"there is no file {two / 'gone.wav'}" in done.err
    assert "among the 1 that could be read" in done.out


def test_files_may_lie_below_the_data_root(two, avser_command, tmp_path_factory):
    manifest = write_manifest(tmp_path_factory.mktemp("m") / "m.csv", [{"path": "a.wav", "split": "train"}])
    assert avser_command("audit", manifest, "--data-root", two).code == 0
    done = avser_command("audit", manifest)
    assert done.code == 2
    assert "none of its 1 clips can be read" in done.complaint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; a manifest has the columns path"),
        ("file,split\na.wav,train\n", "has no column 'path'"),
        ("path,label\na.wav,happy\n", "has no column 'split' or 'fold'"),
        ("path,split\n", "lists no files"),
        ("path,split\na.wav\n", "line 2 of .* has 1 columns instead of 2"),
        ("path,split\na.wav,\n", "line 2 of .* has no part"),
        ("path,split\n,train\n", "line 2 of .* has no path"),
        ("path,split\n\udcff", "cannot be read as a table"),
    ],
)
def test_what_is_no_manifest(tmp_path, text, message):
    (tmp_path / "m.csv").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=message):
        read_split(tmp_path / "m.csv")


def test_a_table_that_is_not_there_or_takes_no_overrides(two, avser_command):
    assert "no such file" in avser_command("audit", two / "gone.csv").complaint
    manifest = write_manifest(two / "m.csv", [{"path": "a.wav", "split": "train"}])
    with pytest.raises(ConfigError, match="'protocol=random' is for a config"):
        read_split(manifest, ["protocol=random"])


def test_groups_that_cannot_be_written(two, avser_command):
    manifest = write_manifest(two / "m.csv", [{"path": "a.wav", "split": "train"}])
    done = avser_command("audit", manifest, "-o", manifest / "groups.csv")
    assert done.code == 2
    assert "cannot write the groups" in done.complaint


# Configs and logits


@pytest.fixture
def config(tmp_path) -> Path:
    make_corpus(tmp_path / "sounds", "audio")
    settings = mini_settings("audio", {"name": "functionals"}, folds=None)
    (tmp_path / "mini.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return tmp_path / "mini.yaml"


def test_the_folds_of_a_config_are_those_of_training(config, avser_command):
    done = avser_command("audit", config, "--data-root", config.parent)
    assert done.code == 0, done.out
    assert "mini, subject5: 36 clips in 5 folds, the first: " in done.out
    assert "nearly" not in done.out
    split = of_config(config, ["folds=[1, 2]"], config.parent)
    assert list(split.folds()) == ["fold1", "fold2"]
    with pytest.raises(ConfigError, match="no fold 7"):
        of_config(config, ["folds=[7]"], config.parent)


def test_overrides_reach_the_protocol(config, avser_command):
    done = avser_command("audit", config, "protocol=random", "--data-root", config.parent)
    assert done.code == 1
    assert f"{KINDS['subject']}: 6" in done.out
    assert "named inflated" in done.err


def test_copies_of_one_recording_on_both_sides(config):
    overrides = ["protocol=copies", "augment.copies=2", "augment.copy_kinds=[noise]"]
    done = audit(of_config(config, overrides, config.parent))
    assert Counter(finding.kind for finding in done.crossing)["file"] > 5


def test_a_copy_planted_in_a_corpus_crosses_its_folds(config, avser_command):
    folder = config.parent / "sounds" / "sad"
    shutil.copyfile(folder / "anna_0.wav", folder / "bert_7.wav")
    told = json.loads(avser_command("audit", config, "--data-root", config.parent, "--json").out)
    (group,) = told["groups"]
    assert group["kind"] == "bytes"
    assert {fold for fold, _, _ in group["crossings"]} <= {f"fold{i}" for i in range(5)}


def test_action_units_have_no_media(tmp_path):
    rows = [
        {"clip": f"03-01-{emotion:02d}-01-01-01-{actor:02d}", "AU01": 0.5}
        for actor in range(1, 6)
        for emotion in (3, 4)
    ]
    write_units(tmp_path / "means.csv", rows)
    settings = {
        **mini_settings("face", {"name": "unit_statistics"}, folds=None),
        "corpora": [{"name": "openface", "root": "means.csv"}],
        "face": {"input": "action_units", "units": ["AU01"]},
    }
    (tmp_path / "units.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    split = of_config(tmp_path / "units.yaml", [], tmp_path)
    assert not split.media
    assert audit(split).findings == []


def test_folds_of_logits(tmp_path, avser_command):
    table = logits_of(tmp_path / "a.csv", ("one", "anna", "0"), ("two", "anna", "0"), ("three", "bert", "1"))
    done = avser_command("audit", table)
    assert done.code == 0
    assert "holds no media" in done.err
    table = logits_of(tmp_path / "b.csv", ("one", "anna", "0"), ("two", "anna", "1"), ("two", "anna", "0"))
    done = avser_command("audit", table)
    assert done.code == 1
    assert "file two: 0 and 1" in done.out
    assert "subject anna, 2 clips: 0 and 1" in done.out


def test_actors_of_logits_are_known_by_their_names(tmp_path):
    table = logits_of(tmp_path / "a.csv", ("01-01-03-01-01-01-05", "", "0"), ("03-01-03-01-01-01-05", "", "1"))
    assert [finding.kind for finding in audit(read_split(table)).findings] == ["subject", "take"]


def test_logits_without_subjects_say_so(tmp_path, avser_command):
    done = avser_command("audit", logits_of(tmp_path / "a.csv", ("one", "", "0"), ("two", "fer2013/", "0")))
    assert done.code == 0
    assert "nobody is named" in done.err
    assert "there is one part only" in done.err


# Real corpora, in part


def real_manifest(path: Path, files: list[Path], part, subject=lambda file: "") -> Path:
    rows = [
        {"path": file, "split": part(file), "subject": subject(file), "label": file.parent.name} for file in files
    ]
    return write_manifest(path, rows)


def test_the_identical_pair_of_ravdess_is_found(data_root, tmp_path):
    files = sorted((data_root / "audio/ravdess/Actor_07").glob("03-01-03-01-0*.*"))
    manifest = real_manifest(tmp_path / "m.csv", files, lambda file: "test" if "-02-07" in file.name else "train")
    done = audit(read_split(manifest))
    (pair,) = [finding for finding in done.findings if finding.kind not in ("subject", "take")]
    assert [done.split.clips[i].name for i in pair.clips] == ["03-01-03-01-02-01-07", "03-01-03-01-02-02-07"]
    assert (pair.kind, bool(pair.crossings)) == ("bytes", True)


def test_identical_pictures_of_fer2013_are_all_found(data_root, tmp_path):
    files = sorted((data_root / "face/fer2013").glob("*/disgust/*.png"))
    holders = defaultdict(set)
    for file in files:
        pixels = cv2.imread(str(file)).tobytes()
        holders[hashlib.sha256(pixels).digest()].add(file)
    expected = {frozenset(group) for group in holders.values() if len(group) > 1}
    done = audit(read_split(real_manifest(tmp_path / "m.csv", files, lambda file: file.parent.parent.name)))
    same = [finding for finding in done.findings if finding.kind in ("bytes", "content")]
    assert {frozenset(done.split.clips[i].path for i in finding.clips) for finding in same} == expected
    assert sum(bool(finding.crossings) for finding in same) == sum(
        len({file.parent.parent for file in group}) > 1 for group in expected
    )
    assert len(expected) > 20


def test_frames_of_a_sequence_of_ckplus_are_near_and_of_one_person(data_root, tmp_path):
    files = sorted((data_root / "face/ck48").glob("*/*.png"))[::1][:300]
    manifest = real_manifest(tmp_path / "m.csv", files, lambda file: file.stem[:4], lambda file: file.stem[:4])
    done = audit(read_split(manifest))
    near = [finding for finding in done.findings if finding.kind == "picture"]
    assert len(near) > 30
    assert not done.crossing
