"""Subjects found by name, chosen by chance, dealt evenly."""

from collections import Counter
from pathlib import Path

import pytest

from avser.subjects import choose_subjects, deal_subjects, find_subject, measured_corpus, subject_of, subjects_of
from avser.types import Clip, DataError

CLIPS = [
    Clip(
        Path(f"{who}-{label}.wav"), label, f"{who:02d}", "emodb", info={"gender": "male" if who % 2 else "female"}
    )
    for who in range(1, 13)
    for label in ("happy", "sad")
]
STRANGER = Clip(Path("x.wav"), "sad", None, "emodb")
NAMESAKE = Clip(Path("y.wav"), "sad", "01", "ravdess")
EVERYONE = [("emodb", f"{who:02d}") for who in range(1, 13)]


def test_a_subject_belongs_to_its_corpus():
    assert [subject_of(clip) for clip in (CLIPS[0], NAMESAKE, STRANGER)] == [
        ("emodb", "01"),
        ("ravdess", "01"),
        None,
    ]
    assert subjects_of([*CLIPS, NAMESAKE], "emodb", "loso") == EVERYONE
    with pytest.raises(DataError, match="'loso' splits by subject, but 1 clips of emodb have none"):
        subjects_of([*CLIPS, STRANGER], "emodb", "loso")
    with pytest.raises(DataError, match="'loso' needs two subjects"):
        subjects_of(CLIPS[:2], "emodb", "loso")


def test_a_subject_is_found_by_its_name():
    assert find_subject(CLIPS, "03") == find_subject(CLIPS, "emodb/03") == ("emodb", "03")
    with pytest.raises(DataError, match="no subject is named '99'"):
        find_subject(CLIPS, "99")
    with pytest.raises(DataError, match="more than one subject is named '01': choose from emodb/01, ravdess/01"):
        find_subject([*CLIPS, NAMESAKE], "01")


def test_the_measured_corpus():
    assert measured_corpus(CLIPS, None) == "emodb"
    assert measured_corpus([*CLIPS, NAMESAKE], None) == "ravdess"
    assert measured_corpus([*CLIPS, NAMESAKE], "emodb") == "emodb"
    with pytest.raises(DataError, match="no clips of corpus 'ckplus'"):
        measured_corpus(CLIPS, "ckplus")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("wanted", [0, 1, 4, 5, 11])
def test_chosen_subjects_are_of_both_genders(wanted, seed):
    chosen = choose_subjects(CLIPS, {"emodb": wanted}, seed)
    assert chosen == choose_subjects(CLIPS[::-1], {"emodb": wanted}, seed)
    men = sum(int(name) % 2 for _, name in chosen)
    assert len(chosen) == wanted
    assert abs(2 * men - wanted) <= 1


def test_somebody_is_left_to_train_on():
    with pytest.raises(DataError, match="12 are left to train on"):
        choose_subjects(CLIPS, {"emodb": 12}, 0)


@pytest.mark.parametrize("k", [2, 5, 12])
def test_subjects_are_dealt_evenly(k):
    groups = deal_subjects(CLIPS, EVERYONE, k, seed=3)
    assert sorted(who for group in groups for who in group) == EVERYONE
    assert max(map(len, groups)) - min(map(len, groups)) <= 1


def test_dealing_evens_out_the_labels():
    clips = [Clip(Path(f"{n}.wav"), "happy" if n < 6 else "sad", f"{n:02d}", "emodb") for n in range(12)]
    label_of = {subject_of(clip): clip.label for clip in clips}
    for group in deal_subjects(clips, sorted(label_of), 3, seed=0):
        assert Counter(label_of[who] for who in group) == {"happy": 2, "sad": 2}
