"""What `avser datasets` says of corpora, on miniatures that are complete, and broken in each way."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter

import cv2
import numpy as np
import pytest
from corpora import build_iemocap, make_corpus, make_picture, write_sound
from test_datasets import BUILDERS, FERPLUS, touch

from avser import datasets
from avser.corpora import inventory
from avser.corpora.finding import corpus_in
from avser.datasets import ckplus
from avser.types import ConfigError, DataError

PAIR = ("03-01-03-01-02-01-07", "03-01-03-01-02-02-07")
"""The two files of RAVDESS that are identical."""


def write_pixels(path, drop=0, same=()):
    """A table of pixels with all rows of CK+ but the last ones; rows `same` have the same picture."""
    counts = datasets.facts("ckplus").parts["table of pixels"].counts["label"]
    labels = np.repeat([ckplus.LABELS.index(name) for name in counts], list(counts.values()))
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 48, 48)).astype(np.uint8)
    images[list(same)] = images[0]
    keep = slice(0, len(labels) - drop)
    np.savez(
        path,
        images=images[keep],
        label=labels[keep],
        label_names=np.array(ckplus.LABELS),
        ck_sequence=np.array([""] * len(labels))[keep],
    )
    return path


@pytest.fixture
def voices(tmp_path):
    """Four sound files of RAVDESS, among them the two that are identical."""
    write_sound(tmp_path / "Actor_01/03-01-05-01-01-01-01.wav", "angry")
    write_sound(tmp_path / "Actor_02/03-01-02-01-01-01-02.wav", "sad")
    first = write_sound(tmp_path / f"Actor_07/{PAIR[0]}.wav", "happy")
    shutil.copyfile(first, tmp_path / f"Actor_07/{PAIR[1]}.wav")
    return tmp_path


# Finding the corpus


@pytest.mark.parametrize("name", datasets.names())
def test_every_corpus_is_recognised(name, tmp_path):
    BUILDERS[name](tmp_path)
    assert corpus_in(tmp_path) == name


def test_pictures_sorted_by_emotion_are_known_by_their_names(tmp_path):
    touch(tmp_path, "angry/03a01Wa.wav", "happy/16b10Fb.wav", "happy/stray.wav")
    assert corpus_in(tmp_path) == "emodb"
    touch(tmp_path, *(f"sad/mine_{number}.wav" for number in range(4)))
    assert corpus_in(tmp_path) == "folder"


def test_no_corpus_and_several(tmp_path):
    with pytest.raises(DataError, match=r"there is no .*none"):
        corpus_in(tmp_path / "none")
    touch(tmp_path, "a/notes.txt")
    with pytest.raises(DataError, match="no corpus that avser knows"):
        corpus_in(tmp_path)
    BUILDERS["emovo"](tmp_path)
    BUILDERS["ravdess"](tmp_path)
    with pytest.raises(DataError, match=r"may hold emovo or ravdess: .*--corpus"):
        inventory.check(tmp_path)


def test_a_damaged_corpus_is_named(tmp_path):
    build_iemocap(tmp_path / "voices")
    shutil.rmtree(tmp_path / "voices/IEMOCAP_full_release/Session1/dialog/EmoEvaluation")
    with pytest.raises(DataError, match=r"F000\.wav has no label"):
        corpus_in(tmp_path / "voices")
    (tmp_path / "faces.csv").write_text("face,smile\n9,0\n")  # two of the readers look for other columns
    with pytest.raises(DataError, match=r"may be meant as ckplus or fer2013: .*--corpus"):
        corpus_in(tmp_path / "faces.csv")


# What is there


def test_a_complete_corpus_is_clean(tmp_path):
    found = inventory.check(write_pixels(tmp_path / "ck.npz"))
    assert found.clean
    assert (found.corpus, found.absent) == ("ckplus", ["folders of pictures"])
    (holding,) = found.holdings
    assert (holding.clips, holding.complete, holding.differences, holding.missing) == (920, True, [], [])
    assert found.labels["neutral"] == 593
    assert found.unplaced == {"contempt": 18}
    assert inventory.check(tmp_path, labels="ferplus8").unplaced == {}
    with pytest.raises(ConfigError, match="unknown label set"):
        inventory.check(tmp_path, labels="none")


def test_what_is_missing_of_a_table_is_counted(tmp_path):
    found = inventory.check(write_pixels(tmp_path / "ck.npz", drop=3))
    (difference,) = found.holdings[0].differences
    assert vars(difference) == {"fact": "label", "value": "neutral", "here": 590, "official": 593}
    assert not found.clean


def test_identical_rows(tmp_path):
    path = write_pixels(tmp_path / "ck.npz", same=(0, 5, 9))
    found = inventory.check(tmp_path)
    assert found.twins == [[f"{path}:0", f"{path}:5", f"{path}:9"]]
    assert not found.clean


def test_missing_files_are_named(voices):
    found = inventory.check(voices)
    (holding,) = found.holdings
    assert (found.corpus, holding.name, holding.clips, holding.subjects) == ("ravdess", "speech, sound only", 4, 3)
    assert len(holding.missing) == 1436
    assert "03-01-08-02-02-02-24" in holding.missing
    assert not {"03-01-01-02-01-01-01", *PAIR} & set(holding.missing)
    counts = Counter(difference.fact for difference in holding.differences)
    assert counts == {"subject": 24, "label": 8}
    assert not found.corrupt
    assert len(found.absent) == 5


def test_known_pairs_are_no_fault_and_others_are(voices):
    found = inventory.check(voices)
    assert found.twins == []
    assert found.known_twins == [sorted(str(voices / f"Actor_07/{name}.wav") for name in PAIR)]
    other = voices / "Actor_01/03-01-05-01-01-01-01.wav"
    shutil.copyfile(voices / f"Actor_07/{PAIR[0]}.wav", other)
    found = inventory.check(voices)
    assert found.known_twins == []
    assert found.twins == [sorted(map(str, (other, *(voices / f"Actor_07/{name}.wav" for name in PAIR))))]


def test_what_lies_twice_in_the_folder(voices):
    first = voices / "Actor_01/03-01-05-01-01-01-01.wav"
    again = voices / "again/Actor_01/03-01-05-01-01-01-01.wav"
    again.parent.mkdir(parents=True)
    shutil.copyfile(first, again)
    touch(voices, "again/Actor_02/03-01-02-01-01-01-02.flac")  # as it were, converted
    found = inventory.check(voices)
    assert found.twins == [[str(first), str(again)]]
    assert found.copies == sorted(path for path in (voices / "again").rglob("*") if path.is_file())


def test_corrupt_files_are_named(voices):
    (voices / "Actor_01/03-01-05-01-01-01-01.wav").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    touch(voices, "Actor_03/03-01-05-01-01-01-03.wav")
    found = inventory.check(voices)
    assert len(found.corrupt) == 2
    assert "01-01-01-01.wav is damaged or no media file" in found.corrupt[0]
    assert "01-01-01-03.wav is empty" in found.corrupt[1]


def test_deep_finds_what_headers_hide(flash_beep, make_media, tmp_path, caplog):
    whole = make_media("whole.mp4", "-i", flash_beep().path, "-c", "copy", "-movflags", "+faststart")
    content = whole.read_bytes()
    cut = tmp_path / "Actor_01/01-01-05-01-01-01-01.mp4"
    cut.parent.mkdir()
    cut.write_bytes(content[: int(len(content) * 0.7)])
    shutil.copyfile(whole, cut.with_name("01-01-05-01-01-02-01.mp4"))
    assert inventory.check(tmp_path).corrupt == []
    with caplog.at_level(logging.WARNING):
        found = inventory.check(tmp_path, deep=True)
    assert found.deep
    assert len(found.corrupt) == 1
    assert "01-01-05-01-01-01-01.mp4 is damaged or cut short" in found.corrupt[0]
    assert caplog.text == ""  # it is in the inventory


def test_damaged_pictures(tmp_path):
    make_corpus(tmp_path / "mine", "face", clips=1)
    assert inventory.check(tmp_path / "mine").clean  # of your own recordings nothing is official
    damaged = tmp_path / "mine/sad/bert_0.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    (why,) = inventory.check(tmp_path / "mine").corrupt
    assert "bert_0.png is damaged" in why


def test_a_row_that_is_no_picture(tmp_path):
    BUILDERS["fer2013"](tmp_path)
    with (tmp_path / "fer2013.csv").open("a") as file:
        file.write("3,1 2 3,Training\n")
    found = inventory.check(tmp_path)
    assert len(found.corrupt) == 1
    assert "row 2 of" in found.corrupt[0]
    assert found.known_twins == [[f"{tmp_path / 'fer2013.csv'}:{row}" for row in (0, 1)]]  # one of up to 1516


def test_votes_without_a_picture(tmp_path):
    rng = np.random.default_rng(0)
    for place in ("Training/angry/fer0000000.png", "PrivateTest/sad/fer0000002.png"):
        (tmp_path / place).parent.mkdir(parents=True)
        cv2.imwrite(str(tmp_path / place), make_picture("angry", rng))
    votes = "".join(f"Training,fer{row}.png,0,0,0,0,9,1,0,0,0,0\n" for row in ("0000000", "0000002", "9999999"))
    (tmp_path / "fer2013new.csv").write_text(FERPLUS + votes)
    found = inventory.check(tmp_path)
    assert found.orphans == ["fer9999999"]
    (holding,) = found.holdings
    assert len(holding.missing) == 35885
    assert {d.value: d.here for d in holding.differences if d.fact == "split"} == {"train": 1, "val": 0, "test": 1}


def test_utterances_without_sound_and_sound_without_a_label(tmp_path):
    build_iemocap(tmp_path)
    folder = tmp_path / "IEMOCAP_full_release/Session1/sentences/wav/Ses01F_script01_1"
    (folder / "Ses01F_script01_1_M012.wav").rename(folder / "Ses01F_script01_1_MXX0.wav")
    found = inventory.check(tmp_path)
    assert found.orphans == ["Ses01F_script01_1_M012"]
    assert found.labels == {"excited": 1, None: 1}
    assert not found.corrupt


def test_action_units(tmp_path):
    BUILDERS["openface"](tmp_path)
    assert inventory.check(tmp_path).clean
    with (tmp_path / "labels.csv").open("a") as file:
        file.write("cleo_01,sad,cleo\n")
    (tmp_path / "frames/anna_01.csv").write_text("frame, success, AU12_r\n1, 1, x\n")
    found = inventory.check(tmp_path)
    assert found.orphans == ["cleo_01"]
    assert len(found.corrupt) == 1
    assert "anna_01.csv" in found.corrupt[0]


# The command line


def test_the_list_of_corpora(avser_command):
    done = avser_command("datasets")
    assert (done.code, done.err) == (0, "")
    assert all(f"\n{name}  " in f"\n{done.out}" for name in datasets.names())
    assert "https://zenodo.org/records/1188976" in done.out
    told = json.loads(avser_command("datasets", "--json").out)
    assert [corpus["name"] for corpus in told] == datasets.names()
    assert all({"page", "licence", "parts", "emotions", "layout", "flaws"} <= set(corpus) for corpus in told)


def test_check_tells_and_exits_with_1(avser_command, voices):
    touch(voices, "Actor_03/03-01-05-01-01-01-03.wav")
    done = avser_command("datasets", "check", voices)
    assert (done.code, done.err) == (1, "")
    for words in (
        "speech, sound only",
        "01 1 of 60",
        "missing 1435: ",
        "1 that cannot be used:",
        "1 group of identical clips, as in the official release",
        "wrong: 1 of 1 parts not as released, 1435 clips missing, 1 cannot be used",
    ):
        assert words in done.out
    told = json.loads(avser_command("datasets", "check", voices, "--corpus", "ravdess", "--json").out)
    assert (told["clean"], told["parts"][0]["clips"], len(told["parts"][0]["missing"])) == (False, 5, 1435)


def test_check_of_what_is_complete_exits_with_0(avser_command, tmp_path):
    done = avser_command("datasets", "check", write_pixels(tmp_path / "ck.npz"), "--deep")
    assert (done.code, done.err) == (0, "")
    assert "nothing is missing, damaged or twice there\n" in done.out
    assert "without a place in basic7: contempt 18" in done.out


def test_check_of_nothing_is_one_sentence(avser_command, tmp_path):
    assert "no corpus that avser knows" in avser_command("datasets", "check", tmp_path).complaint
    assert "needs" in avser_command("datasets", "check", tmp_path, "--corpus", "tess").complaint
    assert "unknown corpus 'x'" in avser_command("datasets", "check", tmp_path, "--corpus", "x").complaint


# The real corpora


@pytest.mark.parametrize(
    ("name", "folder", "known"),
    [
        ("ravdess", "audio/ravdess/Actor_07", 1),
        ("ckplus", "face/ck48", 0),
        ("ckplus", "face/ck920.npz", 0),
        ("fer2013", "face/fer2013", 1516),
    ],
)
def test_real_corpora(name, folder, known, data_root):
    found = inventory.check(data_root / folder)
    assert (found.corpus, len(found.known_twins), found.twins, found.corrupt) == (name, known, [], [])
    assert found.clean == (not folder.endswith("Actor_07"))
