"""Varied copies: always the same, each its own way, on the right side of a split, and told apart in tables."""

from __future__ import annotations

import dataclasses
import importlib.util
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

if importlib.util.find_spec("librosa") is None:
    pytest.skip("copies are varied by librosa, of the extra train", allow_module_level=True)

from corpora import SUBJECT, make_corpus, make_sound

from avser.config import Config, parse_config
from avser.logits import LogitTable, read_logits, write_logits
from avser.training import copies, data, runs
from avser.types import Clip, ConfigError

KINDS = ["noise", "stretch", "shift", "pitch"]
RECIPE = ["noise", "stretch+pitch"]
CLIP = Clip(Path("happy/anna_0.wav"), "happy", "anna", "folder")
SOUND = make_sound("happy", np.random.default_rng(0)).astype(np.float32)


def make_config(kinds: list[str], count: int = 2, protocol: str = "subject5", audio: dict | None = None) -> Config:
    values = {
        "name": "test",
        "branch": "audio",
        "labels": "basic7",
        "protocol": protocol,
        "validation": 1,
        "corpora": [{"name": "folder", "root": "sounds", "options": {"subject": SUBJECT}}],
        "audio": {"kind": "features", "features": "means162", "trim_db": None, "level_db": None, **(audio or {})},
        "network": {"name": "random_forest"},
        "augment": {"copies": count, "copy_kinds": kinds},
    }
    return parse_config(values, "test")


def copy(number: int, clip: Clip = CLIP) -> Clip:
    return copies.expand([clip], number)[number]


def varied(number: int, kinds: list[str], sound: np.ndarray = SOUND) -> np.ndarray:
    return copies.vary_sound(sound, copy(number), make_config(kinds))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A data root with a corpus of 36 sounds by 6 people."""
    folder = tmp_path_factory.mktemp("data")
    make_corpus(folder / "sounds", "audio")
    return folder


# Clips and their copies


def test_each_clip_is_followed_by_its_copies():
    other = dataclasses.replace(CLIP, path=Path("sad/bert_1.wav"), info={"gender": "male"})
    clips = copies.expand([CLIP, other], 2)
    assert [clip.name for clip in clips] == [
        *("anna_0", "anna_0#1", "anna_0#2"),
        *("bert_1", "bert_1#1", "bert_1#2"),
    ]
    assert [copies.which(clip) for clip in clips] == [0, 1, 2, 0, 1, 2]
    assert clips[0] is CLIP
    assert clips[4].info == {"gender": "male", "copy": "1"}
    assert {clip.subject for clip in clips[:3]} == {"anna"}
    assert copies.expand([CLIP], 0) == (CLIP,)


def test_kinds_take_turns():
    config = make_config(RECIPE)
    found = [copies.kinds_of(copy(number), config) for number in range(5)]
    assert found == [(), ("noise",), ("stretch", "pitch"), ("noise",), ("stretch", "pitch")]
    assert copies.kinds_of(copy(1), make_config([], 0)) == ()


@pytest.mark.parametrize("entry", ["echo", "stretch+echo", "noise+", "", "noise,pitch"])
def test_unknown_kinds(entry):
    with pytest.raises(ConfigError, match=r"augment.copy_kinds.1: .*noise\|stretch\|shift\|pitch\|picture"):
        make_config(["noise", entry])


# Sound


@pytest.mark.parametrize("kind", [*KINDS, "stretch+pitch"])
def test_a_copy_is_always_the_same_and_differs_from_all_others(kind):
    sounds = [SOUND, *(varied(number, [kind]) for number in (1, 2, 3))]
    assert np.array_equal(sounds[1], varied(1, [kind]))
    assert all(sound.dtype == np.float32 and np.isfinite(sound).all() for sound in sounds)
    for one, other in combinations(sounds, 2):
        assert one.shape != other.shape or not np.allclose(one, other, atol=1e-3)


def test_another_clip_gets_another_copy():
    other = dataclasses.replace(CLIP, path=Path("happy/bert_0.wav"))
    config = make_config(["noise"])
    one, two = (copies.vary_sound(SOUND, copy(1, clip), config) for clip in (CLIP, other))
    assert not np.allclose(one, two, atol=1e-3)


def test_the_clip_itself_is_left_alone():
    assert copies.vary_sound(SOUND, CLIP, make_config(KINDS)) is SOUND
    assert copies.vary_sound(SOUND, copy(1), make_config(["picture"])) is SOUND


def test_what_the_kinds_do():
    rate = 16_000
    noise = varied(1, ["noise"]) - SOUND
    assert 0 < noise.std() <= 0.036 * np.abs(SOUND).max()
    assert abs(np.corrcoef(noise, SOUND)[0, 1]) < 0.05
    assert 1 / 1.2 - 0.01 < len(varied(1, ["stretch"])) / len(SOUND) < 1 / 0.8 + 0.01
    assert np.array_equal(np.sort(varied(1, ["shift"])), np.sort(SOUND))
    marked = np.zeros(rate, np.float32)
    marked[8000] = 1
    moved = [int(varied(number, ["shift"], marked).argmax()) - 8000 for number in range(1, 30)]
    assert max(map(abs, moved)) <= rate * 5000 / 22050
    assert min(moved) < -1000 < 1000 < max(moved)


def test_pitch_is_shifted_and_speed_kept():
    tone = (0.4 * np.sin(2 * np.pi * 500 * np.arange(16_000) / 16_000)).astype(np.float32)
    found = []
    for number in (1, 2, 3):
        shifted = varied(number, ["pitch"], tone)
        assert len(shifted) == len(tone)
        spectrum = np.abs(np.fft.rfft(shifted * np.hanning(len(shifted))))
        found.append(12 * np.log2(spectrum.argmax() / 500))  # bins are 1 Hz apart; semitones
    assert all(abs(steps) <= 2.05 for steps in found)
    assert np.std(found) > 0.1


def test_kinds_of_one_copy_follow_one_another():
    config = make_config(["stretch+noise"])
    stretched = copies.vary_sound(SOUND, copy(1), make_config(["stretch"]))
    both = copies.vary_sound(SOUND, copy(1), config)
    assert both.shape == stretched.shape
    assert 0 < np.abs(both - stretched).std() < 0.05


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("length", [0, 20, 1000, 4000])
def test_sound_that_is_short_or_silent(length):
    for kind in KINDS:
        silent = varied(1, [kind], np.zeros(length, np.float32))
        assert np.array_equal(silent, np.zeros(length))
        assert np.isfinite(varied(1, [kind], SOUND[:length])).all()


# Pictures


def test_every_copy_of_a_picture_is_varied():
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    config = make_config(["picture"], 20, audio={"kind": "picture"})
    found = [copies.vary_picture(picture, copy(number), config) for number in range(21)]
    assert found[0] is picture
    assert all(one.shape == picture.shape and one.dtype == np.uint8 for one in found)
    assert len({one.tobytes() for one in found}) == 21
    assert np.array_equal(found[7], copies.vary_picture(picture, copy(7), config))


def test_only_the_copies_that_say_so_vary_the_picture():
    picture = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)
    config = make_config(["noise", "picture+pitch"], audio={"kind": "picture"})
    assert copies.vary_picture(picture, copy(1), config) is picture
    assert not np.array_equal(copies.vary_picture(picture, copy(2), config), picture)


# Splits


def parts(config: Config, root: Path):
    clips = data.scan(config, root)
    fold = runs.make_protocol(config, clips)[0]
    return fold, runs._load_parts(config, fold, "test")


def test_copies_are_trained_on_and_never_measured(root):
    fold, loaded = parts(make_config(RECIPE), root)
    count = {part: len(examples) for part, examples in loaded.items()}
    assert count == {"train": 3 * len(fold.train), "val": len(fold.val), "test": len(fold.test)}
    assert len(fold.train) + len(fold.val) + len(fold.test) == 36
    assert not any(copies.which(example.clip) for part in ("val", "test") for example in loaded[part])
    people = [{example.clip.subject for example in examples} for examples in loaded.values()]
    assert not any(one & other for one, other in combinations(people, 2))
    given = {example.inputs.tobytes() for example in loaded["train"]}
    assert len(given) == count["train"]  # each copy is one of its own


def test_copies_of_one_recording_cross_where_the_protocol_says_so(root):
    config = make_config(RECIPE, protocol="copies")
    fold, loaded = parts(config, root)
    assert fold.leaky
    assert "copies" in fold.name
    # none is thrown out as a duplicate of what is held out
    assert [len(loaded[part]) for part in ("train", "val", "test")] == [76, 10, 22]
    found = [(example.clip.path, copies.which(example.clip)) for part in loaded.values() for example in part]
    assert len(set(found)) == len(found) == 3 * 36
    recordings = [{example.clip.path for example in loaded[part]} for part in ("train", "test")]
    assert len(recordings[0] & recordings[1]) > 0.8 * len(recordings[1])


def test_copies_that_do_not_differ_are_thrown_out(root):
    """Sound that is not varied is a duplicate, whatever its name says."""
    _, loaded = parts(make_config(["picture"], protocol="copies"), root)
    held = {example.clip.path for part in ("val", "test") for example in loaded[part]}
    assert not held & {example.clip.path for example in loaded["train"]}


def test_names_of_copies_in_tables(tmp_path):
    clips = copies.expand([CLIP], 3)
    table = LogitTable.of_clips(clips, ("happy", "sad"), np.zeros((4, 2)), "0")
    write_logits(tmp_path / "a.csv", table)
    again = read_logits(tmp_path / "a.csv")
    assert again.clips == ["anna_0", "anna_0#1", "anna_0#2", "anna_0#3"]
    assert again.subjects == ["anna"] * 4
