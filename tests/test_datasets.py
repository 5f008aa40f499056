"""Every corpus is found by its name, in its real naming scheme; a new module needs a line in BUILDERS."""

import os
import re
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from corpora import (  # noqa: F401 (BUILDERS)
    build_crema_d,
    build_demos,
    build_iemocap,
    build_openface,
    build_tess,
    iemocap_turn,
)

from avser import datasets
from avser.datasets import ckplus, crema_d, demos, emodb, emovo, fer2013, iemocap, ravdess, savee, tess
from avser.labels import EMOTIONS, LABEL_SETS, place
from avser.media import iter_frames, read_audio
from avser.types import Clip, ConfigError, DataError

PIXELS = " ".join(str(n % 256) for n in range(48 * 48))


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def build_ravdess(root):
    touch(root, "Actor_01/03-01-01-01-01-01-01.wav", "Actor_02/01-02-04-02-02-02-02.mp4")


def build_emodb(root):
    touch(root, "wav/03a01Fa.wav", "wav/16b10Wb.wav")


def build_savee(root):
    touch(root, "DC_a01.wav", "AudioData/KL/su15.wav")


def build_emovo(root):
    touch(root, "f1/dis-f1-b1.wav", "m3/gio-m3-n5.wav")


def build_fer2013(root):
    (root / "fer2013.csv").write_text(f"emotion,pixels,Usage\n0,{PIXELS},Training\n6,{PIXELS},PrivateTest\n")


def build_ckplus(root):
    touch(root, "anger/S010_004_00000017.png", "happy/S011_006_00000011.png")


def build_folder(root):
    touch(root, "angry/anna_01.mp4", "Joy/bert_02.png")


BUILDERS = {
    name.removeprefix("build_"): build for name, build in list(globals().items()) if name.startswith("build_")
}


@pytest.mark.parametrize("name", datasets.names())
def test_every_corpus_is_scanned(name, tmp_path):
    assert name in BUILDERS, f"write build_{name}(root) here: it lays out two clips of {name} by their real names"
    BUILDERS[name](tmp_path)
    clips = datasets.scan(name, str(tmp_path))
    assert len(clips) == 2
    assert clips == datasets.scan(name, tmp_path)
    for clip in clips:
        assert isinstance(clip, Clip)
        assert clip.corpus == name
        assert clip.label in EMOTIONS
        assert clip.path.is_file()
        assert clip.subject is None or clip.subject
        assert all(isinstance(key, str) and isinstance(value, str) for key, value in clip.info.items())


@pytest.mark.parametrize("name", datasets.names())
def test_every_corpus_tells_its_facts(name, tmp_path):
    facts = datasets.facts(name)
    assert re.fullmatch(r"[A-Z].*[.]", datasets.about(name))
    assert facts.title
    assert facts.licence
    assert facts.layout
    assert set(facts.emotions) <= set(EMOTIONS)
    assert facts.page is None or facts.page.startswith("http")
    assert (facts.page is None) == (facts.citation is None), "name the paper, with the page"
    for part in facts.parts.values():
        assert part.clips is None or facts.page, "counts are those of an official release"
        assert all(sum(counts.values()) <= part.clips for counts in part.counts.values())
        assert not part.subjects or len(part.counts.get("subject", {})) in (0, part.subjects)
        assert set(part.counts.get("label", {})) <= set(facts.emotions)
    BUILDERS[name](tmp_path)
    clips = datasets.scan(name, tmp_path)
    counted = {fact for part in facts.parts.values() for fact in part.counts}
    assert all(any(getattr(clip, fact, None) or fact in clip.info for clip in clips) for fact in counted)
    for clip in clips:
        part = facts.parts[facts.part(clip)]
        assert clip.label in facts.emotions
        if part.names and (names := list(part.names([clip]))):
            assert facts.name_of(clip) in names
            assert len(names) == len(set(names)) == (part.clips if name != "tess" else 14)  # of the one word


def test_the_parts_of_ravdess_are_all_of_its_files():
    parts = datasets.facts("ravdess").parts
    assert sum(part.clips for part in parts.values()) == 7356
    assert [part.clips for part in parts.values()] == [1440] * 3 + [1012] * 3


@pytest.mark.parametrize("name", datasets.names())
def test_every_corpus_says_what_it_misses(name, tmp_path):
    with pytest.raises(DataError, match=f"corpus '{name}'.*needs") as empty:
        datasets.scan(name, tmp_path)
    assert str(tmp_path) in str(empty.value)
    with pytest.raises(DataError, match="there is no"):
        datasets.scan(name, tmp_path / "none")
    with pytest.raises(DataError, match=f"corpus '{name}' has no option 'colour'"):
        datasets.scan(name, tmp_path, colour="red")


@pytest.mark.parametrize("name", datasets.names())
def test_foreign_files_change_nothing(name, tmp_path):
    BUILDERS[name](tmp_path)
    clips = datasets.scan(name, tmp_path)
    touch(tmp_path, "notes.txt", "table.csv", "stray.wav", "stray.mp4", "stray.png", ".trash/03a01Fa.wav")
    for clip in clips:
        touch(clip.path.parent, f"._{clip.path.name}")  # as macOS leaves them
        touch(clip.path.parent, f"{clip.path.name}.txt", f"{clip.path.name}.part")
    assert datasets.scan(name, tmp_path) == clips
    with pytest.raises(DataError, match=f"{name}|notes.txt"):
        datasets.scan(name, tmp_path / "notes.txt")


@pytest.mark.parametrize(
    "name", [name for name in datasets.names() if hasattr(datasets._module(name), "distinct")]
)
def test_an_archive_unpacked_twice_counts_once(name, tmp_path):
    BUILDERS[name](tmp_path / "one")
    once = datasets.scan(name, tmp_path)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert datasets.scan(name, tmp_path) == once


@pytest.mark.parametrize("name", ["iemocap", "crema_d", "demos", "tess"])
def test_media_of_the_miniatures_can_be_read(name, tmp_path):
    BUILDERS[name](tmp_path)
    for clip in datasets.scan(name, tmp_path):
        assert 0.3 < len(read_audio(clip.path).samples) / 16000 < 1
        if clip.info.get("modality") == "av":
            assert len(list(iter_frames(clip.path))) == 6


def test_unknown_corpus_lists_the_known():
    with pytest.raises(DataError, match=r"unknown corpus 'ravdes'.*emodb.*ravdess"):
        datasets.scan("ravdes", ".")
    with pytest.raises(DataError, match="unknown corpus '_files'"):
        datasets.scan("_files", ".")


def test_ravdess_names(tmp_path):
    touch(
        tmp_path,
        "Video/Actor_12/01-01-06-01-02-02-12.mp4",
        "Video/Actor_12/02-01-06-01-02-02-12.mkv",
        "Audio/Actor_12/03-01-06-01-02-02-12.flac",
        "Audio/again/Actor_12/03-01-06-01-02-02-12.wav",  # the same recording once more
        "Audio/Actor_12/._03-01-06-01-02-01-12.wav",
        "Audio/Actor_25/03-01-06-01-02-01-25.wav",
        "Audio/Actor_12/03-01-09-01-02-01-12.wav",
        "Audio/Actor_12/03-01-06-01-02-01-12.txt",
    )
    clips = ravdess.scan(tmp_path)
    assert [clip.info["modality"] for clip in clips] == ["audio", "av", "video"]
    assert {(clip.label, clip.subject, clip.info["take"]) for clip in clips} == {
        ("fearful", "12", "01-06-01-02-02-12")
    }
    assert dict(clips[0].info) == {
        "modality": "audio",
        "channel": "speech",
        "intensity": "normal",
        "statement": "dogs",
        "repetition": "2",
        "gender": "female",
        "take": "01-06-01-02-02-12",
    }


def test_identical_pair_of_ravdess_is_kept(tmp_path):
    touch(tmp_path, "03-01-03-01-02-01-07.wav", "03-01-03-01-02-02-07.wav")
    assert [clip.subject for clip in ravdess.scan(tmp_path)] == ["07", "07"]


@pytest.mark.parametrize(
    ("corpus", "name", "label", "subject", "gender"),
    [
        (emodb, "16b10Tb.wav", "sad", "16", "female"),
        (emodb, "03a07La.flac", "bored", "03", "male"),
        (emodb, "11a02Ec.mp3", "disgust", "11", "male"),
        (savee, "JK_sa01.opus", "sad", "JK", "male"),
        (savee, "AudioData/JE/n30.wav", "neutral", "JE", "male"),
        (emovo, "sor-f2-l4.wav", "surprised", "f2", "female"),
        (emovo, "rab-m1-d2.opus", "angry", "m1", "male"),
        (demos, "wav_DEMoS/DEMOS/PR_m_69_sor02a.wav", "surprised", "69", "male"),
        (demos, "wav_DEMoS/DEMOS/NP_f_01_pau01d.flac", "fearful", "01", "female"),
        (demos, "NEU/f_07_neu001.wav", "neutral", "07", "female"),
        (tess, "OAF_Pleasant_surprise/OAF_back_ps.wav", "surprised", "OAF", "female"),
        (tess, "YAF_angry/YAF_dog_angry.wav", "angry", "YAF", "female"),
        (tess, "OAF_neutral/OA_bite_neutral.wav", "neutral", "OAF", "female"),
    ],
)
def test_speech_names(corpus, name, label, subject, gender, tmp_path):
    touch(tmp_path, name, "99x99Zz.wav", "XX_q01.wav", "elsewhere/a01.wav", "xxx-f9-b1.wav")
    touch(tmp_path, "NP_f_01_abc01d.wav", "NP_x_01_rab01d.wav", "MAF_back_fear.wav", "OAF_back_bored.wav")
    (clip,) = corpus.scan(tmp_path)
    assert (clip.label, clip.subject, clip.info["gender"]) == (label, subject, gender)


def test_demos_keeps_the_selection(tmp_path):
    touch(tmp_path, "PR_f_03_tri01a.wav", "NP_f_03_tri02a.wav", "f_03_neu01a.wav")
    found = {clip.path.stem[:2]: clip.info.get("selection") for clip in demos.scan(tmp_path)}
    assert found == {"PR": "prototypical", "NP": "other", "f_": None}


def test_crema_d_takes(tmp_path):
    touch(
        tmp_path,
        "AudioMP3/1001_DFA_ANG_XX.mp3",
        "AudioMP3/1001_WSI_FEA_XX.mp3",  # the only file of this take
        "AudioWAV/1001_DFA_ANG_XX.wav",
        "AudioWAV/1040_ITH_SAD_X.wav",
        "AudioWAV/1092_ITH_SAD_XX.wav",
        "AudioWAV/1001_XXX_SAD_XX.wav",
        "VideoFlash/1001_DFA_ANG_XX.flv",
        "VideoFlash/1040_ITH_SAD_XX.flv",
        "converted/1001_DFA_ANG_XX.mp4",
    )
    clips = crema_d.scan(tmp_path)
    assert [(clip.path.name, clip.info["modality"], clip.info["take"]) for clip in clips] == [
        ("1001_WSI_FEA_XX.mp3", "audio", "1001_WSI_FEA_XX"),
        ("1001_DFA_ANG_XX.wav", "audio", "1001_DFA_ANG_XX"),
        ("1040_ITH_SAD_X.wav", "audio", "1040_ITH_SAD_XX"),
        ("1001_DFA_ANG_XX.flv", "av", "1001_DFA_ANG_XX"),
        ("1040_ITH_SAD_XX.flv", "av", "1040_ITH_SAD_XX"),
    ]
    assert not any("gender" in clip.info for clip in clips)


def test_crema_d_genders(tmp_path):
    build_crema_d(tmp_path)
    (clip,) = crema_d.scan(tmp_path / "AudioWAV")  # the table lies beside this folder
    assert (clip.label, clip.subject) == ("happy", "1002")
    assert dict(clip.info) == {
        "modality": "audio",
        "take": "1002_IEO_HAP_HI",
        "statement": "IEO",
        "intensity": "high",
        "gender": "female",
    }
    for damaged in (b"ActorID,Age\n1002,21\n", b"ActorID,Age,Sex\n1002,21\n", b"ActorID,Sex\n\xff\xfe\n"):
        (tmp_path / "VideoDemographics.csv").write_bytes(damaged)
        with pytest.raises(DataError, match=r"VideoDemographics\.csv is damaged"):
            crema_d.scan(tmp_path)


def test_iemocap_speakers_and_labels(tmp_path):
    build_iemocap(tmp_path)
    session = tmp_path / "IEMOCAP_full_release/Session1"
    touch(session, "sentences/wav/Ses01M_impro05a/Ses01M_impro05a_F007.wav")
    touch(session, "sentences/wav/Ses01M_impro05a/Ses01M_impro05a_MXX0.wav")  # in no list
    touch(session, "sentences/wav/Ses01M_impro05a/Ses01M_impro05a_M008.wav")
    turns = iemocap_turn("Ses01M_impro05a_F007", "xxx") + iemocap_turn("Ses01M_impro05a_M008", "dis")
    (session / "dialog/EmoEvaluation/Ses01M_impro05a.txt").write_text(turns)
    clips = {clip.path.stem: clip for clip in iemocap.scan(tmp_path)}
    assert {name: (clip.label, clip.subject) for name, clip in clips.items()} == {
        "Ses01F_script01_1_F000": ("excited", "Ses01F"),
        "Ses01F_script01_1_M012": ("frustrated", "Ses01M"),
        "Ses01M_impro05a_F007": (None, "Ses01F"),
        "Ses01M_impro05a_M008": ("disgust", "Ses01M"),
        "Ses01M_impro05a_MXX0": (None, "Ses01M"),
    }
    assert dict(clips["Ses01M_impro05a_F007"].info) == {
        "session": "1",
        "gender": "female",
        "scenario": "impro",
        "dialog": "Ses01M_impro05a",
    }
    assert clips["Ses01F_script01_1_M012"].info["scenario"] == "script"


@pytest.mark.parametrize(("code", "label"), iemocap.LABELS.items())
def test_iemocap_emotions_in_four_classes(code, label, tmp_path):
    dialog = "Ses05M_impro02"
    touch(
        tmp_path, f"Session5/sentences/wav/{dialog}/{dialog}_M003.wav", "Session5/dialog/EmoEvaluation/notes.txt"
    )
    table = tmp_path / "Session5/dialog/EmoEvaluation" / f"{dialog}.txt"
    table.write_text(iemocap_turn(f"{dialog}_M003", code).replace("\n", "\r\n"), newline="")
    (clip,) = iemocap.scan(tmp_path)
    assert clip.label == label
    expected = {"ang": 3, "exc": 1, "hap": 1, "neu": 0, "sad": 2}.get(code)  # excited is merged into happy
    assert place(clip.label, LABEL_SETS["basic4"]) == expected


def test_iemocap_without_its_labels(tmp_path):
    build_iemocap(tmp_path)
    session = tmp_path / "IEMOCAP_full_release/Session1"
    table = session / "dialog/EmoEvaluation/Ses01F_script01_1.txt"
    lines = table.read_text()
    table.write_text(lines.replace("\texc\t", "\tjoy\t"))
    with pytest.raises(DataError, match=r"Ses01F_script01_1\.txt: Ses01F_script01_1_F000 .*unknown emotion 'joy'"):
        iemocap.scan(tmp_path)
    missing = (
        r"F000\.wav has no label, as Session1/dialog/EmoEvaluation/Ses01F_script01_1\.txt is missing or empty"
    )
    table.write_text("")
    with pytest.raises(DataError, match=missing):
        iemocap.scan(tmp_path)
    table.write_text(lines)
    with pytest.raises(DataError, match=missing):
        iemocap.scan(session / "sentences")
    shutil.rmtree(session / "dialog/EmoEvaluation")
    with pytest.raises(DataError, match=missing):
        iemocap.scan(tmp_path)


FERPLUS = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"


def test_fer2013_folders_with_votes(tmp_path):
    touch(
        tmp_path,
        "Training/angry/fer0000000.png",
        "PublicTest/happy/fer0000001.png",
        "PrivateTest/sad/fer0000002.png",
    )
    (tmp_path / "fer2013_votes.csv").write_text(
        "path,split,label,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF,row_flag\n"
        "Training/angry/fer0000000.png,Training,angry,4,0,0,1,3,0,0,0,2,0,0\n"
        "PublicTest/happy/fer0000001.png,PublicTest,happy,0,0,0,0,0,0,0,0,0,10,0\n"
        "PrivateTest/sad/fer0000002.png,PrivateTest,sad,0,0,0,8,0,0,0,0,0,0,2\n"
    )
    clips = {clip.info["split"]: clip for clip in fer2013.scan(tmp_path)}
    assert clips["train"].votes == {"neutral": 4 / 8, "sad": 1 / 8, "angry": 3 / 8}
    assert clips["train"].info == {"split": "train", "unknown": "2", "nf": "0", "row_flag": "0"}
    assert (clips["val"].votes, clips["val"].label, clips["val"].info["nf"]) == (None, "happy", "10")
    assert (clips["test"].votes, clips["test"].info["row_flag"]) == (None, "2")


def test_fer2013_table_with_official_votes(tmp_path):
    (tmp_path / "icml_face_data.csv").write_text(  # this one has blanks in its header
        f"emotion, Usage, pixels\n0,Training,{PIXELS}\n1,PublicTest,{PIXELS}\n5,PrivateTest,{PIXELS}\n"
    )
    (tmp_path / "fer2013new.csv").write_text(
        f"{FERPLUS}Training,fer0000000.png,0,0,0,0,9,1,0,0,0,0\nPublicTest,,0,0,0,0,0,0,0,0,0,10\n"
        "PrivateTest,fer0000002.png,0,1,1,0,0,0,0,0,8,0\n"
    )
    clips = datasets.scan("fer2013", tmp_path)
    assert [(clip.label, clip.row, clip.info["split"]) for clip in clips] == [
        ("angry", 0, "train"),
        ("disgust", 1, "val"),
        ("surprised", 2, "test"),
    ]
    assert [clip.votes for clip in clips] == [
        {"angry": 0.9, "disgust": 0.1},
        None,
        {"happy": 0.5, "surprised": 0.5},
    ]


def test_fer2013_in_two_folders(tmp_path):
    touch(tmp_path, "train/fear/Training_1.jpg", "test/fear/PublicTest_2.jpg", "test/fear/PrivateTest_3.jpg")
    touch(tmp_path, "test/surprise/im4.png", "elsewhere/fear/im5.png")
    found = {clip.path.stem: clip.info["split"] for clip in fer2013.scan(tmp_path)}
    assert found == {"Training_1": "train", "PublicTest_2": "val", "PrivateTest_3": "test", "im4": "test"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("fer2013.csv", "a,b\n1,2\n", "no column 'emotion'"),
        ("fer2013.csv", "emotion,pixels,Usage\n9,0,Training\n", "row 0"),
        ("fer2013.csv", "emotion,pixels,Usage\n1,0 0\n", "line 2 .* cut short"),
        ("fer2013new.csv", f"{FERPLUS}Training,fer0000000.png,x,0,0,0,0,0,0,0,0,0\n", "no number"),
    ],
)
def test_damaged_fer2013_table(name, text, message, tmp_path):
    build_fer2013(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message) as error:
        fer2013.scan(tmp_path)
    assert name in str(error.value)


def test_ckplus_pictures(tmp_path):
    touch(
        tmp_path,
        "CK+48/surprise/S130_013_00000018.png",
        "CK+48/surprise/readme.png",
        "other/S130_013_00000018.png",
    )
    (clip,) = ckplus.scan(tmp_path)
    assert (clip.label, clip.subject, clip.info["sequence"]) == ("surprised", "S130", "S130_013")


def test_ckplus_table(tmp_path):
    (tmp_path / "notes.csv").write_text("what,else\n")
    rows = [
        f"{emotion},{PIXELS},{usage}"
        for emotion, usage in ((7, "Training"), (6, "PublicTest"), (4, "PrivateTest"))
    ]
    (tmp_path / "ckextended.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]))
    clips = datasets.scan("ckplus", tmp_path)
    assert [(c.label, c.subject, c.row, c.info["split"]) for c in clips] == [
        ("contempt", None, 0, "train"),
        ("neutral", None, 1, "val"),
        ("sad", None, 2, "test"),
    ]
    assert datasets.load_image(clips[2]).shape == (48, 48, 3)


def test_ckplus_arrays(tmp_path):
    path = tmp_path / "ck.npz"
    images = np.arange(2 * 48 * 48, dtype=np.uint8).reshape(2, 48, 48)
    names = np.array(["anger", "happiness", "neutral"])
    np.savez(path, images=images, label=[2, 1], label_names=names, ck_sequence=np.array(["", "S010_006"]))
    clips = datasets.scan("ckplus", path)
    assert clips == datasets.scan("ckplus", tmp_path)
    assert [(clip.label, clip.subject, clip.row) for clip in clips] == [("neutral", None, 0), ("happy", "S010", 1)]
    assert (datasets.load_image(clips[1]) == images[1][:, :, None]).all()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"ck\.npz"):
        datasets.scan("ckplus", path)


def test_ckplus_guesses(tmp_path):
    """Rows 0 to 2 look alike and are guessed to be of two people, one of whom peaks in row 4."""
    arrays = {
        "images": np.zeros((6, 48, 48), np.uint8),
        "label": [1, 1, 1, 1, 0, 0],
        "label_names": np.array(["anger", "neutral"]),
        "ck_sequence": np.array(["", "", "", "", "S010_001", "S011_001"]),
    }
    np.savez(tmp_path / "ck.npz", **arrays)
    with pytest.raises(DataError, match=r"neutral_subject_guess.*ck\.npz"):
        datasets.scan("ckplus", tmp_path, guessed=True)
    guesses = np.array(["S010", "S012", "S010", "S011", "", ""])
    np.savez(tmp_path / "ck.npz", neutral_subject_guess=guesses, neutral_cluster=[7, 7, 7, 8, -1, -1], **arrays)
    assert [clip.subject for clip in datasets.scan("ckplus", tmp_path)] == [None] * 4 + ["S010", "S011"]
    joined = "S010+S012"
    found = [clip.subject for clip in datasets.scan("ckplus", tmp_path, guessed=True)]
    assert found == [joined, joined, joined, "S011", joined, "S011"]


def test_folder_with_subjects(tmp_path):
    touch(tmp_path, "angry/anna_01.mp4", "Fear/x/bert_2.wav", ".git/hidden.png", "loose.mp4", "happy/notes.txt")
    assert [(c.label, c.subject) for c in datasets.scan("folder", tmp_path)] == [
        ("fearful", None),
        ("angry", None),
    ]
    for expression in (r"/([a-z]+)_\d", r"(angry|Fear)/.*?(?P<subject>[a-z]+)_"):
        clips = datasets.scan("folder", tmp_path, subject=expression)
        assert [clip.subject for clip in clips] == ["bert", "anna"]


@pytest.mark.parametrize(
    ("expression", "error", "message"),
    [
        (r"/(\d+)_", DataError, "finds nobody in angry/anna_01.mp4"),
        ("anna", ConfigError, "no group"),
        ("(anna", ConfigError, "no regular expression"),
    ],
)
def test_folder_with_unfit_expression(expression, error, message, tmp_path):
    touch(tmp_path, "angry/anna_01.mp4")
    with pytest.raises(error, match=message):
        datasets.scan("folder", tmp_path, subject=expression)


def test_folder_of_no_emotion(tmp_path):
    touch(tmp_path, "angry/a.mp4", "holiday/b.mp4")
    with pytest.raises(DataError, match=r"holiday is named after no emotion.*neutral.*anger"):
        datasets.scan("folder", tmp_path)


def test_pictures_are_rgb(tmp_path):
    path = tmp_path / "red.png"
    cv2.imwrite(str(path), np.full((5, 7, 3), (0, 0, 255), np.uint8))  # OpenCV writes BGR
    image = datasets.load_image(Clip(path, "happy", None, "folder"))
    assert image.dtype == np.uint8
    assert image.shape == (5, 7, 3)
    assert (image == (255, 0, 0)).all()


@pytest.mark.parametrize("content", [None, b"", b"no picture", "half"])
def test_damaged_picture_is_a_data_error(content, tmp_path):
    path = tmp_path / "face.png"
    if content == "half":
        content = cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes()[:30]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"face\.png"):
        datasets.load_image(Clip(path, "happy", None, "folder"))


def test_damaged_row_is_a_data_error_and_the_rest_is_fine(tmp_path):
    path = tmp_path / "fer2013.csv"
    rows = (PIXELS, "1 2 3", PIXELS.replace("255", "256"), PIXELS.replace("255", "x"))
    path.write_text("emotion,pixels,Usage\n" + "".join(f"0,{pixels},Training\n" for pixels in rows))
    clips = datasets.scan("fer2013", tmp_path)
    assert (datasets.load_image(clips[0])[0, :, 1] == np.arange(48)).all()
    for clip in [*clips[1:], Clip(path, None, None, "fer2013", row=4)]:
        with pytest.raises(DataError, match=f"row {clip.row} of .*fer2013.csv"):
            datasets.load_image(clip)


@pytest.fixture
def data():
    root = os.environ.get("AVSER_DATA")
    if not root:
        pytest.skip("AVSER_DATA does not name the folder of the real corpora")
    return Path(root)


@pytest.mark.parametrize(
    ("name", "folder", "clips", "subjects"),
    [
        ("ravdess", "audio/ravdess", 1440, 24),
        ("emodb", "audio/emodb", 535, 10),
        ("savee", "audio/savee", 480, 4),
        ("emovo", "audio/emovo", 588, 6),
        ("ckplus", "face/ck48", 981, 118),
        ("ckplus", "face/ck920.npz", 920, 118),
        ("fer2013", "face/fer2013", 35887, 0),
    ],
)
def test_real_corpora_are_complete(name, folder, clips, subjects, data):
    found = datasets.scan(name, data / folder)
    assert len(found) == clips
    assert len({clip.subject for clip in found} - {None}) == subjects
    if name == "fer2013":
        assert Counter(clip.info["split"] for clip in found) == {"train": 28709, "val": 3589, "test": 3589}
        assert sum(clip.votes is None for clip in found) < 200
    if name in ("fer2013", "ckplus"):
        assert datasets.load_image(found[-1]).shape == (48, 48, 3)


def test_fser_counts_of_the_paper(data):
    """Table 1 of FSER, class by class: nothing but folding fear and boredom gives these numbers."""
    labels = LABEL_SETS["fser8"]
    clips = [
        clip
        for name in ("ravdess", "emodb", "emovo", "savee")
        for clip in datasets.scan(name, data / "audio" / name)
    ]
    counts = Counter(labels[place(clip.label, labels)] for clip in clips)
    assert counts == {
        "angry": 463,
        "anxious": 405,
        "calm": 273,
        "disgust": 382,
        "happy": 407,
        "neutral": 379,
        "sad": 398,
        "surprised": 336,
    }


def test_four_classes_of_ravdess_leave_calm_out(data):
    labels = LABEL_SETS["basic4"]
    places = [place(clip.label, labels) for clip in datasets.scan("ravdess", data / "audio/ravdess")]
    assert Counter(labels[n] for n in places if n is not None) == {
        "neutral": 96,
        "happy": 192,
        "sad": 192,
        "angry": 192,
    }


@pytest.mark.parametrize(
    ("counts", "unknown", "nf", "label"),
    [
        ({"happy": 6, "neutral": 4}, 0, 0, "happy"),
        ({"happy": 5, "neutral": 5}, 0, 0, None),  # half is no majority
        ({"happy": 5, "neutral": 4, "sad": 1}, 0, 0, "happy"),  # 5 of 9: a single vote is a slip
        ({"sad": 4}, 6, 0, None),
        ({"contempt": 8}, 1, 1, "contempt"),
        (None, 10, 0, None),
    ],
)
def test_majority_of_ferplus(counts, unknown, nf, label):
    votes = counts and {name: count / sum(counts.values()) for name, count in counts.items()}
    info = {"unknown": str(unknown), "nf": str(nf)}
    assert fer2013.majority(Clip(Path("a.png"), "happy", None, "fer2013", votes=votes, info=info)) == label
