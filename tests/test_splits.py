"""Folds share nobody, whatever is asked for."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avser.folds import Fold, holdout, take_of
from avser.splits import ACTOR6, LUNA5, PROTOCOLS, make_folds
from avser.subjects import subject_of
from avser.training.copies import expand
from avser.types import Clip, ConfigError, DataError

BY_CHANCE = ("random", "pooled_random", "copies", "official", "official_or_random")
"""Protocols whose parts may share people."""

EMOTIONS = ("neutral", "happy", "sad", "angry")


def ravdess(actors=range(1, 25), modalities=("audio", "av")):
    return [
        Clip(
            Path(f"ravdess/{modality}-{label}-{repetition}-{actor:02d}.wav"),
            label,
            f"{actor:02d}",
            "ravdess",
            info={
                "gender": "male" if actor % 2 else "female",
                "take": f"{label}-{repetition}-{actor:02d}",
                "modality": modality,
            },
        )
        for actor in actors
        for label in EMOTIONS
        for repetition in (1, 2)
        for modality in modalities
    ]


def other(subjects=12, corpus="emodb"):
    """A corpus whose subjects hold uneven numbers of clips and labels."""
    return [
        Clip(Path(f"{corpus}/{subject:02d}-{n}.wav"), EMOTIONS[(subject * n) % 4], f"{subject:02d}", corpus)
        for subject in range(1, subjects + 1)
        for n in range(4 + subject)
    ]


def official():
    splits = ("train", "train", "train", "val", "test")
    return [
        Clip(Path("fer2013.csv"), EMOTIONS[n % 4], None, "fer2013", row=n, info={"split": splits[n % 5]})
        for n in range(40)
    ]


def clips_for(protocol):
    return official() if protocol == "official" else ravdess()


def people(clips):
    return {subject_of(clip) for clip in clips}


def files(clips):
    return sorted((str(clip.path), clip.row) for clip in clips)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_shares_nobody_and_loses_nothing(protocol):
    clips = clips_for(protocol)
    folds = make_folds(clips, protocol)
    assert len({fold.name for fold in folds}) == len(folds)
    for fold in folds:
        assert files(fold.train + fold.val + fold.test) == files(clips)
        assert fold.train
        assert fold.val
        takes = [{clip.info.get("take") for clip in part} for part in (fold.train, fold.val, fold.test)]
        if protocol not in ("copies", "official"):
            assert not (takes[0] & takes[1] | takes[0] & takes[2] | takes[1] & takes[2])
        if protocol not in BY_CHANCE:
            who = [people(part) for part in (fold.train, fold.val, fold.test)]
            assert not (who[0] & who[1] | who[0] & who[2] | who[1] & who[2])
    if protocol not in ("final", "official", "copies"):
        assert files(clip for fold in folds for clip in fold.test) == files(clips)  # each is tested once


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_folds_depend_on_the_seed_alone(protocol):
    clips = clips_for(protocol)
    assert make_folds(clips, protocol, seed=3) == make_folds(clips[::-1], protocol, seed=3)
    if protocol != "official":
        assert make_folds(clips, protocol, seed=3) != make_folds(clips, protocol, seed=4)


def test_official_where_there_is_a_split_else_by_chance():
    assert make_folds(official(), "official_or_random") == make_folds(official(), "official")
    assert make_folds(ravdess(), "official_or_random", seed=2) == make_folds(ravdess(), "random", seed=2)


def test_published_groups_of_actors_are_whole():
    everyone = [f"{actor:02d}" for actor in range(1, 25)]
    for groups in (ACTOR6, LUNA5):
        assert sorted(actor for group in groups for actor in group) == everyone


@pytest.mark.parametrize(("protocol", "groups"), [("actor6", ACTOR6), ("luna5", LUNA5)])
def test_actor_protocols_test_their_groups(protocol, groups):
    folds = make_folds(ravdess(), protocol)
    assert [{clip.subject for clip in fold.test} for fold in folds] == [set(group) for group in groups]
    assert len({frozenset(people(fold.val)) for fold in folds}) > 1


@pytest.mark.parametrize(("protocol", "each"), [("actor6", 2), ("luna5", 2), ("loso", 1), ("final", 2)])
def test_validation_subjects_are_balanced(protocol, each):
    for fold in make_folds(ravdess(), protocol, seed=7):
        genders = Counter("male" if int(subject) % 2 else "female" for _, subject in people(fold.val))
        assert genders == {"male": each, "female": each}


def test_other_corpora_are_only_trained_on():
    clips = ravdess() + other()
    for protocol in ("actor6", "luna5", "loso", "random", "subject5"):
        for fold in make_folds(clips, protocol):
            assert {clip.corpus for clip in fold.val + fold.test} == {"ravdess"}
            assert sum(clip.corpus == "emodb" for clip in fold.train) == len(other())
    assert {c.corpus for fold in make_folds(clips, "loso", corpus="emodb") for c in fold.test} == {"emodb"}


def test_loso_of_one_other_corpus():
    folds = make_folds(other(5), "loso")
    assert [fold.name for fold in folds] == ["loso 01", "loso 02", "loso 03", "loso 04", "loso 05"]
    assert all(len(people(fold.val)) == 2 for fold in folds)


@given(st.integers(5, 30), st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_subject_folds_are_even(subjects, seed):
    clips = other(subjects)
    folds = make_folds(clips, "subject5", seed=seed, val=1)
    sizes = [len(fold.test) for fold in folds]
    assert sum(sizes) == len(clips)
    assert min(sizes) > 0
    if subjects >= 20:
        for label in EMOTIONS:
            counts = [sum(clip.label == label for clip in fold.test) for fold in folds]
            assert max(counts) <= 2 * sum(counts) / 5


def test_random_says_that_it_is_inflated():
    folds = make_folds(ravdess(), "random")
    assert [fold.name for fold in folds] == [f"random (inflated) {k}" for k in range(1, 6)]
    for fold in folds:
        assert people(fold.test) & people(fold.train)
        counts = Counter(clip.label for clip in fold.test)
        assert max(counts.values()) - min(counts.values()) <= 4  # two takes, each in two modalities


def four_corpora():
    """Sizes as those that "FSER" pools: 24, 10, 6 and 4 people."""
    return ravdess() + other(10) + other(6, "emovo") + other(4, "savee")


def test_pooled_folds_measure_everybody_of_every_corpus_once():
    clips = four_corpora()
    folds = make_folds(clips, "pooled5", val=6)
    assert [fold.name for fold in folds] == [f"pooled5 {k}" for k in range(1, 6)]
    assert files(clip for fold in folds for clip in fold.test) == files(clips)
    for fold in folds:
        tested = Counter(corpus for corpus, _ in people(fold.test))
        assert tested["ravdess"] in (4, 5)
        assert tested["emodb"] in (1, 2, 3)
        assert tested["emovo"] in (1, 2)
        assert tested["savee"] in (0, 1)
        validated = Counter(corpus for corpus, _ in people(fold.val))
        assert validated.total() == 6
        assert validated["ravdess"] > validated["emodb"] > 0
    wanted = {"ravdess": 2, "savee": 1}
    for fold in make_folds(clips, "pooled5", val=wanted):
        assert Counter(corpus for corpus, _ in people(fold.val)) == wanted


def test_pooled_random_is_even_in_the_labels_of_every_corpus():
    clips = four_corpora()
    folds = make_folds(clips, "pooled_random")
    assert [fold.name for fold in folds] == [f"pooled_random (inflated) {k}" for k in range(1, 6)]
    sizes = Counter((clip.corpus, clip.label) for clip in clips)
    for fold in folds:
        tested = Counter((clip.corpus, clip.label) for clip in fold.test)
        for kind, size in sizes.items():
            assert abs(tested[kind] - size / 5) <= 4  # two takes, each in two modalities
        assert not {take_of(c) for c in fold.test if take_of(c)} & {take_of(c) for c in fold.train}
        assert {corpus for corpus, _ in people(fold.test)} == {"ravdess", "emodb", "emovo", "savee"}


def test_random_of_one_corpus_is_pooled_random_of_it_alone():
    for one, another in zip(*(make_folds(ravdess(), name) for name in ("random", "pooled_random")), strict=True):
        assert (one.train, one.val, one.test) == (another.train, another.val, another.test)


def test_copies_go_their_own_ways_and_the_name_says_so():
    clips = expand(four_corpora(), 3)
    (fold,) = make_folds(clips, "copies")
    assert fold.name == "copies of one recording on both sides (inflated)"
    assert len(fold.train) + len(fold.val) + len(fold.test) == len(clips)
    assert abs(len(fold.test) - 0.2 * len(clips)) <= 1
    assert {clip.path for clip in fold.test} & {clip.path for clip in fold.train}
    assert {clip.corpus for clip in fold.test} == {"ravdess", "emodb", "emovo", "savee"}
    with pytest.raises(DataError, match="must say copies"):
        Fold("x (inflated)", fold.train, fold.val, fold.test, inflated=True, leaky=True)


def test_final_leaves_the_excluded_out():
    clips = ravdess() + other() + official()
    (fold,) = make_folds(clips, "final", exclude=["ravdess/01"], val={"ravdess": 4, "emodb": 2})
    assert people(fold.test) == {("ravdess", "01"), None}
    assert Counter(who[0] for who in people(fold.val) if who) == {"ravdess": 4, "emodb": 2}
    for part in ("train", "val", "test"):  # those without a subject keep to their official part
        assert {c.info["split"] for c in getattr(fold, part) if c.corpus == "fer2013"} == {part}
    with pytest.raises(DataError, match="choose from emodb/01, ravdess/01"):
        make_folds(clips, "final", exclude=["01"])
    with pytest.raises(DataError, match="no subject is named '99'"):
        make_folds(clips, "final", exclude=["99"])


def test_holdout():
    fold = holdout(other(3), {("emodb", "01")}, {("emodb", "02")})
    assert [people(part) for part in (fold.test, fold.val, fold.train)] == [
        {("emodb", f"0{n}")} for n in (1, 2, 3)
    ]


def test_official_needs_no_subject_and_no_validation_part():
    clips = [clip for clip in official() if clip.info["split"] != "val"]
    (fold,) = make_folds(clips + other(), "official")
    assert (len(fold.train), len(fold.val), len(fold.test)) == (24 + len(other()), 0, 8)


@pytest.mark.parametrize("parts", [("train", "val"), ("train", "test"), ("val", "test")])
def test_a_fold_that_shares_a_subject_cannot_be_built(parts):
    one, another = other(1)[:2]
    content = {"train": (), "val": (), "test": (), parts[0]: (one,), parts[1]: (another,)}
    with pytest.raises(DataError, match=f"{parts[0]} and {parts[1]} of fold 'x' share subject emodb/01"):
        Fold("x", **content)
    assert Fold("x (inflated)", **content, inflated=True)
    with pytest.raises(DataError, match="must say inflated"):
        Fold("x", **content, inflated=True)


def test_no_fold_shares_a_take_or_a_file():
    audio, video = ravdess([1])[:2]
    with pytest.raises(DataError, match="share take ravdess/neutral-1-01"):
        Fold("x (inflated)", (audio,), (), (video,), inflated=True)
    row = official()[0]
    with pytest.raises(DataError, match="share file"):
        Fold("x", (row,), (row,), ())
    assert Fold("x", (row,), (official()[1],), ())


def test_same_subject_name_in_two_corpora_is_two_people():
    assert Fold("x", (other(1)[0],), (), (other(1, "savee")[0],))


@pytest.mark.parametrize(
    ("clips", "arguments", "error", "message"),
    [
        (ravdess(), {"protocol": "actor7"}, ConfigError, "choose from actor6, luna5"),
        ([], {"protocol": "loso"}, DataError, "no clips"),
        (other(), {"protocol": "actor6"}, DataError, "24 actors of RAVDESS"),
        (ravdess(range(1, 5)), {"protocol": "luna5"}, DataError, "10, 11, 12, 19, 20"),
        (other() + other(corpus="savee"), {"protocol": "loso"}, DataError, "emodb, savee"),
        (other(), {"protocol": "loso", "corpus": "savee"}, DataError, "no clips of corpus 'savee'"),
        (other(4), {"protocol": "subject10"}, DataError, "needs 10 subjects, emodb has 4"),
        (other(1), {"protocol": "loso"}, DataError, "needs two subjects"),
        (other(4), {"protocol": "loso", "val": 3}, DataError, "3 validation subjects"),
        (other(4), {"protocol": "loso", "val": -1}, DataError, "-1 validation subjects"),
        (official(), {"protocol": "subject5"}, DataError, "40 clips of fer2013 have none"),
        (other(4), {"protocol": "pooled5"}, DataError, "needs 5 subjects, there are 4"),
        (other() + official(), {"protocol": "pooled5"}, DataError, "40 clips have none .* of fer2013"),
        (other(12), {"protocol": "pooled5", "val": -1}, DataError, "-1 validation subjects"),
        (other(6), {"protocol": "pooled5", "val": 9}, DataError, "9 validation subjects"),
        (official()[:9], {"protocol": "pooled_random"}, DataError, "needs 10 clips"),
        (official()[:9], {"protocol": "random"}, DataError, "needs 10 clips"),
        (ravdess(), {"protocol": "official"}, DataError, "no official"),
        (ravdess(), {"protocol": "loso", "exclude": ["01"]}, ConfigError, "choose final"),
        (official(), {"protocol": "official", "val": 2}, ConfigError, "drop val"),
    ],
)
def test_unfit_requests_are_one_sentence(clips, arguments, error, message):
    with pytest.raises(error, match=message):
        make_folds(clips, **arguments)
